"""Forgetting over real stores: memories and state in one PostgreSQL, or memories in Qdrant and state in SQLite."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from playground.postgres import Database
from tests.contract.stores.conftest import embedded_store, in_lane, pgvector_settings
from tests.contract.stores.rows import DIMS, at_cosine, memory
from utils.aio.lanes import Lane
from utils.config.state_location import PostgresLocation, SqliteLocation
from utils.forgetting.handler import Forget, ForgetHandler
from utils.memory.recall_log import RecallLog
from utils.queue.handler import Service
from utils.queue.worker import Worker
from utils.state import recalls, writes
from utils.state.engine import StateStore
from utils.state.recalls import Recall
from utils.state.tables import DONE
from utils.stores.pgvector.store import PgvectorStore
from utils.stores.protocol import Owner, Row, Store

SCOPE, MINE = "store-1", "fingerprint-1"


async def nothing_earlier() -> None:
    """Nothing of an earlier plugin's is waited for."""


@dataclass
class Place:
    """A store with its state, a recall log, and a worker that forgets."""

    store: Store
    state: StateStore
    log: RecallLog
    worker: Worker
    numbers: Any = field(default_factory=lambda: itertools.count())

    async def add(self, user_id: str, made_at: float, **metadata: Any) -> Row:
        """Store a memory that was made then."""
        made = {"created_at": datetime.fromtimestamp(made_at, UTC).isoformat()}
        row = memory(user_id, f"memory {next(self.numbers)}", **(made | metadata))
        await in_lane(self.store.insert([row], [at_cosine(0.9)]))
        return row

    async def recall(self, row: Row, quality: float, now_s: float) -> None:
        """What a search that found it then leaves."""
        self.log.add(str(row.user_id), [Row(row.id, row.payload, quality)], now_s)
        await self.log.flush()

    async def recorded(self, user_id: str, rows: Iterable[Row]) -> dict[str, Recall]:
        ids = [row.id for row in rows]
        return await self.state.read(lambda conn: recalls.of_memories(conn, SCOPE, user_id, ids))

    async def forget(self, user_id: str, now_s: float, **asked: Any) -> dict[str, Any]:
        """Accept a forgetting of that moment and wait until it is done."""
        at = datetime.fromtimestamp(now_s, UTC).isoformat()
        task_id = f"forget_{next(self.numbers):012x}"
        payload = Forget(at=at, **asked).to_json()
        write = writes.NewWrite(task_id, SCOPE, user_id, Forget.kind, 1, payload, MINE, "process-1")
        await self.state.write(lambda conn: writes.accept(conn, write, 10))
        self.worker.wake()
        while True:
            await self.worker.ended(task_id, 0.2)
            found = await self.state.read(lambda conn: writes.state_of(conn, SCOPE, task_id))
            assert found is not None and found.error is None, found
            if found.status == DONE:
                return dict(found.result or {})

    async def left(self, user_id: str) -> set[str]:
        """The ids of a user's memories."""
        ids: list[str] = []
        while rows := await in_lane(self.store.scan(Owner(user_id), ids[-1] if ids else None, 500)):
            ids += [row.id for row in rows]
        return set(ids)


@pytest_asyncio.fixture(params=["pgvector", "qdrant"])
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Place]:
    if request.param == "pgvector":
        database: Database = request.getfixturevalue("database")
        config = pgvector_settings(database, "memories")
        store: Store = PgvectorStore(config, DIMS)
        state = StateStore(PostgresLocation(config.conninfo))  # the very same, as the plugin derives it
    else:
        store = embedded_store("qdrant", tmp_path)
        state = StateStore(SqliteLocation(tmp_path / "state.sqlite3"))
    worker, lane = Worker(state, SCOPE), Lane("writes", 4)
    await in_lane(store.open())
    await worker.serve(Service(MINE, {Forget.kind: ForgetHandler(store, state, nothing_earlier)}, lane))
    yield Place(store, state, RecallLog(state, SCOPE), worker)
    await asyncio.wait_for(worker.close(), 60)
    await store.close()
    await state.close()
