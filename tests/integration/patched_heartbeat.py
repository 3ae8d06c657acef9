"""Run by test_heartbeat.py in a process patched like the plugin's: how long does the loop stall while a statement runs?

Arguments: a state store (``state_db_url``) and a statement of about two seconds. Prints one line of JSON: the
statement's seconds and the longest gap between two beats of 10 ms, both measured on the plugin's own background loop.
"""

from __future__ import annotations

import dify_plugin  # noqa: F401  isort: skip  # patches the process: before any other library

import asyncio
import json
import os
import sys
import time

import sqlalchemy as sa

from utils.aio.loop import BackgroundLoop
from utils.config.state_location import parse_location
from utils.state.engine import StateStore

BEAT_S = 0.01


async def measure(url: str, statement: str) -> dict[str, float]:
    """Beat while the statement runs."""
    state = StateStore(parse_location(url))
    await state.open()
    longest_gap_s, last = 0.0, time.perf_counter()
    running = asyncio.ensure_future(state.read(lambda conn: conn.execute(sa.text(statement)).all()))
    started = time.perf_counter()
    while not running.done():
        last = time.perf_counter()
        await asyncio.sleep(BEAT_S)
        longest_gap_s = max(longest_gap_s, time.perf_counter() - last)
    await running
    taken_s = time.perf_counter() - started
    await state.close()
    return {"statement_s": taken_s, "longest_gap_s": longest_gap_s}


if __name__ == "__main__":
    print(json.dumps(BackgroundLoop().submit(measure(*sys.argv[1:])).result(600)), flush=True)
    os._exit(0)  # the SDK's import leaves threads behind
