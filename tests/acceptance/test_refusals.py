"""A model that answers what was never said: nothing of it is stored, and the answer and the log say how much."""

from __future__ import annotations

from typing import Any, Final

import pytest

from playground.dify_host import PluginProcess
from playground.stand_in_model import StandInModel
from tests.plugin import Plugin
from utils import messages

USER: Final = "I like tea, and the wifi password is hunter2."
ASSISTANT: Final = "Since you love photography, I recommend a camera."
TRUE: Final = {"event": "ADD", "text": "Likes tea"}
REFUSED: Final = {
    "placeholder": {"event": "ADD", "text": "Lives in <new fact>"},
    "secret": {"event": "ADD", "text": "The wifi password is hunter2"},
    "role_label": {"event": "ADD", "text": "user: likes tea"},
    "assistant_words": {"event": "ADD", "text": "you love photography"},
    "unknown_id": {"event": "UPDATE", "id": "7", "text": "Likes coffee"},
}


@pytest.fixture
def plugin(module_process: PluginProcess, collection_credentials: dict[str, Any]) -> Plugin:
    """A plugin in synchronous mode on PostgreSQL with pgvector."""
    return Plugin(module_process, {**collection_credentials, "async_mode": False})


@pytest.mark.parametrize("language", messages.LANGUAGES)
def test_each_refusal_is_said_in_the_answer(plugin: Plugin, stand_in_model: StandInModel, language: str) -> None:
    stand_in_model.control.script({"memory": [*REFUSED.values(), TRUE]})
    answer = plugin.with_credentials(language=language).call(
        "add_memory", user_id="alice", user=USER, assistant=ASSISTANT
    )
    assert [(one["event"], one["memory"]) for one in answer.results] == [("ADD", "Likes tea")]
    assert plugin.texts("alice") == ["Likes tea"]
    for reason in REFUSED:
        assert messages.render(f"result_refused_{reason}", language, count=1) in answer.text
    assert stand_in_model.control.counts["chat"] == 1


def test_an_answer_of_which_all_is_refused_stores_nothing_and_says_why(
    plugin: Plugin, stand_in_model: StandInModel
) -> None:
    stand_in_model.control.script({"memory": [REFUSED["assistant_words"], REFUSED["placeholder"]]})
    answer = plugin.call("add_memory", user_id="alice", user="Which one?", assistant=ASSISTANT)
    assert [one["event"] for one in answer.results] == ["NONE"]
    assert messages.render("result_refused_assistant_words", "en_US", count=1) in answer.text
    assert plugin.texts("alice") == []


def test_the_log_has_counts_and_reasons_and_never_a_text(
    plugin: Plugin, module_process: PluginProcess, stand_in_model: StandInModel
) -> None:
    stand_in_model.control.script({"memory": list(REFUSED.values())})
    plugin.call("add_memory", user_id="alice", user=USER, assistant=ASSISTANT)
    lines = [line.message for line in module_process.logs]
    said = [line for line in lines if "refused by reason" in line]
    assert all(f"{reason}: 1" in said[-1] for reason in REFUSED)
    assert not any(word in line for line in lines for word in ("photography", "hunter2", "coffee", "new fact"))


def test_an_answer_that_runs_away_is_used_up_to_where_it_was_cut_and_not_asked_for_again(
    plugin: Plugin, stand_in_model: StandInModel
) -> None:
    runaway = (
        '{"memory": [{"event": "ADD", "text": "Likes tea"}, {"event": "ADD", "text": "tea and tea and ' + "tea " * 200
    )
    stand_in_model.control.script(runaway, "a second answer")
    answer = plugin.call("add_memory", user_id="alice", user=USER)
    assert [one["memory"] for one in answer.results] == ["Likes tea"]
    assert stand_in_model.control.counts["chat"] == 1
