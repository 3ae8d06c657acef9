"""mem0's own ``AsyncMemory`` in a process patched like the plugin's, answering the benchmarks over stdin and stdout.

Started by :class:`benchmarks.peer.Mem0Peer`. The first line on stdin is the configuration for
``AsyncMemory.from_config``; every further line is one command as :class:`benchmarks.peer.Mem0Peer` sends it, answered
by one line of JSON. mem0 is called as its documentation does, with its own defaults. Times are taken around the
awaited call, inside the process: mem0 pays for no protocol.
"""

from __future__ import annotations

import os

os.environ["MEM0_TELEMETRY"] = "False"
# The answers have stdout's descriptor to themselves; whatever else is printed goes to stderr.
_answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)

import dify_plugin  # noqa: E402, F401  isort: skip  # patches the process, as it patches the plugin's

import asyncio  # noqa: E402
import json  # noqa: E402
import logging  # noqa: E402
import time  # noqa: E402
from collections.abc import Awaitable, Callable, Iterator, Sequence  # noqa: E402
from functools import partial  # noqa: E402
from typing import Any  # noqa: E402

import gevent.os  # noqa: E402

type Call = Callable[[], Awaitable[Any]]


async def _timed(calls: Sequence[Call], in_flight: int) -> dict[str, Any]:
    """Await every call, ``in_flight`` at a time; seconds each took and seconds in all."""
    gate = asyncio.Semaphore(in_flight)
    times_s: list[float] = []

    async def one(call: Call) -> None:
        async with gate:
            started = time.perf_counter()
            await call()
            times_s.append(time.perf_counter() - started)

    started = time.perf_counter()
    await asyncio.gather(*(one(call) for call in calls))
    return {"times_s": times_s, "wall_s": time.perf_counter() - started}


class _Commands:
    """What a command's ``do`` may name."""

    def __init__(self, memory: Any) -> None:
        self._memory = memory

    async def search(self, texts: list[str], user_id: str, in_flight: int) -> dict[str, Any]:
        """Search one user's memories for each text."""
        return await _timed([self._search(text, user_id) for text in texts], in_flight)

    async def found(self, texts: list[str], user_id: str, top_k: int) -> list[list[str]]:
        """The ids of the memories each search finds."""
        results = [await self._search(text, user_id, top_k)() for text in texts]
        return [[found["id"] for found in result["results"]] for result in results]

    async def add(self, texts: list[str], user_ids: list[str], in_flight: int) -> dict[str, Any]:
        """Add each text for the user at its place."""
        return await _timed(self._adds(texts, user_ids), in_flight)

    async def embed(self, texts: list[str], in_flight: int) -> dict[str, Any]:
        """Embed each text with mem0's embedder, which the plugin uses too."""
        embed = self._memory.embedding_model.embed
        return await _timed([partial(asyncio.to_thread, embed, text, "search") for text in texts], in_flight)

    async def beside(self, texts: list[str], user_ids: list[str], queries: list[str], user_id: str) -> dict[str, Any]:
        """Search one query after the other while all texts are being added; at least once."""
        adding = asyncio.gather(*(call() for call in self._adds(texts, user_ids)))
        times_s: list[float] = []
        started = time.perf_counter()
        while not times_s or not adding.done():
            times_s += (await _timed([self._search(queries[len(times_s) % len(queries)], user_id)], 1))["times_s"]
        await adding
        return {"times_s": times_s, "wall_s": time.perf_counter() - started}

    def _search(self, text: str, user_id: str, top_k: int = 5) -> Call:
        return partial(self._memory.search, text, filters={"user_id": user_id}, top_k=top_k)

    def _adds(self, texts: list[str], user_ids: list[str]) -> list[Call]:
        pairs = zip(texts, user_ids, strict=True)
        return [partial(self._memory.add, text, user_id=user_id) for text, user_id in pairs]


async def _serve() -> None:
    """Answer commands until stdin ends."""
    from mem0 import AsyncMemory

    lines = _lines()
    commands = _Commands(AsyncMemory.from_config(json.loads(next(lines))))
    _answer("ready")
    for line in lines:
        command = json.loads(line)
        _answer(await getattr(commands, command.pop("do"))(**command))


def _lines() -> Iterator[bytes]:
    """Lines of stdin; between commands nothing else of this process has to run."""
    rest = b""
    while chunk := gevent.os.tp_read(0, 65536):
        *whole, rest = (rest + chunk).split(b"\n")
        yield from whole


def _answer(value: Any) -> None:
    _answers.write(json.dumps(value) + "\n")
    _answers.flush()


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    asyncio.run(_serve())
