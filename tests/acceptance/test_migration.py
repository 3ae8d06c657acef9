"""A collection that an earlier plugin for Dify filled: its memories are found, its own rows are not, and what they say
of extractions and recalls goes on. Rows are written as that plugin wrote them, by mem0's own classes and SQL.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from playground.credentials import Endpoint, block, credential_set, pgvector_block
from playground.dify_app import History, StandInDify
from playground.dify_host import PluginProcess
from playground.postgres import Database
from playground.stand_in_model.embeddings import embed
from tests.plugin import Plugin
from utils.extraction.request import range_before
from utils.mem0 import building

APP = "support-app"
DAY_S = 86_400
UNFINISHED = ("queued", "running")
type Written = list[tuple[str, dict[str, Any]]]


def payload(text: str, user_id: str = "alice", agent_id: str | None = APP, **metadata: Any) -> dict[str, Any]:
    """As mem0 1.x stores a text."""
    made = (datetime.now(UTC) - timedelta(days=100)).isoformat()
    agent = {} if agent_id is None else {"agent_id": agent_id}
    return {"data": text, "hash": "h", "created_at": made, "user_id": user_id, **agent, **metadata}


def internal(kind: str, content: Any, flag: Any, user_id: str = "alice") -> dict[str, Any]:
    return payload(json.dumps(content), user_id, __internal=flag, internal_type=kind, version="v1")


def iso(second: float) -> str:
    return datetime.fromtimestamp(second, UTC).isoformat()


@pytest.fixture
def ids() -> dict[str, str]:
    return {name: str(uuid.uuid4()) for name in ("tea", "forgotten", "expired", "unknown")}


@pytest.fixture
def dify() -> Iterator[StandInDify]:
    """The app, with two conversations of yesterday."""
    start, _ = range_before(date.today(), 1)
    with StandInDify(History()) as app:
        app.history.converse("alice", start + 3600, ("I live in Porto.", "Nice!"), name="read")
        app.history.converse("alice", start + 7200, ("I have a cat.", "Sweet!"), name="new")
        yield app


def read_conversation(dify: StandInDify) -> str:
    """The id of the conversation that the earlier plugin has read."""
    return next(id_ for id_, one in dify.history.conversations.items() if one.name == "read")


@pytest.fixture
def written(ids: dict[str, str], dify: StandInDify) -> Written:
    """Memories of Alice's, and everything the earlier plugin kept beside them."""
    start, end = range_before(date.today(), 1)
    recalled = {"last_recalled_at": iso(time.time() - DAY_S), "recall_count": 4, "quality_ema": 0.9}
    checkpoint = {
        "conversations": {
            read_conversation(dify): {
                "last_processed_message_id": "message-7",
                "processed_range_start": iso(start),
                "processed_range_end": iso(end),
            }
        },
        "resume_conversation_cursor": None,
        "resume_run_at": None,
        "resume_start_time": None,
    }
    memories = {
        "tea": payload("Alice likes green tea", memory_subtype="episodic", memory_origin="implicit"),
        "forgotten": payload("Alice had a cold", memory_subtype="episodic"),
        "expired": payload("Alice is on holiday", expiration_date="2026-01-31"),
        "unknown": payload("Alice plays chess", agent_id=None, role="user", actor_id="a", club={"name": "Rook"}),
    }
    own = [
        internal("checkpoint", checkpoint, True),
        internal("access_log", {ids["tea"]: recalled, "no-id": 5}, "true"),
        internal("access_log", ["broken"], "true", "bob"),
        internal("extraction_task", {"status": "running"}, True, "memory_extractor"),
        internal("distributed_lock", {"holder": "x"}, True),
    ]
    return [(ids[name], one) for name, one in memories.items()] + [(str(uuid.uuid4()), one) for one in own]


@pytest.fixture(params=["pgvector", "qdrant", "chroma"])
def plugin(
    request: pytest.FixtureRequest,
    written: Written,
    plugin_process: Callable[..., PluginProcess],
    endpoint: Endpoint,
    database: Database,
    tmp_path: Path,
) -> Plugin:
    """The plugin, with the older names of the credentials, over the collection as it was left."""
    vectors = [embed(one["data"], endpoint.dimensions) for _, one in written]
    if request.param == "pgvector":
        store = pgvector_block(database, collection_name="mem0")
        _write_sql(database, written, vectors, endpoint.dimensions)
    else:
        dims = {} if request.param == "chroma" else {"embedding_model_dims": endpoint.dimensions}
        config = {"path": str(tmp_path / "store"), "collection_name": "mem0", **dims}
        store = block(request.param, **config)
        _write_with_mem0(request.param, config, written, vectors)
    credentials = credential_set(endpoint, store)
    older = {name.removesuffix("_secret"): value for name, value in credentials.items()}
    return Plugin(plugin_process(), {**older, "async_mode": "false"})


