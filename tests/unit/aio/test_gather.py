"""Coroutines side by side: results in order, and nothing left behind when one fails."""

from __future__ import annotations

import asyncio

import pytest

from utils.aio.gather import gather
from utils.errors import NotFound


async def test_results_come_in_the_order_of_the_work() -> None:
    last_is_done = asyncio.Event()

    async def first() -> str:
        await last_is_done.wait()
        return "first"

    async def last() -> int:
        last_is_done.set()
        return 2

    assert await gather(first(), last()) == ["first", 2]
    assert await gather() == []


async def test_the_failure_comes_out_as_it_is_and_the_others_end() -> None:
    ended = asyncio.Event()

    async def wait_for_ever() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async def fail() -> None:
        await asyncio.sleep(0)
        raise NotFound("error_not_found", memory_id="1")

    with pytest.raises(NotFound):
        await gather(wait_for_ever(), fail())
    assert ended.is_set()
