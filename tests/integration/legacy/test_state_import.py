"""Taking over what an earlier plugin kept among the memories: merged with what is there, once, again after faults."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from playground.postgres import PostgresServer
from tests.contract.stores.conftest import embedded_store, opened, pgvector_settings
from tests.contract.stores.rows import DIMS, QUERY, memory, new_id
from utils.config.state_location import SqliteLocation
from utils.errors import ServiceUnavailable
from utils.extraction.checkpoint import ConversationCheckpoint, UserCheckpoint
from utils.extraction.intervals import Intervals
from utils.legacy.state_import import StateImport
from utils.state import checkpoints, imports, recalls
from utils.state.engine import StateStore
from utils.state.recalls import Folded, Recall
from utils.stores.pgvector.store import PgvectorStore
from utils.stores.protocol import Row

SCOPE, APP = "store-1", "app"
FIRST, SECOND = new_id(), new_id()
TIMES = {"processed_range_start": "1970-01-01T00:01:40Z", "processed_range_end": "1970-01-01T00:03:20Z"}  # 100 to 200 s


def kept(kind: str, content: Any, agent_id: str | None = APP) -> Row:
    agent = {} if agent_id is None else {"agent_id": agent_id}
    return memory("alice", json.dumps(content), __internal="true", internal_type=kind, version="v1", **agent)


ROWS = [
    kept("checkpoint", {"conversations": {"c-1": {**TIMES, "last_processed_message_id": "m-1"}}}),
    kept("checkpoint", {"conversations": {"c-2": TIMES}}, agent_id=None),  # of no app: nobody could ask for it
    kept(
        "access_log",
        {
            FIRST: {"last_recalled_at": "1970-01-01T00:10:00Z", "recall_count": 3, "quality_ema": 0.5},
            SECOND: {"last_recalled_at": "1970-01-01T00:10:00Z", "recall_count": 2, "quality_ema": 0.6},
        },
    ),
]


@pytest.fixture
async def state(tmp_path: Path) -> Any:
    store = StateStore(SqliteLocation(tmp_path / "state.sqlite3"))
    yield store
    await store.close()


async def known(state: StateStore) -> tuple[dict[str, Recall], dict[str, ConversationCheckpoint]]:
    def read(conn: Any) -> Any:
        found = checkpoints.load(conn, SCOPE, "alice", APP).conversations
        return recalls.of_memories(conn, SCOPE, "alice", [FIRST, SECOND]), found

    recorded, conversations = await state.read(read)
    return recorded, {id_: ConversationCheckpoint.from_json(one) for id_, one in conversations.items()}


async def test_what_is_there_is_merged_and_stays_so(state: StateStore, tmp_path: Path) -> None:
    mine = ConversationCheckpoint(
        last=(250, "m-5"), done=Intervals.between(200, 260), pending=Intervals.between(90, 150)
    )

    def before(conn: Any) -> None:
        recalls.record(conn, SCOPE, {("alice", FIRST): Folded.first(0.9, 900.0)})
        checkpoints.lock(conn, SCOPE, "alice", APP)
        wanted = UserCheckpoint().asked(0, 50)
        checkpoints.save(conn, SCOPE, "alice", APP, wanted.to_json())
        checkpoints.save_conversation(conn, SCOPE, "alice", APP, "c-1", mine.to_json())

    await state.write(before)
    async with opened(embedded_store("qdrant", tmp_path / "q")) as store:
        await store.insert(ROWS, [QUERY] * len(ROWS))
        for _ in range(2):  # as after a kill right before the end
            legacy = StateImport(store, state, SCOPE)
            await legacy._take_over()
    recorded, conversations = await known(state)
    assert recorded == {FIRST: Recall(0.9, 3, 900.0), SECOND: Recall(0.6, 2, 600.0)}
    assert conversations.keys() == {"c-1"}
    one = conversations["c-1"]
    assert one.done == Intervals.between(100, 260) and one.pending == Intervals.between(90, 100)
    assert one.last == (250, "m-5")
    user = await state.read(lambda conn: checkpoints.load(conn, SCOPE, "alice", APP).state)
    assert UserCheckpoint.from_json(user or {}).wanted == Intervals.between(0, 50)


async def test_it_is_done_once(state: StateStore, tmp_path: Path) -> None:
    async with opened(embedded_store("qdrant", tmp_path / "q")) as store:
        await StateImport(store, state, SCOPE).done()
        assert await state.read(lambda conn: imports.is_done(conn, SCOPE))
        await store.insert(ROWS, [QUERY] * len(ROWS))  # after it was done: nobody looks any more
        await StateImport(store, state, SCOPE).done()
    assert await known(state) == ({}, {})


async def test_an_outage_is_no_empty_collection(state: StateStore, own_postgres: PostgresServer) -> None:
    database = own_postgres.create_database("legacy")
    store = PgvectorStore(pgvector_settings(database, "memories"), DIMS)
    await store.insert(ROWS, [QUERY] * len(ROWS))
    await store.close()
    own_postgres.stop("immediate")
    store = PgvectorStore(pgvector_settings(database, "memories"), DIMS)
    legacy = StateImport(store, state, SCOPE)
    with pytest.raises(ServiceUnavailable):
        await legacy.done()
    assert not await state.read(lambda conn: imports.is_done(conn, SCOPE))
    own_postgres.start()
    await legacy.done()
    recorded, conversations = await known(state)
    assert recorded.keys() == {FIRST, SECOND} and conversations.keys() == {"c-1"}
    await legacy.close()
    await store.close()
