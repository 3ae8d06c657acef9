"""What a person meets in a running Dify: answers that say enough, in one language, in variables that show."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any, Final

import pytest

from playground.dify_host import PluginProcess
from playground.invocation import Invocation
from playground.stand_in_model import StandInModel
from tests.plugin import Plugin
from utils import messages

MAX_SENTENCE_CHARS: Final = 300
# Words no Portuguese, Chinese or Japanese sentence has, unless a part of it was left in English.
ENGLISH: Final = re.compile(r"\b(the|refused|failed|with|key|reached|answer|within)\b")


@pytest.fixture
def plugin(module_process: PluginProcess, collection_credentials: dict[str, Any]) -> Plugin:
    """A plugin in synchronous mode on PostgreSQL with pgvector."""
    return Plugin(module_process, {**collection_credentials, "async_mode": False})


def streamed(answer: Invocation) -> set[str]:
    """The variables that were sent as streams."""
    sent = [message["message"] for message in answer.messages if message["type"] == "variable"]
    return {one["variable_name"] for one in sent if one["stream"]}


def test_texts_are_streamed_so_that_an_answer_node_shows_them(plugin: Plugin) -> None:
    assert streamed(plugin.call("add_memory", user_id="alice", user="I like tea.")) == {
        "status", "messages", "write_id",
    }  # fmt: skip
    assert streamed(plugin.call("add_memory", user_id="alice", user=" ")) == {"status", "messages"}
    assert streamed(plugin.call("search_memory", user_id="alice", query="tea")) == {
        "status", "messages", "text_for_llm",
    }  # fmt: skip
    assert streamed(plugin.call("get_memory")) == {"status", "messages"}


@pytest.mark.parametrize("language", messages.LANGUAGES)
def test_a_text_that_is_stored_already_is_said_to_be(plugin: Plugin, language: str) -> None:
    plugin = plugin.with_credentials(language=language)
    [first] = plugin.call("add_memory", user_id="alice", user="I like tea.", infer=False).results
    again = plugin.call("add_memory", user_id="alice", user="I like tea.", infer=False)
    assert again.results == [{"id": first["id"], "memory": "I like tea.", "event": "NONE"}]
    assert again.envelope["messages"] == messages.render("result_stored_already", language, memory_ids=first["id"])
    both = plugin.call("add_memory", user_id="alice", user="I like tea.", assistant="Noted.", infer=False)
    assert [(one["event"], one["memory"]) for one in both.results] == [("ADD", "Noted."), ("NONE", "I like tea.")]
    assert first["id"] in both.text


def test_an_assistant_text_equal_to_the_users_is_dropped(plugin: Plugin) -> None:
    answer = plugin.call("add_memory", user_id="alice", user="I like tea.", assistant="I like tea.", infer=False)
    assert [one["event"] for one in answer.results] == ["ADD"]
    assert plugin.texts("alice") == ["I like tea."]


def test_a_memory_of_another_agent_is_not_found(plugin: Plugin) -> None:
    [added] = plugin.call("add_memory", user_id="alice", user="I like tea.", agent_id="app-1", infer=False).results
    [plain] = plugin.call("add_memory", user_id="alice", user="I like rice.", infer=False).results
    for tool, more in (
        ("get_memory", {}),
        ("get_memory_history", {}),
        ("update_memory", {"text": "x"}),
        ("delete_memory", {}),
    ):
        for memory_id, agent_id in ((added["id"], "app-2"), (plain["id"], "app-1")):
            answer = plugin.call(tool, memory_id=memory_id, agent_id=agent_id, **more)
            assert answer.status == "NOT_FOUND" and memory_id in answer.envelope["messages"], tool
        answer = plugin.call(tool, memory_id=added["id"], user_id="alice", agent_id="app-1", **more)
        assert answer.status == "SUCCESS", tool
    assert plugin.texts("alice") == ["I like rice."]


def test_memories_have_their_times_and_a_search_has_all_its_scores(plugin: Plugin) -> None:
    [added] = plugin.call("add_memory", user_id="alice", user="I like tea.", infer=False).results
    plugin.call("update_memory", memory_id=added["id"], text="I like white tea.")
    [listed] = plugin.memories("alice")
    assert listed == plugin.call("get_memory", memory_id=added["id"]).results
    assert datetime.fromisoformat(listed["created_at"]) < datetime.fromisoformat(listed["updated_at"])
    assert datetime.fromisoformat(listed["created_at"]).tzinfo == UTC and listed["timestamp"] == listed["updated_at"]
    found = plugin.call("search_memory", user_id="alice", query="tea")
    assert found.envelope["count"] == len(found.results) == 1
    assert found.results[0]["rerank_score"] is None and found.results[0]["keyword_score"] == 1.0
    changes = plugin.call("get_memory_history", memory_id=added["id"]).results
    assert [change["memory_id"] for change in changes] == [added["id"]] * 2


def test_metadata_and_filters_may_be_object_variables(plugin: Plugin) -> None:
    metadata = {"topic": "food", "rating": 5, "again": True, "place": None}
    plugin.call("add_memory", user_id="alice", user="I like soup.", metadata=str(metadata), infer=False)
    found = plugin.call(
        "search_memory", user_id="alice", query="soup", filters=str({"again": True, "rating": {"gte": 5}})
    )
    [memory] = found.results
    assert memory["metadata"].items() >= metadata.items()


@pytest.mark.parametrize("language", messages.LANGUAGES)
def test_a_failed_write_is_told_in_one_language_with_its_id(
    plugin: Plugin, stand_in_model: StandInModel, language: str
) -> None:
    plugin = plugin.with_credentials(language=language)
    stand_in_model.control.set(unauthorised=True)
    answer = plugin.call("add_memory", user_id="alice", user="I like tea.")
    assert answer.status == "ERROR" and answer.results == []
    sentence = answer.envelope["messages"]
    assert answer.envelope["write_id"] and answer.envelope["write_id"] in sentence
    assert messages.render("part_embedder", language) in sentence
    assert len(sentence) <= MAX_SENTENCE_CHARS
    assert language == "en_US" or not ENGLISH.search(sentence), sentence


UNKNOWN_ID: Final = "00000000-0000-4000-8000-000000000000"
MISTAKES: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "nothing": ("search_memory", {}),
    "blank id": ("search_memory", {"query": "tea", "user_id": " "}),
    "wildcard": ("search_memory", {"query": "tea", "user_id": "*"}),
    "number": ("search_memory", {"query": "tea", "user_id": "alice", "top_k": 0}),
    "text for a number": ("get_all_memories", {"user_id": "alice", "limit": "many"}),
    "fraction": ("get_memory_history", {"memory_id": UNKNOWN_ID, "offset": 0.5}),
    "boolean": ("add_memory", {"user": "x", "user_id": "alice", "infer": "perhaps"}),
    "long text": ("search_memory", {"query": "x" * 20_001, "user_id": "alice"}),
    "long verbatim text": ("add_memory", {"user": "x" * 20_001, "user_id": "alice", "infer": False}),
    "bad JSON": ("search_memory", {"query": "tea", "user_id": "alice", "filters": "{"}),
    "a list": ("search_memory", {"query": "tea", "user_id": "alice", "filters": "[1]"}),
    "operator": ("search_memory", {"query": "tea", "user_id": "alice", "filters": '{"a": {"like": 1}}'}),
    "reserved key": ("add_memory", {"user": "x", "user_id": "alice", "metadata": '{"hash": 1}'}),
    "NUL": ("add_memory", {"user": "x", "user_id": "alice", "metadata": '{"a": "\\u0000"}'}),
    "unknown id": ("get_memory", {"memory_id": UNKNOWN_ID}),
}


@pytest.mark.parametrize("language", messages.LANGUAGES)
def test_each_mistake_is_told_in_one_short_sentence_of_the_language(plugin: Plugin, language: str) -> None:
    plugin = plugin.with_credentials(language=language)
    for mistake, (tool, parameters) in MISTAKES.items():
        answer = plugin.call(tool, **parameters)
        sentence = answer.envelope["messages"]
        assert answer.status in ("ERROR", "NOT_FOUND"), mistake
        assert len(sentence) <= MAX_SENTENCE_CHARS, (mistake, sentence)
        assert language == "en_US" or not ENGLISH.search(sentence), (mistake, sentence)


@pytest.mark.parametrize("language", messages.LANGUAGES)
def test_a_part_that_cannot_be_reached_is_named_as_in_the_form(
    plugin: Plugin, stand_in_model: StandInModel, language: str
) -> None:
    stand_in_model.control.set(failure_share=1.0, failure_kinds=("500",))
    answer = plugin.with_credentials(language=language).call("search_memory", user_id="alice", query="tea")
    sentence = answer.envelope["messages"]
    assert answer.status == "ERROR" and len(sentence) <= MAX_SENTENCE_CHARS
    assert messages.render("part_embedder", language) in sentence
    assert language == "en_US" or not ENGLISH.search(sentence), sentence
