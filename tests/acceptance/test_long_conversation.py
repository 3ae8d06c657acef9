"""A conversation of which a model cannot read, or answer for, the whole at once loses nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import date
from typing import Any

import pytest

from playground.dify_app import History, StandInDify
from playground.stand_in_model import StandInModel
from tests.plugin import Plugin
from utils.extraction.request import range_before

TURNS = 40
CHATTER = "Well, that is one more thing to talk about. " * 18


@pytest.fixture
def plugin(module_process: Any, collection_credentials: dict[str, Any]) -> Plugin:
    return Plugin(module_process, collection_credentials)


@pytest.fixture
def dify() -> Iterator[StandInDify]:
    with StandInDify(History()) as app:
        yield app


def extracted(plugin: Plugin, dify: StandInDify) -> dict[str, Any]:
    key = dify.control.settings.accepted_key
    asked = {"user_ids": "ana", "app_id": "app", "dify_base_url": dify.base_url, "dify_api_key": key}
    task_id = plugin.call("extract_long_term_memory", **asked).variables["task_id"]
    while True:
        state = plugin.call("check_extraction_status", task_id=task_id).variables
        if state["task_status"] in ("completed", "failed"):
            return dict(state)
        time.sleep(0.1)


@pytest.mark.parametrize(
    ("limits", "most_calls"),
    [
        ({"answer_chars": 1_100}, 7),
        ({"context_chars": 16_000}, 4),
        ({"answer_chars": 1_100, "context_chars": 16_000}, 7),
    ],
    ids=["answer", "context", "both"],
)
def test_each_half_is_asked_about_and_everything_is_stored_once(
    plugin: Plugin, dify: StandInDify, stand_in_model: StandInModel, limits: dict[str, int], most_calls: int
) -> None:
    said = [(f"I like hobby-{number}.", CHATTER) for number in range(TURNS)]
    said[0], said[-1] = ("I live in Porto.", CHATTER), ("I live in Lisbon. I like hobby-1.", CHATTER)
    talk = dify.history.converse("ana", range_before(date.today(), 1)[0] + 3600, *said)
    stand_in_model.control.set(**limits)
    state = extracted(plugin, dify)
    assert state["final_report"]["status"] == "SUCCESS", state["final_report"]
    assert 1 < state["llm_calls"] <= most_calls
    assert (state["processed_messages"], state["deferred_messages"]) == (TURNS, 0)
    listed = plugin.memories("ana")
    expected = ["I live in Lisbon", *(f"I like hobby-{number}" for number in range(1, TURNS - 1))]
    assert sorted(one["memory"] for one in listed) == sorted(expected)
    assert state["written_memories"]["semantic"] == len(expected)
    source = {"conversation_id": talk.id, "first_message_id": talk.messages[0].id}
    source["last_message_id"] = talk.messages[-1].id
    assert all(one["metadata"]["source"] == source for one in listed)
    assert (extracted(plugin, dify)["llm_calls"], len(plugin.memories("ana"))) == (0, len(expected))


def test_a_model_that_runs_away_is_not_asked_again(
    plugin: Plugin, dify: StandInDify, stand_in_model: StandInModel
) -> None:
    dify.history.converse("ana", range_before(date.today(), 1)[0] + 3600, *[("I like tea.", CHATTER)] * TURNS)
    entry = '{"event": "ADD", "text": "Likes tea"}, '
    stand_in_model.control.script('{"memory": [' + entry * 90 + '{"event": "ADD", "te')
    state = extracted(plugin, dify)
    assert (state["final_report"]["status"], state["llm_calls"]) == ("SUCCESS", 1)
    assert plugin.texts("ana") == ["Likes tea"]
