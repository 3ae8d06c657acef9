"""All eight tools through the plugin process over stdio, as Dify calls them, in both modes, on two stores."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from playground.credentials import Endpoint, credential_set
from playground.dify_host import PluginProcess
from playground.postgres import Database
from playground.stand_in_model import StandInModel
from tests.acceptance.conftest import own_collection
from tests.plugin import Plugin
from tests.transaction_pooler import TransactionPooler


@pytest.fixture(scope="module")
def pooled_database(module_database: Database) -> Iterator[Database]:
    """The module's database behind a pooler that gives every transaction another session."""
    with TransactionPooler(module_database) as pooler:
        yield pooler.database


@pytest.fixture
def pooled_credentials(endpoint: Endpoint, pooled_database: Database) -> dict[str, Any]:
    """A credential set on a collection of the test's own behind the pooler."""
    return credential_set(endpoint, own_collection(pooled_database))


@pytest.fixture(params=["collection", "pooled", "qdrant"])
def plugin(request: pytest.FixtureRequest, module_process: PluginProcess) -> Plugin:
    """A plugin in asynchronous mode on PostgreSQL with pgvector, with and without a transaction pooler in between, or
    on embedded Qdrant with SQLite state.
    """
    return Plugin(module_process, request.getfixturevalue(f"{request.param}_credentials"))


def test_credentials_are_validated(plugin: Plugin) -> None:
    assert plugin.process.validate(plugin.credentials).error is None


def test_a_day_with_the_tools_in_asynchronous_mode(plugin: Plugin) -> None:
    plugin.accept("alice", "I live in Oslo. I like green tea.", assistant="Noted!", metadata='{"topic": "life"}')
    plugin.accept("bob", "I like black coffee.")
    plugin.drain("alice", "bob")

    found = plugin.call("search_memory", user_id="alice", query="Which tea do I like?", top_k=1)
    [best] = found.results
    assert best["memory"] == "I like green tea" and best["user_id"] == "alice"
    assert 0 <= best["score"] <= 1 and best["vector_distance"] == pytest.approx(1 - best["score"])
    assert best["metadata"] == {"topic": "life"}
    assert datetime.fromisoformat(best["timestamp"]).tzinfo == UTC
    assert (found.envelope["pending_writes"], found.envelope["failed_writes"]) == (0, 0)

    nothing = plugin.call("search_memory", user_id="alice", query="tea", filters=json.dumps({"topic": "work"}))
    assert nothing.status == "SUCCESS" and nothing.results == []

    update = plugin.call(
        "update_memory", memory_id=best["id"], text="I like white tea now", metadata='{"mood": "good"}'
    )
    assert update.status == "SUCCESS" and "accepted" in update.results["message"]
    plugin.drain("alice")
    changed = plugin.call("get_memory", memory_id=best["id"], user_id="alice").results
    assert changed["memory"] == "I like white tea now"
    assert changed["metadata"] == {"topic": "life", "mood": "good"}

    history = plugin.call("get_memory_history", memory_id=best["id"]).results
    assert [(entry["event"], entry["old_memory"], entry["new_memory"]) for entry in history] == [
        ("ADD", None, "I like green tea"),
        ("UPDATE", "I like green tea", "I like white tea now"),
    ]

    assert plugin.call("delete_memory", memory_id=best["id"], user_id="alice").status == "SUCCESS"
    plugin.drain("alice")
    assert plugin.call("get_memory", memory_id=best["id"]).status == "NOT_FOUND"
    history = plugin.call("get_memory_history", memory_id=best["id"]).results
    assert [entry["is_deleted"] for entry in history] == [False, False, True]

    assert plugin.call("delete_all_memories", user_id="alice").status == "SUCCESS"
    plugin.drain("alice")
    assert plugin.texts("alice") == []
    assert plugin.texts("bob") == ["I like black coffee"]


def test_synchronous_mode_answers_what_was_done(plugin: Plugin) -> None:
    plugin = plugin.with_credentials(async_mode=False)
    [added] = plugin.call("add_memory", user_id="alice", user="I live in Oslo.").results
    assert added["event"] == "ADD" and added["memory"] == "I live in Oslo"
    [changed] = plugin.call("add_memory", user_id="alice", user="I live in Rome.").results
    assert changed == {"id": added["id"], "memory": "I live in Rome", "event": "UPDATE"}
    [none] = plugin.call("add_memory", user_id="alice", user="What time is it?").results
    assert none["event"] == "NONE"
    assert plugin.call("update_memory", memory_id=added["id"], text="I live in Bergen").status == "SUCCESS"
    assert plugin.call("get_memory", memory_id=added["id"]).results["memory"] == "I live in Bergen"
    assert plugin.call("delete_memory", memory_id=added["id"]).status == "SUCCESS"
    for number in range(3):
        plugin.call("add_memory", user_id="alice", user=f"note {number}", infer=False)
    [kept, *_] = plugin.memories("alice")
    deleted = plugin.call("delete_all_memories", user_id="alice")
    assert deleted.results["count"] == 3
    changes = plugin.call("get_memory_history", memory_id=kept["id"]).results
    assert [(change["event"], change["reason"]) for change in changes] == [("ADD", None), ("DELETE", "delete_all")]
    plugin.call("delete_all_memories", user_id="alice", purge_history=True)
    assert plugin.call("get_memory_history", memory_id=added["id"]).status == "NOT_FOUND"


