"""The rows of recalls: updated by what is in them, locked in one order, deleted with their memories."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa

from playground.postgres import Database
from tests.integration.state.test_writes import do
from utils.config.state_location import PostgresLocation, SqliteLocation
from utils.state import recalls
from utils.state.engine import StateStore
from utils.state.recalls import Folded, Recall

ONE, OTHER = "store-1", "store-2"


def once(quality: float, at: float = 1.0, agent_id: str | None = None) -> Folded:
    return Folded.first(quality, at, agent_id)


async def recall(state: StateStore, user_id: str, memory_id: str, *qualities: float, scope: str = ONE) -> None:
    for number, quality in enumerate(qualities, 1):
        await do(state, recalls.record, scope, {(user_id, memory_id): once(quality, float(number))})


async def of(state: StateStore, user_id: str, *memory_ids: str, scope: str = ONE) -> dict[str, Recall]:
    return await do(state, recalls.of_memories, scope, user_id, memory_ids)


async def test_a_row_is_the_average_the_count_and_the_last_time(state: StateStore) -> None:
    await recall(state, "alice", "m-1", 0.8, 0.6, 1.0)
    expected = 0.3 * 1.0 + 0.7 * (0.3 * 0.6 + 0.7 * 0.8)
    assert await of(state, "alice", "m-1", "m-2") == {"m-1": Recall(pytest.approx(expected), 3, 3.0)}
    await do(state, recalls.record, ONE, {("alice", "m-1"): once(0.5, at=2.0)})
    assert (await of(state, "alice", "m-1"))["m-1"].last_recalled_at == 3.0  # never goes back


async def test_the_count_saturates(state: StateStore) -> None:
    seven = once(0.9)
    for _ in range(6):
        seven.add(0.9, 1.0)
    for memory_id in ("m-1", "m-2"):
        await do(state, recalls.record, ONE, {("alice", memory_id): seven})
    await recall(state, "alice", "m-2", 0.9)
    found = await of(state, "alice", "m-1", "m-2")
    assert [each.recall_count for each in found.values()] == [6, 6]


async def test_a_store_and_a_user_have_their_own(state: StateStore) -> None:
    await recall(state, "alice", "m-1", 0.8)
    await recall(state, "alice", "m-1", 0.8, 0.8, scope=OTHER)
    await recall(state, "bob", "m-1", 0.8, 0.8, 0.8)
    assert (await of(state, "alice", "m-1"))["m-1"].recall_count == 1
    assert (await of(state, "alice", "m-1", scope=OTHER))["m-1"].recall_count == 2
    assert await do(state, recalls.delete_of, ONE, "alice", ["m-1", "m-2"]) == 1
    assert await of(state, "alice", "m-1") == {}
    assert await do(state, recalls.delete_all, ONE, "bob", None) == 1
    assert (await of(state, "alice", "m-1", scope=OTHER))["m-1"].recall_count == 2


async def test_one_agents_can_be_deleted(state: StateStore) -> None:
    await do(state, recalls.record, ONE, {("alice", "m-1"): once(0.8, agent_id="app"), ("alice", "m-2"): once(0.8)})
    assert await do(state, recalls.delete_all, ONE, "alice", "app") == 1
    assert list(await of(state, "alice", "m-1", "m-2")) == ["m-2"]


async def test_pages_go_by_the_bytes_of_the_ids(state: StateStore) -> None:
    ids = ["B", "a", "é", "~", "10", "9"]
    await do(state, recalls.record, ONE, {("alice", each): once(0.8) for each in ids})
    found: list[str] = []
    asked: dict[str, Any] = {"up_to_id": None, "limit": 2}
    while page := await do(state, recalls.page, ONE, "alice", None, after_id=found[-1] if found else None, **asked):
        found += [memory_id for memory_id, _ in page]
    assert found == sorted(ids)
    between = await do(state, recalls.page, ONE, "alice", None, after_id="9", up_to_id="a", limit=9)
    assert [memory_id for memory_id, _ in between] == ["B", "a"]


async def test_many_at_once_lose_nothing(state: StateStore) -> None:
    memories = [f"m-{number}" for number in range(20)]

    async def record(start: int) -> None:
        batch = {("alice", memory_id): once(0.5 + start / 20) for memory_id in memories[start:] + memories[:start]}
        await state.write_changes(lambda conn: recalls.record(conn, ONE, batch))

    await asyncio.gather(*(record(start) for start in range(5)))
    found = await of(state, "alice", *memories)
    assert [each.recall_count for each in found.values()] == [5] * 20


async def test_who_records_waits_for_who_holds(
    state: StateStore, location: PostgresLocation | SqliteLocation, request: pytest.FixtureRequest
) -> None:
    """A recall that comes while a memory's deletion is decided is recorded after it, also a memory's first one."""
    await recall(state, "alice", "m-1", 0.8)
    held, may_end = asyncio.Event(), threading.Event()
    loop, order = asyncio.get_running_loop(), list[str]()

    def decide(conn: sa.Connection) -> dict[str, Recall]:
        known = recalls.hold(conn, ONE, "alice", ["m-2", "m-1"])
        loop.call_soon_threadsafe(held.set)
        may_end.wait()
        recalls.delete_of(conn, ONE, "alice", ["m-1", "m-2"])
        order.append("decided")
        return known

    def record(conn: sa.Connection) -> None:
        recalls.record(conn, ONE, {("alice", memory_id): once(0.6, at=9.0) for memory_id in ("m-1", "m-2")})
        order.append("recorded")

    deciding = asyncio.create_task(state.write_changes(decide))
    await held.wait()
    recording = asyncio.create_task(state.write_changes(record))
    if isinstance(location, PostgresLocation):
        await _until_somebody_waits_for_a_lock(request.getfixturevalue("database"))
    may_end.set()
    assert list(await deciding) == ["m-1"]  # what was never recalled is not made up
    await recording
    assert order == ["decided", "recorded"]
    assert await of(state, "alice", "m-1", "m-2") == dict.fromkeys(("m-1", "m-2"), Recall(0.6, 1, 9.0))


async def _until_somebody_waits_for_a_lock(database: Database) -> None:
    """Asked beside the pooler, both of whose sessions are taken."""
    waiting = b"SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    async with await psycopg.AsyncConnection.connect(database.uri, autocommit=True) as asking:
        while await (await asking.execute(waiting)).fetchone() == (0,):  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.01)
