"""The recall log: what searches found is recorded a moment later, once, whatever happens meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from playground.postgres import Database
from utils.config.state_location import PostgresLocation, SqliteLocation
from utils.errors import ServiceUnavailable
from utils.memory import recall_log
from utils.memory.recall_log import RecallLog
from utils.state import recalls
from utils.state.engine import StateStore
from utils.state.recalls import Recall
from utils.stores.protocol import Row

SCOPE = "store-1"


@pytest.fixture(params=["sqlite", "postgresql"])
async def state(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[StateStore]:
    if request.param == "sqlite":
        store = StateStore(SqliteLocation(tmp_path / "state.sqlite3"))
    else:
        database: Database = request.getfixturevalue("database")
        store = StateStore(PostgresLocation(database.uri))
    yield store
    await store.close()


def row(memory_id: str, score: float | None, rerank_score: float | None = None, **payload: Any) -> Row:
    return Row(memory_id, payload, score, rerank_score)


async def recorded(state: StateStore, *memory_ids: str) -> dict[str, Recall]:
    return await state.read(lambda conn: recalls.of_memories(conn, SCOPE, "alice", memory_ids))


async def test_what_matched_well_is_recorded_by_the_rerankers_score_where_there_is_one(state: StateStore) -> None:
    log = RecallLog(state, SCOPE)
    found = [row("m-1", 0.9), row("m-2", 0.49), row("m-3", 0.9, 0.2), row("m-4", 0.1, 0.5), row("m-5", None)]
    log.add("alice", found, now_s=7.0)
    await log.flush()
    expected = {"m-1": Recall(0.9, 1, 7.0), "m-4": Recall(0.5, 1, 7.0)}
    assert await recorded(state, "m-1", "m-2", "m-3", "m-4", "m-5") == expected


async def test_it_records_by_itself_and_at_its_end(state: StateStore) -> None:
    log = RecallLog(state, SCOPE)
    log.add("alice", [row("m-1", 0.9)])
    log.add("alice", [row("m-1", 0.7)])
    while not await recorded(state, "m-1"):  # noqa: ASYNC110 - the log tells nobody
        await asyncio.sleep(0.02)
    assert (await recorded(state, "m-1"))["m-1"].quality_ema == pytest.approx(0.3 * 0.7 + 0.7 * 0.9)
    log.add("alice", [row("m-2", 0.9)])
    await log.close()
    assert list(await recorded(state, "m-2")) == ["m-2"]
    await log.close()


class Unreachable:
    """A state store that fails ``times`` transactions: before they do anything, or when they are committed."""

    def __init__(self, state: StateStore, times: int, *, at_commit: bool) -> None:
        self._state = state
        self._times = times
        self._at_commit = at_commit

    async def write_changes[T](self, work: Callable[[Any], T]) -> T:
        if self._times > 0:
            self._times -= 1
            await asyncio.sleep(0)
            if self._at_commit:
                await self._state.write_changes(work)
            raise ServiceUnavailable("service_unavailable", part="state_store", reason="down")
        return await self._state.write_changes(work)


@pytest.fixture
def by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """The log records when it is told to, and not by itself."""
    monkeypatch.setattr(recall_log, "EVERY_S", 3600.0)


@pytest.mark.usefixtures("by_hand")
@pytest.mark.parametrize("at_commit", [False, True])
async def test_an_outage_loses_nothing_and_doubles_nothing(state: StateStore, at_commit: bool) -> None:
    """Where it is not known whether the commit came through, what it held is not sent again."""
    log = RecallLog(Unreachable(state, 1, at_commit=at_commit), SCOPE)  # type: ignore[arg-type]
    log.add("alice", [row("m-1", 0.9)])
    await log.flush()
    log.add("alice", [row("m-1", 0.6), row("m-2", 0.6)])
    await log.flush()
    found = await recorded(state, "m-1", "m-2")
    assert {memory_id: one.recall_count for memory_id, one in found.items()} == {"m-1": 2, "m-2": 1}
    assert found["m-1"].quality_ema == pytest.approx(0.3 * 0.6 + 0.7 * 0.9)


async def test_closing_it_while_it_records_loses_nothing_that_waits(
    state: StateStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Closing ends the task in the background wherever it is; only the batch that is under way is not sent again."""
    monkeypatch.setattr(recall_log, "EVERY_S", 0.0)
    monkeypatch.setattr(recall_log, "_BATCH", 1)
    held_up = HeldUp(state)
    log = RecallLog(held_up, SCOPE)  # type: ignore[arg-type]
    log.add("alice", [row("m-1", 0.9), row("m-2", 0.9), row("m-3", 0.9)])
    await held_up.entered.wait()
    await log.close()
    assert list(await recorded(state, "m-1", "m-2", "m-3")) == ["m-2", "m-3"]


async def test_closing_it_beside_a_silent_state_store_says_what_is_lost(
    state: StateStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(recall_log, "_CLOSE_S", 0.0)
    log = RecallLog(HeldUp(state, for_ever=True), SCOPE)  # type: ignore[arg-type]
    log.add("alice", [row("m-1", 0.9), row("m-2", 0.9)])
    await log.close()
    assert "recalls of up to 2 memories are lost" in caplog.text


@pytest.mark.usefixtures("by_hand")
async def test_a_user_who_is_erased_during_an_outage_does_not_come_back_with_their_recalls(state: StateStore) -> None:
    """A recording is under way while they are erased; it fails, and what it held waits again."""
    unreachable = Unreachable(state, 1, at_commit=False)
    log = RecallLog(unreachable, SCOPE)  # type: ignore[arg-type]
    log.add("alice", [row("m-1", 0.9)])
    log.add("bob", [row("m-2", 0.9)])
    async with asyncio.TaskGroup() as both:
        both.create_task(log.flush())
        await asyncio.sleep(0)
        log.add("alice", [row("m-1", 0.9)])
        both.create_task(log.forget("alice"))
    await log.flush()
    assert await recorded(state, "m-1") == {}
    assert list(await state.read(lambda conn: recalls.of_memories(conn, SCOPE, "bob", ["m-2"]))) == ["m-2"]


class HeldUp:
    """A state store whose first transaction does not come to its end; with ``for_ever`` none does."""

    def __init__(self, state: StateStore, *, for_ever: bool = False) -> None:
        self._state = state
        self._for_ever = for_ever
        self.entered = asyncio.Event()

    async def write_changes[T](self, work: Callable[[Any], T]) -> T:
        if self._for_ever or not self.entered.is_set():
            self.entered.set()
            await asyncio.Event().wait()
        return await self._state.write_changes(work)


@pytest.mark.usefixtures("by_hand")
async def test_a_state_store_that_is_gone_makes_it_drop_the_oldest(
    state: StateStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recall_log, "_MOST_WAITING", 3)
    log = RecallLog(Unreachable(state, 3, at_commit=False), SCOPE)  # type: ignore[arg-type]
    for number in range(6):
        log.add("alice", [row(f"m-{number}", 0.9)])
        if number % 2:
            await log.flush()
    await log.flush()
    assert list(await recorded(state, *(f"m-{number}" for number in range(6)))) == ["m-3", "m-4", "m-5"]


async def test_one_bad_agent_id_keeps_no_batch_from_being_recorded(state: StateStore) -> None:
    log = RecallLog(state, SCOPE)
    log.add("alice", [row("m-1", 0.9, agent_id="a\0b"), row("m-2", 0.9, agent_id=7), row("m-3", 0.9, agent_id="app")])
    await log.flush()
    assert len(await recorded(state, "m-1", "m-2", "m-3")) == 3
