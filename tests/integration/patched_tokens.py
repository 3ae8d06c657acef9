"""Run by test_heartbeat.py in a process patched like the plugin's: how long does the loop stall while a text of
millions of characters is counted in tokens?

Prints one line of JSON: the count's seconds and the longest gap between two beats of 10 ms, both measured on the
plugin's own background loop.
"""

from __future__ import annotations

import dify_plugin  # noqa: F401  isort: skip  # patches the process: before any other library

import asyncio
import json
import os
import time

from utils.aio.loop import BackgroundLoop
from utils.extraction.tokens import count_tokens

BEAT_S = 0.01
TEXT = "Ana moved to Porto in 2024. 她喜欢喝茶。 " * 100_000


async def measure() -> dict[str, float]:
    """Beat while the text is counted."""
    await count_tokens(["the vocabulary is loaded"])
    longest_gap_s, started = 0.0, time.perf_counter()
    counting = asyncio.ensure_future(count_tokens([TEXT]))
    while not counting.done():
        last = time.perf_counter()
        await asyncio.sleep(BEAT_S)
        longest_gap_s = max(longest_gap_s, time.perf_counter() - last)
    await counting
    return {"statement_s": time.perf_counter() - started, "longest_gap_s": longest_gap_s}


if __name__ == "__main__":
    print(json.dumps(BackgroundLoop().submit(measure()).result(120)), flush=True)
    os._exit(0)  # the SDK's import leaves threads behind
