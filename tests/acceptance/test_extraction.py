"""Extraction through the plugin's process: a Dify app's conversations become memories, once, whatever happens."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import date
from typing import Any

import pytest

from playground.dify_app import History, StandInDify
from playground.dify_host import PluginProcess
from playground.stand_in_model import StandInModel
from tests.plugin import Plugin
from utils.extraction.request import range_before

APP = "support-app"
NOON_S = 12 * 3600


@pytest.fixture
def dify() -> Iterator[StandInDify]:
    with StandInDify(History()) as app:
        yield app


@pytest.fixture(params=["pgvector", "qdrant"])
def plugin(request: pytest.FixtureRequest, plugin_process: Callable[..., PluginProcess]) -> Plugin:
    """With state in PostgreSQL beside the memories, and in SQLite."""
    return Plugin(plugin_process(), request.getfixturevalue(f"{request.param}_credentials"))


def yesterday() -> int:
    """The first second of the range that an extraction reads by default."""
    return range_before(date.today(), 1)[0]


def start(plugin: Plugin, dify: StandInDify, users: str, **more: Any) -> str:
    asked = {"app_id": APP, "dify_base_url": dify.base_url, "dify_api_key": dify.control.settings.accepted_key}
    answer = plugin.call("extract_long_term_memory", user_ids=users, **{**asked, **more})
    assert answer.status == "ACCEPTED", answer
    return str(answer.variables["task_id"])


def ended(plugin: Plugin, task_id: str) -> dict[str, Any]:
    """The state of the task once it has ended."""
    while True:
        answer = plugin.call("check_extraction_status", task_id=task_id)
        assert answer.status == "SUCCESS", answer
        if answer.variables["task_status"] in ("completed", "failed"):
            return dict(answer.variables)
        time.sleep(0.05)


def memories(plugin: Plugin, user: str) -> dict[str, dict[str, Any]]:
    """The user's memories by their text."""
    listed = plugin.call("get_all_memories", user_id=user, limit=1000).results
    assert len({one["memory"] for one in listed}) == len(listed)
    return {one["memory"]: one for one in listed}


def test_conversations_become_memories_with_type_scope_and_source(
    plugin: Plugin, dify: StandInDify, stand_in_model: StandInModel
) -> None:
    day = yesterday()
    first = dify.history.converse("ana", day + NOON_S, ("I live in Porto.", "Nice!"), ("I like green tea.", "Noted."))
    second = dify.history.converse("ana", day + NOON_S + 900, ("I live in Lisbon.", "Good to know."))
    dify.history.converse("ben", day + NOON_S, ("Hello!", "Hi."))
    task_id = start(plugin, dify, '["ana", "ben", "cid"]')
    state = ended(plugin, task_id)
    assert state["task_status"] == "completed" and state["progress"] == 1.0
    assert (state["user_count"], state["processed_users"], state["failed_users"]) == (3, 3, 0)
    assert (state["scanned_conversations"], state["processed_conversations"]) == (3, 3)
    assert (state["processed_messages"], state["deferred_messages"], state["llm_calls"]) == (4, 0, 3)
    report = state["final_report"]
    assert report["status"] == "SUCCESS" and report["app_id"] == APP
    assert [one["reason"] for one in report["per_user"] if one["user_id"] == "cid"] == ["no_conversations"]
    found = memories(plugin, "ana")
    tea = found["I like green tea"]
    assert tea["agent_id"] == APP
    assert tea["metadata"]["memory_subtype"] == "semantic" and tea["metadata"]["memory_origin"] == "implicit"
    assert tea["metadata"]["source"] == {
        "conversation_id": first.id,
        "first_message_id": first.messages[0].id,
        "last_message_id": first.messages[-1].id,
    }
    [home] = [one for text, one in found.items() if "live in" in text]
    assert "Lisbon" in home["memory"] and home["metadata"]["source"]["conversation_id"] == second.id
    calls = stand_in_model.control.counts["chat"]
    again = ended(plugin, start(plugin, dify, "ana,ben,cid"))
    assert (again["llm_calls"], again["processed_messages"]) == (0, 0)
    assert stand_in_model.control.counts["chat"] == calls
    checkpoint = plugin.call("get_user_checkpoint", user_id="ana")
    assert checkpoint.status == "SUCCESS" and checkpoint.variables["conversations_count"] == 2
    [*_, last] = first.messages
    assert checkpoint.variables["checkpoint"]["conversations"][first.id]["last_processed_message_id"] == last.id
    assert plugin.call("get_user_checkpoint", user_id="nobody").status == "NOT_FOUND"
