"""A forgetting, carried out: what goes, what stays, and what may happen meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
import sqlalchemy as sa

from tests.contract.stores.conftest import in_lane
from tests.integration.forgetting.conftest import SCOPE, Place
from utils.forgetting import handler
from utils.state import checkpoints, history, leases, recalls
from utils.state.recalls import Folded
from utils.state.tables import checkpoint_conversations
from utils.state.tables import checkpoints as checkpoint_table

NOW = datetime(2026, 11, 24, tzinfo=UTC).timestamp()
DAY = 86_400.0
CLEAN = {"checkpoints_cleaned": 0, "locks_cleaned": 0}


async def test_what_has_faded_goes_and_the_history_says_why(place: Place) -> None:
    old = await place.add("alice", NOW - 90 * DAY)
    young = await place.add("alice", NOW - 89 * DAY)
    others = await place.add("bob", NOW - 900 * DAY)
    pinned = await place.add("alice", NOW - 900 * DAY, pinned=True)
    recalled = await place.add("alice", NOW - 900 * DAY)
    await place.recall(recalled, 0.8, NOW - 10 * DAY)
    undated = await place.add("alice", NOW, created_at="some day")
    counts = await place.forget("alice", NOW)
    assert counts == {"deleted_count": 1, "retained_count": 4, **CLEAN}
    assert await place.left("alice") == {young.id, pinned.id, recalled.id, undated.id}
    assert await place.left("bob") == {others.id}
    [entry], _ = await place.state.read(lambda conn: history.of_memory(conn, SCOPE, old.id, limit=9))
    assert (entry.event, entry.old_memory, entry.reason, entry.is_deleted) == ("DELETE", old.text, "forgotten", True)


async def test_the_hard_age_counts_whatever_was_recalled_but_not_for_the_pinned(place: Place) -> None:
    recalled = await place.add("alice", NOW - 31 * DAY)
    await place.recall(recalled, 0.9, NOW - DAY)
    pinned = await place.add("alice", NOW - 31 * DAY, pinned=True)
    counts = await place.forget("alice", NOW, memory_ttl_days=30)
    assert counts == {"deleted_count": 1, "retained_count": 1, **CLEAN}
    assert await place.left("alice") == {pinned.id}
    assert await place.recorded("alice", [recalled]) == {}


async def test_one_apps_memories_alone(place: Place) -> None:
    of_app = await place.add("alice", NOW - 400 * DAY, agent_id="app")
    other = await place.add("alice", NOW - 400 * DAY, agent_id="other")
    assert (await place.forget("alice", NOW, agent_id="app"))["deleted_count"] == 1
    assert await place.left("alice") == {other.id} and of_app.id != other.id


async def test_many_pages_are_gone_through(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handler, "PAGE", 3)
    for number in range(20):
        row = await place.add("alice", NOW - (400 if number % 2 else 1) * DAY)
        if number % 10 == 5:
            await place.recall(row, 0.8, NOW - 399 * DAY)
    counts = await place.forget("alice", NOW)
    assert counts == {"deleted_count": 10, "retained_count": 10, **CLEAN}
    assert len(await place.left("alice")) == 10


async def test_a_memory_that_is_recalled_between_judgement_and_deletion_is_kept(place: Place) -> None:
    """Its recall is recorded at the last moment at which that is possible: right before the deletion's transaction."""
    doomed = [await place.add("alice", NOW - 400 * DAY) for _ in range(3)]
    saved, commit, transactions = doomed[1], place.state.write_changes, 0

    async def recalled_first[T](work: Callable[[Any], T]) -> T:
        nonlocal transactions
        transactions += 1
        if transactions == 2:  # the first one removes checkpoints and leases
            recall = {("alice", saved.id): Folded.first(0.7, NOW + 1.0)}
            await commit(lambda conn: recalls.record(conn, SCOPE, recall))
        return await commit(work)

    place.state.write_changes = recalled_first  # type: ignore[method-assign]
    counts = await place.forget("alice", NOW)
    assert counts == {"deleted_count": 2, "retained_count": 1, **CLEAN}
    assert await place.left("alice") == {saved.id}
    assert (await place.recorded("alice", doomed)).keys() == {saved.id}
    [changes] = [await place.state.read(lambda conn: history.of_memory(conn, SCOPE, saved.id, limit=9))]
    assert changes == ([], 0)


async def test_recalls_of_memories_that_are_gone_go_too(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handler, "PAGE", 2)
    kept = [await place.add("alice", NOW - 10 * DAY) for _ in range(3)]
    gone = [await place.add("alice", NOW - 10 * DAY) for _ in range(5)]
    for row in (*kept, *gone):
        await place.recall(row, 0.8, NOW - 5 * DAY)
    await in_lane(place.store.delete([row.id for row in gone]))  # by a program that knows nothing of recalls
    assert await place.forget("alice", NOW) == {"deleted_count": 0, "retained_count": 3, **CLEAN}
    assert (await place.recorded("alice", [*kept, *gone])).keys() == {row.id for row in kept}
    await in_lane(place.store.delete([row.id for row in kept]))
    await place.forget("alice", NOW)
    assert await place.recorded("alice", kept) == {}


async def test_expired_checkpoints_and_leases_go_and_are_counted(place: Place) -> None:
    def prepare(conn: sa.Connection) -> None:
        for app_id, days in (("old", 9), ("young", 7)):
            checkpoints.save(conn, SCOPE, "alice", app_id, {})
            checkpoints.save_conversation(conn, SCOPE, "alice", app_id, "conversation", {})
            for table in (checkpoint_table, checkpoint_conversations):
                older = {"updated_at": table.c.updated_at - days * DAY}
                conn.execute(sa.update(table).where(table.c.app_id == app_id).values(older))
        leases.take(conn, SCOPE, "alice", "dead", owner="task-1", lease_s=-1.0)
        leases.take(conn, SCOPE, "alice", "alive", owner="task-2", lease_s=600.0)

    await place.state.write(prepare)
    counts = await place.forget("alice", NOW, checkpoint_ttl_days=1)  # 8 at least
    assert counts == {"deleted_count": 0, "retained_count": 0, "checkpoints_cleaned": 2, "locks_cleaned": 1}
    assert await place.state.read(lambda conn: checkpoints.newest_app(conn, SCOPE, "alice")) == "young"
