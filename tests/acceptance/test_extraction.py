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
    assert (state["user_count"], state["processed_users"], state["failed_users"]) == (3, 3, 0), state["final_report"]
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


@pytest.fixture
def one_plugin(pgvector_credentials: dict[str, Any], plugin_process: Callable[..., PluginProcess]) -> Plugin:
    return Plugin(plugin_process(), pgvector_credentials)


def test_faults_of_the_api_fail_nobody_but_the_user_whom_the_key_may_not_read(
    one_plugin: Plugin, dify: StandInDify
) -> None:
    users = [f"user-{number}" for number in range(6)]
    for number, user in enumerate(users):
        dify.history.converse(user, yesterday() + NOON_S, (f"I like sport{number}.", "Fine."))
    dify.control.set(failure_share=0.15, failure_seed=3, retry_after_s=0.1, refused_users=["user-2"])
    state = ended(one_plugin, start(one_plugin, dify, ",".join(users)))
    report = state["final_report"]
    assert (report["status"], state["failed_users"]) == ("PARTIAL_SUCCESS", 1)
    [failed] = [one for one in report["per_user"] if one["status"] == "FAILED"]
    [error] = failed["errors"]
    assert failed["user_id"] == "user-2" and error["type"] == "service_refused" and "API Access" in error["message"]
    for number, user in enumerate(users):
        assert list(memories(one_plugin, user)) == ([] if user == "user-2" else [f"I like sport{number}"])
    dify.control.set(failure_share=0.0, refused_users=[])
    again = ended(one_plugin, start(one_plugin, dify, ",".join(users)))
    assert (again["final_report"]["status"], again["processed_messages"]) == ("SUCCESS", 1)
    assert list(memories(one_plugin, "user-2")) == ["I like sport2"]


def test_a_chunk_that_fails_for_good_is_in_the_report_and_taken_up_by_the_next_run(
    one_plugin: Plugin, dify: StandInDify, stand_in_model: StandInModel
) -> None:
    dify.history.converse("ana", yesterday() + NOON_S, ("I live in Porto.", "Nice!"))
    stand_in_model.control.set(unauthorised=True)
    state = ended(one_plugin, start(one_plugin, dify, "ana"))
    [ana] = state["final_report"]["per_user"]
    [error] = ana["errors"]
    assert error["type"] == "service_refused" and error["conversation_id"] and state["failed_users"] == 1
    stand_in_model.control.set(unauthorised=False)
    again = ended(one_plugin, start(one_plugin, dify, "ana"))
    assert again["final_report"]["status"] == "SUCCESS" and again["written_memories"]["semantic"] == 1
    assert list(memories(one_plugin, "ana")) == ["I live in Porto"]


def test_a_slow_user_holds_up_nobody_else(one_plugin: Plugin, dify: StandInDify, stand_in_model: StandInModel) -> None:
    """The model does not answer the first one at all until the others are done."""
    users = ["slow", *(f"user-{number}" for number in range(8))]
    for user in users:
        dify.history.converse(user, yesterday() + NOON_S, (f"I like {user} tea.", "Fine."))
    stand_in_model.control.set(held_texts=["slow tea"])
    task_id = start(one_plugin, dify, ",".join(users))
    while (state := look(one_plugin, task_id))["processed_users"] < 8:
        time.sleep(0.05)
    assert state["task_status"] == "running" and memories(one_plugin, "slow") == {}
    stand_in_model.control.set(held_texts=[])
    assert ended(one_plugin, task_id)["processed_users"] == 9


def look(plugin: Plugin, task_id: str) -> dict[str, Any]:
    answer = plugin.call("check_extraction_status", task_id=task_id)
    assert answer.status == "SUCCESS", answer
    return dict(answer.variables)


def test_limits_are_cut_and_what_cannot_be_used_is_refused(one_plugin: Plugin, dify: StandInDify) -> None:
    dify.history.converse("ana", yesterday() + NOON_S, ("I live in Porto.", "Nice!"))
    asked = {"user_ids": "ana", "app_id": APP, "dify_base_url": dify.base_url, "dify_api_key": "app-stand-in"}
    cut = one_plugin.call("extract_long_term_memory", **asked, days_back=30, conversations_limit=1, time_budget=1e308)
    assert cut.status == "ACCEPTED" and "days_back = 7" in cut.envelope["messages"]
    assert "conversations_limit = 10; time_budget = 1440" in cut.envelope["messages"]
    ended(one_plugin, cut.variables["task_id"])
    for changed, named in (
        ({"dify_base_url": "http://user:secret@127.0.0.1/v1"}, "dify_base_url"),
        ({"dify_base_url": dify.base_url.removesuffix("/v1")}, "dify_base_url"),
        ({"user_ids": " , "}, "user_ids"),
        ({"user_ids": '["*"]'}, "user_ids"),
        ({"user_ids": []}, "user_ids"),
        ({"user_ids": ["ana", {}]}, "user_ids"),
        ({"days_back": "soon"}, "days_back"),
        ({"dify_api_key": ""}, "dify_api_key"),
    ):
        refused = one_plugin.call("extract_long_term_memory", **{**asked, **changed})
        assert refused.status == "ERROR" and named in refused.envelope["messages"], changed
        assert "secret" not in refused.envelope["messages"]
    assert one_plugin.call("check_extraction_status", task_id="extract_none").status == "NOT_FOUND"


def test_user_ids_may_be_a_list_already(one_plugin: Plugin, dify: StandInDify) -> None:
    asked = {"app_id": APP, "dify_base_url": dify.base_url, "dify_api_key": "app-stand-in"}
    listed = one_plugin.call("extract_long_term_memory", user_ids=["ana", "ben", " ana "], **asked)
    assert (listed.status, listed.variables["user_count"]) == ("ACCEPTED", 2)
    ended(one_plugin, listed.variables["task_id"])


def test_an_accepted_write_can_be_asked_about(one_plugin: Plugin, stand_in_model: StandInModel) -> None:
    stand_in_model.control.set(held_endpoints=["chat"])
    written = one_plugin.call("add_memory", user_id="ana", user="I live in Porto.")
    while (state := look(one_plugin, written.variables["write_id"]))["task_status"] == "queued":
        time.sleep(0.05)
    assert (state["task_status"], state["kind"]) == ("running", "add")
    stand_in_model.control.set(held_endpoints=[])
    # On a starved machine the held model may have cost the first try: the write waits for the next one then.
    while (state := look(one_plugin, written.variables["write_id"]))["task_status"] in ("queued", "running"):
        time.sleep(0.05)
    assert (state["task_status"], state["error"]) == ("completed", "")


def test_in_synchronous_mode_the_call_waits_for_the_end(one_plugin: Plugin, dify: StandInDify) -> None:
    dify.history.converse("ana", yesterday() + NOON_S, ("I live in Porto.", "Nice!"))
    waiting = one_plugin.with_credentials(async_mode=False)
    asked = {"app_id": APP, "dify_base_url": dify.base_url, "dify_api_key": "app-stand-in"}
    answer = waiting.call("extract_long_term_memory", user_ids="ana", **asked)
    assert (answer.status, answer.variables["mode"]) == ("SUCCESS", "sync")
    assert list(memories(one_plugin, "ana")) == ["I live in Porto"]