def _write_sql(database: Database, written: Written, vectors: list[list[float]], dims: int) -> None:
    with psycopg.connect(database.uri, autocommit=True) as session:
        session.execute("CREATE EXTENSION IF NOT EXISTS vector")
        session.execute(f"CREATE TABLE mem0 (id uuid PRIMARY KEY, vector vector({dims}), payload jsonb)")
        session.execute(f"CREATE TABLE mem0_entities (id uuid PRIMARY KEY, vector vector({dims}), payload jsonb)")
        for (row_id, one), vector in zip(written, vectors, strict=True):
            session.execute("INSERT INTO mem0 VALUES (%s, %s, %s)", [row_id, str(vector), json.dumps(one)])
        entity = {"data": "green tea", "entity_type": "THING", "linked_memory_ids": ["x"], "user_id": "alice"}
        session.execute(
            "INSERT INTO mem0_entities VALUES (%s, %s, %s)", [uuid.uuid4(), str(vectors[0]), json.dumps(entity)]
        )


def _write_with_mem0(provider: str, config: dict[str, Any], written: Written, vectors: list[list[float]]) -> None:
    flat = [{**one, "club": "Rook"} if "club" in one and provider == "chroma" else one for _, one in written]
    store = building.build_vector_store(provider, config)
    store.insert(vectors=vectors, payloads=flat, ids=[row_id for row_id, _ in written])
    entities = building.build_vector_store(
        provider, {**config, "collection_name": "mem0_entities"}, client=getattr(store, "client", None)
    )
    entity = {"data": "green tea", "entity_type": "THING", "user_id": "alice"}
    entities.insert(vectors=[vectors[0]], payloads=[entity], ids=[str(uuid.uuid4())])
    if provider == "qdrant":
        store.client.close()


def test_a_collection_of_an_earlier_plugin_goes_on(
    plugin: Plugin, written: Written, ids: dict[str, str], endpoint: Endpoint
) -> None:
    assert plugin.process.validate(plugin.credentials).error is None
    shown = {ids["tea"], ids["forgotten"], ids["unknown"]}
    found = plugin.call("search_memory", user_id="alice", query="What does Alice like?", top_k=100)
    assert {one["id"] for one in found.results} == shown
    listed = plugin.call("get_all_memories", user_id="alice")
    assert {one["id"] for one in listed.results} == shown and listed.envelope["total"] == len(shown)
    for user_id in ("bob", "memory_extractor"):
        assert plugin.call("get_all_memories", user_id=user_id).envelope["total"] == 0
    hidden = [row_id for row_id, one in written if "__internal" in one]
    for row_id in hidden:
        assert plugin.call("get_memory", memory_id=row_id).status == "NOT_FOUND"
        assert plugin.call("get_memory_history", memory_id=row_id).status == "NOT_FOUND"
        assert plugin.call("delete_memory", memory_id=row_id).status == "NOT_FOUND"
    assert plugin.call("get_memory", memory_id=ids["expired"]).status == "SUCCESS"

    # What nobody here knows stays through an update.
    assert plugin.call("update_memory", memory_id=ids["unknown"], text="Alice plays go").status == "SUCCESS"
    after = plugin.call("get_memory", memory_id=ids["unknown"]).results
    assert after["memory"] == "Alice plays go" and "Rook" in json.dumps(after["metadata"]["club"])

    # Recalls go on: of two memories of one age the one that was recalled stays.
    preview = plugin.call("forget_memories", user_id="alice", app_id=APP, dry_run=True).results
    assert {one["id"] for one in preview["would_delete"]} >= {ids["forgotten"]}
    assert ids["tea"] not in {one["id"] for one in preview["would_delete"]}
    recalled = plugin.call("search_memory", user_id="alice", query="green tea", include_retention=True).results
    assert next(one for one in recalled if one["id"] == ids["tea"])["retention"] > 0.5

    deleted = plugin.call("delete_all_memories", user_id="alice")
    assert deleted.results["count"] == len(shown) + 1  # the expired one, too
    assert plugin.call("get_all_memories", user_id="alice").envelope["total"] == 0


def test_an_extraction_does_not_read_again_what_an_earlier_plugin_has_read(plugin: Plugin, dify: StandInDify) -> None:
    asked = {"app_id": APP, "dify_base_url": dify.base_url, "dify_api_key": dify.control.settings.accepted_key}
    answer = plugin.call("extract_long_term_memory", user_ids="alice", **asked)
    assert answer.status in ("SUCCESS", "ACCEPTED"), answer.envelope
    asked_for = {"task_id": answer.variables["task_id"]}
    while (state := plugin.call("check_extraction_status", **asked_for).variables)["task_status"] in UNFINISHED:
        time.sleep(0.1)
    assert state["task_status"] == "completed", state
    assert (state["processed_conversations"], state["processed_messages"]) == (1, 1), state["final_report"]
    checkpoint = plugin.call("get_user_checkpoint", user_id="alice", app_id=APP).variables
    kept = checkpoint["checkpoint"]["conversations"][read_conversation(dify)]
    assert kept["last_processed_message_id"] == "message-7" and checkpoint["conversations_count"] == 2
