"""Blocking calls in their pools: what nobody waits for any more does not begin."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import pytest

from utils.aio.blocking import NativeThread, ThreadPool


@pytest.mark.parametrize("make", [lambda: ThreadPool("test", 1), lambda: NativeThread("test")])
async def test_a_cancelled_call_that_has_not_begun_never_begins(make: Callable[[], ThreadPool | NativeThread]) -> None:
    """After a brown-out the places belong to those who still wait."""
    pool, begun = make(), []
    running, go_on = threading.Event(), threading.Event()

    def call(name: str) -> str:
        begun.append(name)
        running.set()
        go_on.wait()
        return name

    first = asyncio.create_task(pool.run(call, "first"))
    await asyncio.get_running_loop().run_in_executor(None, running.wait)
    given_up = [asyncio.create_task(pool.run(call, f"given up {number}")) for number in range(5)]
    last = asyncio.create_task(pool.run(call, "last"))
    await asyncio.sleep(0)  # all of them are in the queue now
    for task in given_up:
        task.cancel()
    await asyncio.gather(*given_up, return_exceptions=True)
    go_on.set()
    assert await asyncio.gather(first, last) == ["first", "last"]
    assert begun == ["first", "last"]
    pool.close()
