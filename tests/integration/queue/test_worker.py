"""A worker over a real state store: how long it leaves a failed write, and what it makes of each failure."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import sqlalchemy as sa

from utils.aio.lanes import Lane
from utils.config.state_location import SqliteLocation
from utils.errors import Overloaded, PluginError, ServiceRefused, ServiceUnavailable
from utils.queue import retry
from utils.queue import worker as worker_module
from utils.queue.handler import Outcome, Service
from utils.queue.lease import Lease
from utils.queue.worker import Worker
from utils.state import writes
from utils.state.engine import StateStore
from utils.state.tables import epoch_now
from utils.state.tables import writes as table
from utils.state.writes import Write

SCOPE, MINE = "store-1", "fingerprint-1"
DOWN = ServiceUnavailable("service_unavailable", part="llm", reason="APIConnectionError")
BUSY = ServiceUnavailable("service_unavailable", part="llm", reason="429", retry_after_s=900.0)
FULL = Overloaded("error_store_overload")
REFUSED = ServiceRefused("service_refused", part="llm", reason="401")


class Failing:
    """A handler that fails with one error."""

    version = 1

    def __init__(self, error: PluginError) -> None:
        self.error = error
        self.called_at: list[float] = []

    async def __call__(self, write: Write, lease: Lease) -> Outcome:
        self.called_at.append(time.time())
        raise self.error


@pytest.fixture
async def state(tmp_path: Path) -> AsyncIterator[StateStore]:
    store = StateStore(SqliteLocation(tmp_path / "state.sqlite3"))
    yield store
    await store.close()


async def until(
    condition: Callable[[sa.Row[tuple[object, ...]]], bool], state: StateStore
) -> sa.Row[tuple[object, ...]]:
    """The only write, once the condition holds for it: the state store tells nobody when it changes."""
    query = sa.select(table, epoch_now().label("now"))
    while not condition(row := await state.read(lambda conn: conn.execute(query).one())):  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    return row


async def accepted_by_a_worker_that_fails(state: StateStore, error: PluginError) -> tuple[Worker, Failing]:
    worker, failing = Worker(state, SCOPE), Failing(error)
    lane = Lane("writes", 2)
    await worker.serve(Service(MINE, {"add": failing}, lane))
    write = writes.NewWrite(str(uuid.uuid4()), SCOPE, "alice", "add", 1, {"user": "I like tea"}, MINE, "process-1")
    await state.write(lambda conn: writes.accept(conn, write, 10))
    worker.wake()
    return worker, failing


@pytest.mark.parametrize(("error", "least_s"), [(DOWN, retry.DELAYS_S[0]), (BUSY, 900.0)])
async def test_a_failed_write_is_left_for_its_delay(state: StateStore, error: PluginError, least_s: float) -> None:
    """Counted from when the handler was called: the delay is what the write's next time lies ahead of that."""
    worker, _failing = await accepted_by_a_worker_that_fails(state, error)
    row = await until(lambda row: row.attempts >= 1, state)
    assert row.next_attempt_at - row.created_at >= least_s * (1 - retry.JITTER)
    assert (row.status, row.error_code) == ("pending", "service_unavailable")
    await worker.close()


async def test_the_second_try_waits_longer_than_the_first(state: StateStore) -> None:
    worker, failing = await accepted_by_a_worker_that_fails(state, DOWN)
    row = await until(lambda row: row.attempts >= 2, state)
    first, second, *_ = failing.called_at
    assert second - first >= retry.DELAYS_S[0] * (1 - retry.JITTER)
    assert row.next_attempt_at - second >= retry.DELAYS_S[1] * (1 - retry.JITTER)
    await worker.close()


async def test_a_write_there_was_no_place_for_has_not_been_tried(state: StateStore) -> None:
    """However often: it was accepted, and a flood of other calls must not make it fail."""
    worker, failing = await accepted_by_a_worker_that_fails(state, FULL)
    first = await until(lambda row: row.error_code == "overloaded", state)
    second = await until(lambda row: row.next_attempt_at > first.next_attempt_at, state)
    for row in (first, second):
        assert (row.status, row.attempts) == ("pending", 0)
    assert len(failing.called_at) >= 2
    await worker.close()


async def test_a_refusal_is_not_tried_again(state: StateStore) -> None:
    worker, failing = await accepted_by_a_worker_that_fails(state, REFUSED)
    row = await until(lambda row: row.status == "failed", state)
    assert row.parked and len(failing.called_at) == 1 and row.payload == {"user": "I like tea"}
    await worker.close()


class Recording:
    """A handler that says which writes it was given."""

    version = 1

    def __init__(self) -> None:
        self.given: list[str] = []

    async def __call__(self, write: Write, lease: Lease) -> Outcome:
        self.given.append(write.id)
        return Outcome()


async def test_writes_of_one_user_go_on_from_one_lane_to_the_other_at_once(state: StateStore) -> None:
    """Each service carries out its own kinds; none waits for the next look at the state store."""
    worker, mine, theirs = Worker(state, SCOPE), Recording(), Recording()
    add, chunk = Service(MINE, {"add": mine}, Lane("writes", 2)), Service(MINE, {"chunk": theirs}, Lane("chunks", 2))
    kinds = ["chunk", "add"] * 5
    accepted = [
        writes.NewWrite(f"{number}", SCOPE, "alice", kind, 1, {}, MINE, "process-1")
        for number, kind in enumerate(kinds)
    ]
    for write in accepted:
        await state.write(lambda conn, write=write: writes.accept(conn, write, 100))
    await worker.serve(add)
    await worker.serve(chunk)
    started = time.monotonic()
    await asyncio.gather(*(worker.ended(write.id, 60) for write in accepted[-1:]))
    assert theirs.given == ["0", "2", "4", "6", "8"] and mine.given == ["1", "3", "5", "7", "9"]
    assert time.monotonic() - started < 9 * worker_module._POLL_S  # nine times from one to the other
    await worker.close()
