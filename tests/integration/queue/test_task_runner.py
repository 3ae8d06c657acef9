"""A task runner over a real state store: a task ends, is handed on when its process goes, and is done by one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from utils.config.state_location import SqliteLocation
from utils.errors import Overloaded, PluginError, ServiceRefused, ServiceUnavailable
from utils.queue.task_runner import TaskRunner
from utils.state import tables, tasks
from utils.state.engine import StateStore
from utils.state.tables import COMPLETED, FAILED
from utils.state.tasks import EXTRACT, NewTask, Task, TaskLease, TaskState

SCOPE, MINE = "store-1", "fingerprint-1"


class Work:
    """A handler that says when it begins, waits until it may end, and then answers or fails."""

    def __init__(self, outcome: Mapping[str, Any] | PluginError | None = None) -> None:
        self.outcome = outcome
        self.begun, self.may_end = asyncio.Event(), asyncio.Event()

    async def __call__(self, task: Task, held: TaskLease) -> Mapping[str, Any] | None:
        self.begun.set()
        await self.may_end.wait()
        if isinstance(self.outcome, PluginError):
            raise self.outcome
        return self.outcome


@pytest.fixture
async def state(tmp_path: Path) -> AsyncIterator[StateStore]:
    store = StateStore(SqliteLocation(tmp_path / "state.sqlite3"))
    yield store
    await store.close()


def new_task(task_id: str = "extract_1") -> NewTask:
    return NewTask(task_id, SCOPE, EXTRACT, MINE, "run", {"app_id": "app"}, "sealed", 3600, ["alice"])


def runner(state: StateStore, work: Work) -> TaskRunner:
    return TaskRunner(state, SCOPE, MINE, {EXTRACT: work}, "INFO")


async def look(state: StateStore, task_id: str = "extract_1") -> TaskState:
    found = await state.read(lambda conn: tasks.state_of(conn, SCOPE, task_id))
    assert found is not None
    return found


async def test_a_task_is_there_when_begin_returns_and_ends_with_its_result(state: StateStore) -> None:
    work = Work({"deleted": 3})
    tasks_of_set = runner(state, work)
    await tasks_of_set.begin(new_task())
    assert (await look(state)).status in ("queued", "running")
    await work.begun.wait()
    assert (await look(state)).status == "running" and await tasks_of_set.has_work()
    work.may_end.set()
    await tasks_of_set.ended("extract_1", 60)
    found = await look(state)
    assert (found.status, found.result) == (COMPLETED, {"deleted": 3}) and not await tasks_of_set.has_work()
    await tasks_of_set.close()


async def test_a_task_that_fails_says_why(state: StateStore) -> None:
    work = Work(ServiceRefused("service_refused", part="llm", reason="401"))
    work.may_end.set()
    tasks_of_set = runner(state, work)
    await tasks_of_set.begin(new_task())
    await tasks_of_set.ended("extract_1", 60)
    found = await look(state)
    assert found.status == FAILED and "service_refused" in (found.error or "")


async def test_a_task_whose_process_is_stopped_is_adopted_by_the_next_one(state: StateStore) -> None:
    first, second = Work(), Work({"done": True})
    stopped = runner(state, first)
    await stopped.begin(new_task())
    await first.begun.wait()
    other = runner(state, second)
    other.open()
    await stopped.close()
    await second.begun.wait()
    second.may_end.set()
    await other.ended("extract_1", 60)
    assert (await look(state)).result == {"done": True}
    await other.close()


async def test_a_task_in_an_outage_of_the_state_store_is_left_to_its_lease_and_taken_up_again(
    state: StateStore,
) -> None:
    down = ServiceUnavailable("service_unavailable", part="state_store", reason="locked")
    work = Work(down)
    work.may_end.set()
    tasks_of_set = runner(state, work)
    await tasks_of_set.begin(new_task())
    await tasks_of_set.ended("extract_1", 60)
    assert (await look(state)).status == "running"
    await state.write(lambda conn: conn.execute(sa.update(tables.tasks).values(lease_expires_at=1.0)))
    work.outcome = None
    tasks_of_set.open()
    while (await look(state)).status != COMPLETED:  # noqa: ASYNC110 - the state store tells nobody when it changes
        await asyncio.sleep(0.01)
    await tasks_of_set.close()


async def test_an_eleventh_task_is_refused(state: StateStore) -> None:
    work = Work()
    tasks_of_set = runner(state, work)
    for number in range(tasks.MOST_UNFINISHED):
        await tasks_of_set.begin(new_task(f"extract_{number}"))
    with pytest.raises(Overloaded):
        await tasks_of_set.begin(new_task("one too many"))
    await tasks_of_set.close()


async def test_a_task_nobody_came_back_to_is_said_to_have_failed(state: StateStore) -> None:
    work = Work()
    gone = runner(state, work)
    await gone.begin(new_task())
    await gone.close()
    await state.write(lambda conn: conn.execute(sa.update(tables.tasks).values(ends_at=1.0)))
    other = runner(state, Work())
    other.open()
    while (await look(state)).finished_at is None:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    found = await look(state)
    assert found.status == FAILED and "error_task_abandoned" in (found.error or "")
    await other.close()
