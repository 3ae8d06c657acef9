"""mem0's own ``AsyncMemory`` in a process patched like the plugin's, answering the benchmarks over stdin and stdout.

Started by :class:`benchmarks.peer.Peer`. The first line on stdin is the configuration for ``AsyncMemory.from_config``; every further line is
a command ``{"do": "search" | "add", "texts": [...], "user_id": ..., "in_flight": n}``, answered by one line
``{"times_s": [...], "wall_s": ...}``. Times are taken around the awaited call, inside the process: mem0 pays for no protocol.
"""

from __future__ import annotations

import os

os.environ["MEM0_TELEMETRY"] = "False"

import dify_plugin  # noqa: F401  isort: skip  # patches the process, as it patches the plugin's

import asyncio
import contextlib
import json
import logging
import sys
import time
from typing import Any

import gevent.os


async def timed(calls: list[Any], in_flight: int) -> dict[str, Any]:
    """Await every call, ``in_flight`` at a time; seconds each took and seconds in all."""
    gate = asyncio.Semaphore(in_flight)
    times_s: list[float] = []

    async def one(call: Any) -> None:
        async with gate:
            started = time.perf_counter()
            await call()
            times_s.append(time.perf_counter() - started)

    started = time.perf_counter()
    await asyncio.gather(*(one(call) for call in calls))
    return {"times_s": times_s, "wall_s": time.perf_counter() - started}


async def serve() -> None:
    """Answer commands until stdin ends."""
    from mem0 import AsyncMemory

    lines = _lines()
    memory = AsyncMemory.from_config(json.loads(next(lines)))
    _answer({"ready": True})
    for line in lines:
        command = json.loads(line)
        user_id = command["user_id"]
        if command["do"] == "search":
            calls = [
                lambda text=text: memory.search(text, filters={"user_id": user_id}, top_k=5)
                for text in command["texts"]
            ]
        else:
            calls = [lambda text=text: memory.add(text, user_id=f"{user_id}-{text}") for text in command["texts"]]
        _answer(await timed(calls, command["in_flight"]))


def _lines() -> Any:
    """Lines of stdin; between commands nothing else of this process has to run."""
    rest = b""
    while chunk := gevent.os.tp_read(0, 65536):
        *whole, rest = (rest + chunk).split(b"\n")
        yield from whole


def _answer(value: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve())
