"""Which credential sets stay open: one with a call in it does, however many others come after it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.faults.ledger import wait_until
from utils.memory.memory import Memory
from utils.runtime.credential_set import Opened
from utils.runtime.runtime import Runtime
from utils.stores.protocol import Owner

MOST_OPEN = 4


@pytest.fixture
def runtime() -> Iterator[Runtime]:
    started = Runtime()
    yield started
    started.stop()


async def count(opened: Opened) -> int:
    return (await opened.memory.page(Owner("alice"), limit=1, offset=0, given_filters=None)).total


def test_a_set_with_a_call_in_it_is_not_closed_for_those_that_come_after_it(
    runtime: Runtime, qdrant_credentials: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    """The call is between two steps, where nothing but itself knows that it goes on."""
    monkeypatch.setenv("MEM0_DIFY_STATE_DIR", str(tmp_path / "state"))
    begun, may_go_on = threading.Event(), threading.Event()

    async def slow(opened: Opened) -> int:
        before = await count(opened)
        begun.set()
        while not may_go_on.is_set():  # noqa: ASYNC110 - another thread says so
            await asyncio.sleep(0.01)
        return before + await count(opened)

    def another(number: int) -> dict[str, Any]:
        return {**qdrant_credentials, "heartbeat_interval": str(30 + number)}

    with ThreadPoolExecutor(1) as caller:
        running = caller.submit(runtime.call, another(0), slow, timeout_s=None)
        try:
            begun.wait()
            for number in range(1, MOST_OPEN + 2):
                assert runtime.call(another(number), count, timeout_s=None) == 0
            wait_until(lambda: len(runtime._open) <= MOST_OPEN + 1)  # the others are closed, beside the calls
            assert runtime.settings(another(0)).identity.credentials in runtime._open
        finally:
            may_go_on.set()
        assert running.result() == 0


def tenant(credentials: dict[str, Any], number: int) -> dict[str, Any]:
    return {**credentials, "heartbeat_interval": str(30 + number)}


def test_five_tenants_in_turn_are_read_once_each(runtime: Runtime, qdrant_credentials: dict[str, Any]) -> None:
    tenants = [tenant(qdrant_credentials, number) for number in range(5)]
    first = [runtime.settings(each) for each in tenants]
    assert all(runtime.settings(each) is known for each, known in zip(tenants, first, strict=True))


def test_the_settings_that_are_forgotten_are_those_unused_for_longest(
    runtime: Runtime, qdrant_credentials: dict[str, Any]
) -> None:
    often, once = (runtime.settings(tenant(qdrant_credentials, number)) for number in range(2))
    for number in range(2, 65):
        assert runtime.settings(tenant(qdrant_credentials, 0)) is often
        runtime.settings(tenant(qdrant_credentials, number))
    assert runtime.settings(tenant(qdrant_credentials, 0)) is often
    assert runtime.settings(tenant(qdrant_credentials, 1)) is not once


async def silent(memory: Memory) -> bool:
    await asyncio.Event().wait()
    return False


async def broken(memory: Memory) -> bool:
    raise RuntimeError("unforeseen")


@pytest.mark.parametrize("has_work", [silent, broken])
def test_a_set_that_cannot_be_looked_at_keeps_no_other_open(
    has_work: Callable[[Memory], Awaitable[bool]],
    runtime: Runtime,
    qdrant_credentials: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Any,
) -> None:
    monkeypatch.setenv("MEM0_DIFY_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setattr("utils.runtime.credential_set._HAS_WORK_S", 0.01)
    monkeypatch.setattr("utils.runtime.runtime._LOOK_EVERY_S", 0.01)
    ill = runtime.settings(tenant(qdrant_credentials, 0)).identity.credentials
    looked = Memory.has_work

    async def has_work_of(memory: Memory) -> bool:
        return await (has_work if memory.settings.identity.credentials == ill else looked)(memory)

    monkeypatch.setattr(Memory, "has_work", has_work_of)
    for number in range(MOST_OPEN + 2):
        runtime.call(tenant(qdrant_credentials, number), count, timeout_s=None)
    wait_until(lambda: len(runtime._open) <= MOST_OPEN + 1)
    assert ill in runtime._open
    assert runtime.settings(tenant(qdrant_credentials, 1)).identity.credentials not in runtime._open
