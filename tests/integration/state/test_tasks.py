"""Tasks: who has one, what is left of it when a process dies, and what it has come to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import sqlalchemy as sa

from utils.errors import LeaseLost, PluginError
from utils.state import tables, tasks
from utils.state.engine import StateStore
from utils.state.tables import COMPLETED, FAILED, QUEUED, RUNNING, SKIPPED
from utils.state.tasks import EXTRACT, Counts, NewTask, TaskLease

SCOPE, MINE = "store-1", "fingerprint-1"


def new_task(task_id: str = "extract_1", users: Sequence[str] = ("alice", "bob"), **other: Any) -> NewTask:
    given = {"fingerprint": MINE, "run_id": task_id, "request": {"app_id": "app"}, "secret": "sealed", "budget_s": 3600}
    return NewTask(id=task_id, scope=SCOPE, kind=EXTRACT, user_ids=users, **{**given, **other})


async def do(state: StateStore, function: Any, *args: Any, **kwargs: Any) -> Any:
    return await state.write(lambda conn: function(conn, *args, **kwargs))


async def create(state: StateStore, task: NewTask, owner: str = "process-1") -> TaskLease | None:
    return await do(state, tasks.create, task, owner=owner, lease_s=1800)


async def adopt(state: StateStore, owner: str = "process-2", fingerprint: str = MINE) -> TaskLease | None:
    return await do(state, tasks.adopt, SCOPE, fingerprint, [EXTRACT], owner=owner, lease_s=1800)


async def look(state: StateStore, task_id: str = "extract_1") -> tasks.TaskState:
    found = await state.read(lambda conn: tasks.state_of(conn, SCOPE, task_id))
    assert found is not None
    return found


async def change(state: StateStore, **values: Any) -> None:
    await state.write(lambda conn: conn.execute(sa.update(tables.tasks).values(**values)))


async def test_a_task_can_be_asked_about_as_soon_as_it_is_made(state: StateStore) -> None:
    await create(state, new_task())
    found = await look(state)
    assert (found.status, found.users, found.users_by_status) == (QUEUED, 2, {QUEUED: 2})
    assert await state.read(lambda conn: tasks.state_of(conn, "another store", "extract_1")) is None


async def test_what_was_done_for_users_adds_up(state: StateStore) -> None:
    held = await create(state, new_task(users=("alice", "bob", "cid", "dan")))
    task = await do(state, tasks.start, held)
    assert task.secret == "sealed" and 3500 < task.budget_left_s <= 3600
    assert await state.read(lambda conn: tasks.waiting_users(conn, "extract_1")) == [
        (0, "alice"), (1, "bob"), (2, "cid"), (3, "dan")
    ]  # fmt: skip
    await do(state, tasks.set_user, held, 0, RUNNING)
    await do(state, tasks.count, "extract_1", "alice", Counts(scanned_messages=5, semantic=2))
    await do(state, tasks.count, "extract_1", "alice", Counts(semantic=1, llm_calls=1))
    await do(state, tasks.set_user, held, 0, COMPLETED, notes={"warnings": []})
    await do(state, tasks.set_user, held, 1, SKIPPED, reason="lock_held", lock_holder="extract_2")
    await do(state, tasks.set_user, held, 2, FAILED, notes={"errors": [{"type": "service_refused"}]})
    assert [user for _, user in await state.read(lambda conn: tasks.waiting_users(conn, "extract_1"))] == ["dan"]
    await do(state, tasks.skip_waiting, held, "time_budget_exceeded")
    found = await look(state)
    assert found.status == RUNNING and found.users_by_status == {COMPLETED: 1, SKIPPED: 2, FAILED: 1}
    assert found.counts == Counts(scanned_messages=5, semantic=3, llm_calls=1)
    parts = await state.read(lambda conn: tasks.users_of(conn, "extract_1", 3))
    assert [(part.user_id, part.reason) for part in parts] == [
        ("cid", None), ("bob", "lock_held"), ("dan", "time_budget_exceeded")
    ]  # fmt: skip
    await do(state, tasks.finish, held)
    found = await look(state)
    assert found.status == COMPLETED and found.finished_at is not None
    assert await secrets(state) == [None]


async def secrets(state: StateStore) -> list[str | None]:
    return await state.read(lambda conn: list(conn.execute(sa.select(tables.tasks.c.secret)).scalars()))


async def test_a_task_that_was_left_behind_is_adopted_once(state: StateStore) -> None:
    lost = await create(state, new_task())
    await do(state, tasks.start, lost)
    await do(state, tasks.set_user, lost, 0, COMPLETED)
    assert await adopt(state) is None
    await change(state, lease_expires_at=1.0)
    assert await adopt(state, fingerprint="other") is None
    adopted = await adopt(state)
    assert adopted is not None and await adopt(state, "process-3") is None
    assert [user for _, user in await state.read(lambda conn: tasks.waiting_users(conn, "extract_1"))] == ["bob"]
    for action in (tasks.start, tasks.hold):
        with pytest.raises(LeaseLost):
            await do(state, action, lost)
    with pytest.raises(LeaseLost):
        await do(state, tasks.renew, lost, 1800)
    await do(state, tasks.renew, adopted, 1800)


async def test_a_task_whose_time_is_over_reads_as_failed_and_nobody_adopts_it(state: StateStore) -> None:
    held = await create(state, new_task())
    await do(state, tasks.start, held)
    await change(state, ends_at=1.0)
    assert (await look(state)).status == RUNNING  # its process lives and is about to end it
    await change(state, lease_expires_at=1.0)
    found = await look(state)
    assert (found.status, found.abandoned) == (FAILED, True)
    assert await adopt(state) is None
    assert await do(state, tasks.fail_abandoned, SCOPE, PluginError("error_lease_lost")) == 1
    found = await look(state)
    assert (found.status, found.abandoned) == (FAILED, False) and "error_lease_lost" in (found.error or "")
    assert await secrets(state) == [None]


async def test_more_than_ten_unfinished_tasks_are_refused(state: StateStore) -> None:
    made = [await create(state, new_task(f"extract_{number}")) for number in range(10)]
    assert None not in made
    assert await create(state, new_task("extract_10")) is None
    await do(state, tasks.finish, made[0])
    assert await create(state, new_task("extract_10")) is not None
    await change(state, ends_at=1.0, lease_expires_at=1.0)  # given up: they keep nobody out
    assert await create(state, new_task("extract_11")) is not None


async def test_a_thousand_users(state: StateStore) -> None:
    users = [f"user-{number}" for number in range(1201)]
    await create(state, new_task(users=users))
    assert [user for _, user in await state.read(lambda conn: tasks.waiting_users(conn, "extract_1"))] == users


async def test_a_user_is_taken_out_of_tasks_and_the_counts_stay(state: StateStore) -> None:
    held = await create(state, new_task())
    await do(state, tasks.count, "extract_1", "alice", Counts(semantic=2))
    await do(state, tasks.set_user, held, 0, FAILED, notes={"errors": []})
    await do(state, tasks.forget_user, SCOPE, "alice")
    part = (await state.read(lambda conn: tasks.users_of(conn, "extract_1", 10)))[0]
    assert (part.user_id, part.notes) == ("", None) and (await look(state)).counts.semantic == 2


async def test_ended_tasks_go_in_the_end(state: StateStore) -> None:
    held = await create(state, new_task())
    await create(state, new_task("extract_2"))
    await do(state, tasks.finish, held, result={"done": True})
    assert (await look(state)).result == {"done": True}
    assert await do(state, tasks.purge, older_than_s=60, most=10) == 0
    await change(state, finished_at=1.0, ends_at=1.0)
    await state.write(
        lambda conn: conn.execute(
            sa.update(tables.tasks).where(tables.tasks.c.id == "extract_2").values(finished_at=None)
        )
    )
    assert await do(state, tasks.purge, older_than_s=60, most=10) == 1  # the other one is still leased
    assert await state.read(lambda conn: tasks.state_of(conn, SCOPE, "extract_1")) is None
    left = await state.read(
        lambda conn: conn.execute(sa.select(tables.task_users.c.task_id).distinct()).scalars().all()
    )
    assert left == ["extract_2"]
