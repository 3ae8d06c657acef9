"""Answers that would be too large for Dify's daemon, which kills a plugin that prints a line of 5 MiB.

The long texts are written by mem0 itself, straight into the table, as earlier plugins could; this one stores none above
20,000 characters.
"""

from __future__ import annotations

import json
import uuid
from typing import Any, Final

import psycopg
import pytest

from playground.credentials import Endpoint
from playground.dify_host import PluginProcess
from playground.postgres import Database
from playground.stand_in_model import StandInModel
from tests.plugin import Plugin
from utils.mem0 import building

LONG_CHARS: Final = 190_000
TEXTS: Final = [f"{number:02d} {'a' * (LONG_CHARS - 3)}" for number in range(30)]
# One alone above the budget: four bytes a character, sent three times.
TOO_LONG: Final = "\N{GRINNING FACE}" * LONG_CHARS


@pytest.fixture
def plugin(module_process: PluginProcess, collection_credentials: dict[str, Any]) -> Plugin:
    """A plugin in synchronous mode whose store and state are made."""
    plugin = Plugin(module_process, {**collection_credentials, "async_mode": False})
    assert plugin.call("add_memory", user_id="bob", user="I like tea.", infer=False).status == "SUCCESS"
    return plugin


@pytest.fixture
def ids(plugin: Plugin, endpoint: Endpoint) -> list[str]:
    """Thirty-one memories of alice, the newest of them alone too large for an answer; their ids, newest first."""
    config = json.loads(plugin.credentials["local_vector_db_json_secret"])["config"]
    store = building.build_vector_store("pgvector", config)
    texts = [*TEXTS, TOO_LONG]
    ids = [str(uuid.uuid4()) for _ in texts]
    payloads = [
        {"data": text, "user_id": "alice", "created_at": f"2026-01-01T00:00:{number:02d}+00:00"}
        for number, text in enumerate(texts)
    ]
    store.insert(vectors=[[1.0] * endpoint.dimensions] * len(texts), payloads=payloads, ids=ids)
    store.connection_pool.close()
    return ids[::-1]


def test_paging_reaches_every_memory_however_long(plugin: Plugin, ids: list[str]) -> None:
    seen: list[dict[str, Any]] = []
    offset, pages = 0, 0
    while offset or not pages:
        page = plugin.call("get_all_memories", user_id="alice", limit=1000, offset=offset)
        assert page.status == "SUCCESS" and page.envelope["total"] == len(ids)
        assert page.envelope["truncated"] is True or page.envelope["next_offset"] == 0
        seen += page.results
        offset, pages = page.envelope["next_offset"], pages + 1
    assert [memory["id"] for memory in seen] == ids
    assert seen[0]["memory"] == TOO_LONG[:20_000]
    assert [memory["memory"] for memory in seen[1:]] == TEXTS[::-1]
    assert pages > 5


def test_a_search_says_how_many_it_found_and_that_some_are_left_out(plugin: Plugin, ids: list[str]) -> None:
    found = plugin.with_credentials(language="pt_BR").call("search_memory", user_id="alice", query="a", top_k=100)
    assert found.status == "SUCCESS" and found.envelope["truncated"] is True
    assert found.envelope["count"] == len(ids) and 1 <= len(found.results) < len(ids)
    assert "grande demais para o Dify" in found.text
    alone = plugin.call("get_memory", memory_id=ids[0])
    assert alone.results["memory"] == TOO_LONG[:20_000] and alone.envelope["truncated"] is True
    whole = plugin.call("get_memory", memory_id=ids[1])
    assert whole.results["memory"] == TEXTS[-1] and whole.envelope["truncated"] is False


def test_a_history_is_paged(plugin: Plugin, module_database: Database) -> None:
    [tea] = plugin.memories("bob")
    with psycopg.connect(module_database.uri) as conn:
        conn.execute(
            "INSERT INTO mem0_dify.history (scope, user_id, memory_id, write_id, event, old_memory, new_memory,"
            " created_at, updated_at, is_deleted)"
            " SELECT scope, user_id, memory_id, 'write-' || n, 'UPDATE', repeat('a', %s), n || repeat('b', %s),"
            " created_at, updated_at, false FROM mem0_dify.history, generate_series(1, 30) AS n"
            " WHERE memory_id = %s ORDER BY n",
            (LONG_CHARS, LONG_CHARS, tea["id"]),
        )
    seen: list[dict[str, Any]] = []
    offset = 0
    while offset or not seen:
        page = plugin.call("get_memory_history", memory_id=tea["id"], offset=offset)
        assert page.status == "SUCCESS" and page.envelope["total"] == 31
        seen += page.results
        offset = page.envelope["next_offset"]
    assert [change["new_memory"].strip("b") for change in seen] == [tea["memory"], *map(str, range(1, 31))]
    short = plugin.call("get_memory_history", memory_id=tea["id"], limit=1)
    assert [change["event"] for change in short.results] == ["ADD"]
    assert (short.envelope["next_offset"], short.envelope["truncated"]) == (1, False)
    beyond = plugin.call("get_memory_history", memory_id=tea["id"], offset=31)
    assert beyond.status == "SUCCESS" and beyond.results == [] and beyond.envelope["next_offset"] == 0


def test_a_memory_has_one_limit_whichever_way_it_comes_in(plugin: Plugin) -> None:
    whole, too_long = "x" * 20_000, "x" * 20_001
    refused = plugin.call("add_memory", user_id="alice", user="short", assistant=too_long, infer=False)
    assert refused.status == "ERROR" and "assistant" in refused.envelope["messages"]
    assert "20000" in refused.envelope["messages"] and plugin.texts("alice") == []
    assert plugin.call("add_memory", user_id="alice", user=whole, infer=False).status == "SUCCESS"
    [memory] = plugin.memories("alice")
    assert memory["memory"] == whole
    assert plugin.call("update_memory", memory_id=memory["id"], text=too_long).status == "ERROR"


def test_what_a_model_makes_longer_than_a_memory_is_cut(plugin: Plugin, stand_in_model: StandInModel) -> None:
    stand_in_model.control.script({"memory": [{"event": "ADD", "text": "x" * 30_000}]})
    [added] = plugin.call("add_memory", user_id="alice", user="I like a long story.").results
    assert added["memory"] == "x" * 20_000
    [tea] = plugin.memories("bob")
    longer = tea["memory"] + "y" * 30_000
    stand_in_model.control.script({"memory": [{"event": "UPDATE", "id": "0", "text": longer}]})
    [updated] = plugin.call("add_memory", user_id="bob", user="I like another long story.").results
    assert (updated["id"], updated["memory"]) == (tea["id"], longer[:20_000])
