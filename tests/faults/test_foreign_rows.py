"""Memories that others wrote into the collection: what they hold must not stop a queue."""

from __future__ import annotations

import json
import uuid
from typing import Any

import psycopg
from qdrant_client import QdrantClient, models

from playground.credentials import Endpoint, credential_set, qdrant_block
from playground.postgres import Database
from tests.faults.conftest import Site
from tests.faults.ledger import PostgresLedger
from tests.plugin import Plugin


def test_a_time_of_forty_seven_characters_stops_no_queue(postgres_site: Site[PostgresLedger]) -> None:
    plugin = postgres_site.start()
    plugin.accept("alice", "Alice likes tea.", infer=False)
    plugin.drain("alice")
    memory_id = str(uuid.uuid4())
    payload = {
        "data": "Alice likes cake.",
        "user_id": "alice",
        "created_at": "last Tuesday, " + "or so, " * 4 + "I believe",
    }
    with psycopg.connect(postgres_site.ledger.uri) as connection:
        connection.execute(
            "INSERT INTO mem0 (id, vector, payload) SELECT %s, vector, %s FROM mem0 LIMIT 1",
            [memory_id, json.dumps(payload)],
        )
    assert plugin.call("delete_memory", memory_id=memory_id).status == "SUCCESS"
    plugin.drain("alice")
    assert plugin.texts("alice") == ["Alice likes tea."]
    assert plugin.call("delete_all_memories", user_id="alice").status == "SUCCESS"
    plugin.drain("alice")
    assert plugin.texts("alice") == []


def test_a_text_that_postgresql_cannot_hold_stops_no_queue(
    plugin_process: Any, endpoint: Endpoint, database: Database, tmp_path: Any
) -> None:
    """Memories in Qdrant, which keeps a NUL; the history in PostgreSQL, which does not."""
    folder, memory_id = tmp_path / "qdrant", str(uuid.uuid4())
    client = QdrantClient(path=str(folder))
    size = endpoint.dimensions
    client.create_collection("mem0", models.VectorParams(size=size, distance=models.Distance.COSINE, on_disk=True))
    payload = {"data": "Alice\0likes tea.", "user_id": "alice", "agent_id": "a\0b", "created_at": "2026-01-01\0"}
    client.upsert("mem0", [models.PointStruct(id=memory_id, vector=[1.0] + [0.0] * (size - 1), payload=payload)])
    client.close()
    plugin = Plugin(plugin_process(), credential_set(endpoint, qdrant_block(folder), state_db_url=database.uri))
    assert plugin.call("delete_memory", memory_id=memory_id).status == "SUCCESS"
    plugin.drain("alice")
    assert plugin.texts("alice") == []
    assert plugin.call("get_all_memories", user_id="alice").envelope["failed_writes"] == 0
