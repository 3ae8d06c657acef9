"""A part is built once, whoever waits for it and however long; a failed build is tried again."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from utils.errors import CredentialError, ServiceUnavailable, ShuttingDown
from utils.models.lazy import Lazy


class Part:
    def __init__(self) -> None:
        self.closings = 0

    def close(self) -> None:
        self.closings += 1


class Constructor:
    """A slow one: it says when it has begun and waits until it may go on."""

    def __init__(self, *failures: Exception) -> None:
        self.failures = list(failures)
        self.calls = 0
        self.begun = threading.Event()
        self.may_end = threading.Event()
        self.part = Part()

    def __call__(self) -> Part:
        self.calls += 1
        self.begun.set()
        assert self.may_end.wait(300)
        if self.failures:
            raise self.failures.pop(0)
        return self.part


async def begun(constructor: Constructor) -> None:
    assert await asyncio.to_thread(constructor.begun.wait, 300)


async def given_up(lazy: Lazy[Any], constructor: Constructor) -> None:
    """A caller that gives up while the part is being built."""
    caller = asyncio.create_task(lazy.get())
    await begun(constructor)
    await asyncio.sleep(0)  # the caller may have been started after the build had begun
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller


async def test_callers_that_give_up_leave_the_build_to_the_others() -> None:
    constructor = Constructor()
    lazy = Lazy("reranker", constructor)
    for _ in range(5):
        await given_up(lazy, constructor)
    waiting = [asyncio.create_task(lazy.get()) for _ in range(3)]
    constructor.may_end.set()
    assert await asyncio.gather(*waiting) == [constructor.part] * 3
    assert await lazy.get() is constructor.part
    assert constructor.calls == 1


async def test_a_slow_part_does_not_keep_another_from_being_built() -> None:
    slow, quick = Constructor(), Constructor()
    quick.may_end.set()
    waiting = asyncio.create_task(Lazy("reranker", slow).get())
    await begun(slow)
    assert await Lazy("embedder", quick).get() is quick.part
    assert not waiting.done()
    slow.may_end.set()
    assert await waiting is slow.part


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (ConnectionError("refused"), ServiceUnavailable),
        (CredentialError("error_shutting_down"), CredentialError),
    ],
)
async def test_a_failed_build_is_told_to_all_and_then_tried_again(raised: Exception, expected: Any) -> None:
    constructor = Constructor(raised)
    lazy = Lazy("embedder", constructor)
    waiting = [asyncio.create_task(lazy.get()) for _ in range(3)]
    constructor.may_end.set()
    for caller in waiting:
        with pytest.raises(expected):
            await caller
    assert await lazy.get() is constructor.part
    assert constructor.calls == 2


async def test_a_build_that_fails_after_everybody_has_given_up_is_tried_again_and_not_reported() -> None:
    reported: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: reported.append(context))
    constructor = Constructor(ConnectionError("refused"))
    lazy = Lazy("embedder", constructor)
    await given_up(lazy, constructor)
    build = lazy._building
    assert build is not None
    constructor.may_end.set()
    await asyncio.wait([build])
    assert await lazy.get() is constructor.part
    del build
    assert reported == []


async def test_a_part_is_closed_with_its_set_and_not_handed_out_any_more() -> None:
    constructor = Constructor()
    constructor.may_end.set()
    lazy = Lazy("embedder", constructor)
    await lazy.get()
    lazy.close()
    assert constructor.part.closings == 1
    with pytest.raises(ShuttingDown):
        await lazy.get()


async def test_a_part_that_is_ready_after_its_set_was_closed_is_closed_then() -> None:
    constructor = Constructor()
    lazy = Lazy("reranker", constructor)
    waiting = asyncio.create_task(lazy.get())
    await begun(constructor)
    lazy.close()
    assert constructor.part.closings == 0
    constructor.may_end.set()
    await waiting
    assert constructor.part.closings == 1


async def test_a_part_that_nobody_needed_is_closed_without_being_built() -> None:
    constructor = Constructor()
    Lazy("reranker", constructor).close()
    assert constructor.calls == 0