def test_texts_are_stored_as_they_are_without_inference(plugin: Plugin) -> None:
    plugin = plugin.with_credentials(async_mode=False)
    answer = plugin.call("add_memory", user_id="alice", user="Is it raining?", assistant="It is.", infer=False)
    assert [(one["event"], one["memory"]) for one in answer.results] == [("ADD", "Is it raining?"), ("ADD", "It is.")]
    again = plugin.call("add_memory", user_id="alice", user="Is it raining?", assistant="It is.", infer=False)
    assert again.results == [{**one, "event": "NONE"} for one in answer.results]


def test_a_text_that_is_stored_as_it_is_is_embedded_once(plugin: Plugin, stand_in_model: StandInModel) -> None:
    plugin = plugin.with_credentials(async_mode=False)
    texts = {"user": ("It rains in Porto. " * 300).strip(), "assistant": "It does."}
    answer = plugin.call("add_memory", user_id="alice", **texts, infer=False)
    assert [one["memory"] for one in answer.results] == [texts["user"], texts["assistant"]]
    counts = stand_in_model.control.counts
    assert (counts["embeddings"], counts["embedded_texts"], counts["chat"]) == (1, 2, 0)
    again = plugin.call("add_memory", user_id="alice", **texts, infer=False)
    assert again.results == [{**one, "event": "NONE"} for one in answer.results]


def test_a_text_that_has_nothing_to_do_with_the_memory_it_would_replace_is_added(
    plugin: Plugin, stand_in_model: StandInModel
) -> None:
    plugin = plugin.with_credentials(async_mode=False)
    plugin.call("add_memory", user_id="alice", user="Trabalha como enfermeiro em Natal", infer=False)
    stand_in_model.control.script({"memory": [{"event": "UPDATE", "id": "0", "text": "Toca violino"}]})
    [added] = plugin.call("add_memory", user_id="alice", user="Toco violino.").results
    assert (added["event"], added["memory"]) == ("ADD", "Toca violino")
    stand_in_model.control.script({"memory": [{"event": "UPDATE", "id": "0", "text": "Trabalha em Recife"}]})
    asked = plugin.call("add_memory", user_id="alice", user="Agora trabalho em Recife.").results
    assert [one["event"] for one in asked] == ["UPDATE"]
    assert len(plugin.texts("alice")) == 2


def test_two_blank_texts_are_skipped_and_one_is_enough(plugin: Plugin) -> None:
    plugin = plugin.with_credentials(async_mode=False)
    [skipped] = plugin.call("add_memory", user_id="alice", user=" ", assistant="").results
    assert skipped["event"] == "SKIP"
    answer = plugin.call("add_memory", user_id="alice", user="", assistant="Your order has left.", infer=False)
    assert [one["memory"] for one in answer.results] == ["Your order has left."]


def test_agents_and_pages(plugin: Plugin) -> None:
    plugin = plugin.with_credentials(async_mode=False)
    for number in range(4):
        plugin.call("add_memory", user_id="alice", user=f"note {number}", agent_id=f"app-{number % 2}", infer=False)
    page = plugin.call("get_all_memories", user_id="alice", limit=2, offset=1)
    assert [memory["memory"] for memory in page.results] == ["note 2", "note 1"] and page.envelope["total"] == 4
    assert {memory["memory"] for memory in plugin.memories("alice", agent_id="app-1")} == {"note 1", "note 3"}
    assert plugin.call("delete_all_memories", user_id="alice", agent_id="app-1").results["count"] == 2
    assert set(plugin.texts("alice")) == {"note 0", "note 2"}


def test_a_foreign_memory_is_not_found(plugin: Plugin) -> None:
    plugin = plugin.with_credentials(async_mode=False)
    [added] = plugin.call("add_memory", user_id="alice", user="I like tea.").results
    for tool, more in (
        ("get_memory", {}),
        ("update_memory", {"text": "x"}),
        ("delete_memory", {}),
        ("get_memory_history", {}),
    ):
        answer = plugin.call(tool, memory_id=added["id"], user_id="bob", **more)
        assert answer.status == "NOT_FOUND" and added["id"] in answer.envelope["messages"]
    victim = plugin.call(
        "search_memory", user_id="bob", query="tea", filters=json.dumps({"AND": [{"user_id": "alice"}]})
    )
    assert victim.results == []
    assert plugin.texts("alice") == ["I like tea"]


def test_messages_come_in_the_language_of_the_credentials(plugin: Plugin) -> None:
    plugin = plugin.with_credentials(language="zh_Hans")
    assert "user_id" in plugin.call("search_memory", query="tea").text
    assert plugin.call("search_memory", query="tea", user_id="alice").text.isascii() is False


def test_changed_credentials_reach_the_same_store_while_the_old_ones_are_in_use(plugin: Plugin) -> None:
    plugin.accept("alice", "I like tea.")
    for language in ("pt_BR", "ja_JP", "zh_Hans", "en_US", "pt_BR", "ja_JP"):  # more sets than are held open at once
        plugin.with_credentials(language=language, heartbeat_interval=f"{30 + len(language)}").drain("alice")
    assert plugin.texts("alice") == ["I like tea"]


def test_nothing_but_the_protocol_is_on_stdout(plugin: Plugin) -> None:
    plugin.accept("alice", "My password is hunter2.")
    plugin.drain("alice")
    assert list(plugin.process.stray_lines) == []
    assert not any("hunter2" in line.message for line in plugin.process.logs)
    assert not any("hunter2" in line for line in plugin.process.stderr_lines)
