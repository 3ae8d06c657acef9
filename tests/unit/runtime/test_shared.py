"""Parts shared by several holders: built once, closed by the last, never two at a time under one key."""

from __future__ import annotations

import asyncio

from utils.runtime.shared import Shared


class Part:
    """Counts how many of its kind are open, and closes only when it is let."""

    open_now = 0

    def __init__(self) -> None:
        Part.open_now += 1
        self.may_close = asyncio.Event()
        self.may_close.set()

    async def close(self) -> None:
        await self.may_close.wait()
        Part.open_now -= 1


async def test_the_last_holder_closes_what_the_first_one_built() -> None:
    shared: Shared[Part] = Shared()
    first = await shared.acquire("folder", Part)
    assert await shared.acquire("folder", Part) is first
    await shared.release("folder")
    assert Part.open_now == 1
    await shared.release("folder")
    assert Part.open_now == 0


async def test_a_successor_waits_until_its_predecessor_has_closed() -> None:
    shared: Shared[Part] = Shared()
    old = await shared.acquire("folder", Part)
    old.may_close.clear()
    closing = asyncio.create_task(shared.release("folder"))
    await asyncio.sleep(0)  # lets the release begin
    opening = asyncio.create_task(shared.acquire("folder", Part))
    await asyncio.sleep(0)
    assert not opening.done() and Part.open_now == 1
    old.may_close.set()
    new = await opening
    await closing
    assert new is not old and Part.open_now == 1
    await shared.release("folder")
    assert Part.open_now == 0


async def test_other_keys_do_not_wait() -> None:
    shared: Shared[Part] = Shared()
    one, other = await shared.acquire("a", Part), await shared.acquire("b", Part)
    assert one is not other
    await asyncio.gather(shared.release("a"), shared.release("b"))
    assert Part.open_now == 0
