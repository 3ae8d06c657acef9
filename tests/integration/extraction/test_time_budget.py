"""A task's time budget, with a clock of the test's own: no user begins after it, and a running one stops at its next
chunk; what is left is wanted by the next run.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from playground.credentials import Endpoint, credential_set, qdrant_block
from playground.dify_app import History, StandInDify
from utils.aio.lanes import Lane
from utils.config.settings import Settings
from utils.config.state_location import SqliteLocation
from utils.extraction.request import ExtractionRequest, range_before
from utils.extraction.sealing import seal, unseal
from utils.extraction.task import ExtractionTask
from utils.queue.handler import Outcome, QueueLease, Service
from utils.queue.task_runner import TaskRunner
from utils.queue.worker import Worker
from utils.state import tasks
from utils.state.engine import StateStore
from utils.state.tasks import EXTRACT, NewTask, TaskState, UserPart
from utils.state.writes import Write

SCOPE, APP = "store-1", "app"


class Clock:
    """Seconds that pass only when a chunk is carried out: ten for each."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Remembering:
    """In the place of the model: notes the chunk, and lets time pass."""

    version = 1

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.chunks: list[str] = []

    async def __call__(self, write: Write, lease: QueueLease) -> Outcome:
        self.chunks.append(write.user_id)
        self.clock.now += 10.0
        return Outcome()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.from_credentials(credential_set(Endpoint("http://127.0.0.1:9"), qdrant_block(tmp_path / "qdrant")))


@pytest.fixture
async def state(tmp_path: Path) -> AsyncIterator[StateStore]:
    store = StateStore(SqliteLocation(tmp_path / "state.sqlite3"))
    yield store
    await store.close()


@pytest.fixture
def dify() -> Iterator[StandInDify]:
    with StandInDify(History()) as app:
        yield app


async def nothing_earlier() -> None:
    """Nothing of an earlier plugin's is waited for."""


async def extract(
    state: StateStore, settings: Settings, dify: StandInDify, users: list[str], *, budget_s: float, at_once: int = 1
) -> tuple[TaskState, list[UserPart], list[str]]:
    """Run one task to its end: how it stands, its users' parts, and whose chunks were carried out, in order."""
    worker, clock = Worker(state, SCOPE), Clock()
    remembering, fingerprint = Remembering(clock), settings.identity.client
    service = Service(fingerprint, {"chunk": remembering}, Lane("chunks", 5))
    await worker.serve(service)
    start, end = range_before(date.today(), 1)
    request = ExtractionRequest(APP, dify.base_url, start, end, 20, 64_000, budget_s)
    places = asyncio.Semaphore(at_once)
    task = ExtractionTask(settings, state, worker, lambda: worker.wake(service), places, nothing_earlier, clock)
    runner = TaskRunner(state, SCOPE, fingerprint, {EXTRACT: task}, "INFO")
    key = seal("app-stand-in", settings)
    task_id = f"extract_{len(users)}_{budget_s:g}"
    # The database's clock must not end the task before the test's own does.
    await runner.begin(NewTask(task_id, SCOPE, EXTRACT, fingerprint, "run", request.to_json(), key, budget_s, users))
    await runner.ended(task_id, 120)
    found = await state.read(lambda conn: tasks.state_of(conn, SCOPE, task_id))
    parts = await state.read(lambda conn: tasks.users_of(conn, task_id, 100))
    await runner.close()
    await worker.close()
    assert found is not None
    return found, sorted(parts, key=lambda part: part.place), remembering.chunks


def converse(dify: StandInDify, user: str, conversations: int) -> None:
    start, _ = range_before(date.today(), 1)
    for number in range(conversations):
        dify.history.converse(user, start + 3600 + number * 60, (f"I like tea {number}.", "Fine."))


async def test_no_user_begins_after_the_budget_and_a_running_one_stops_at_its_next_chunk(
    state: StateStore, settings: Settings, dify: StandInDify
) -> None:
    for user in ("ana", "ben", "cid"):
        converse(dify, user, 30 if user == "ana" else 2)
    found, parts, chunks = await extract(state, settings, dify, ["ana", "ben", "cid"], budget_s=295.0)
    # Twenty conversations are the limit: 200 s of the clock. Ben's two take it to 220 s.
    assert [part.reason for part in parts] == [None, None, None] and found.status == "completed"
    assert chunks == ["ana"] * 20 + ["ben"] * 2 + ["cid"] * 2
    for user in ("dan", "eve", "fay"):
        converse(dify, user, 20)
    found, parts, chunks = await extract(state, settings, dify, ["dan", "eve", "fay"], budget_s=295.0 + 3)
    assert chunks == ["dan"] * 20 + ["eve"] * 10
    assert [(part.status, part.reason) for part in parts] == [
        ("completed", None),
        ("completed", "time_budget_exceeded"),
        ("skipped", "time_budget_exceeded"),
    ]
    assert found.status == "completed"
    found, parts, chunks = await extract(state, settings, dify, ["eve", "fay"], budget_s=3600.0)
    assert chunks == ["eve"] * 10 + ["fay"] * 20 and [part.reason for part in parts] == [None, None]


async def test_a_key_is_read_only_with_the_credentials_it_was_kept_under(
    state: StateStore, settings: Settings, tmp_path: Path
) -> None:
    sealed = seal("app-secret", settings)
    assert "app-secret" not in sealed and sealed != seal("app-secret", settings)
    assert unseal(sealed, settings) == "app-secret"
    other: dict[str, Any] = credential_set(Endpoint("http://127.0.0.1:10"), qdrant_block(tmp_path / "qdrant"))
    assert unseal(sealed, Settings.from_credentials(other)) is None
    assert unseal(sealed[:-4] + "AAAA", settings) is None and unseal("", settings) is None
