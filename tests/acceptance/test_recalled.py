"""Recalled memories in an added message are no news: no model sees them, and none is stored once more."""

from __future__ import annotations

from typing import Any

import pytest

from playground.dify_host import PluginProcess
from playground.stand_in_model import StandInModel
from tests.plugin import Plugin

BLOCK = "<recalled_memories>\nI live in Lisbon\n</recalled_memories>"


@pytest.fixture
def plugin(module_process: PluginProcess, collection_credentials: dict[str, Any]) -> Plugin:
    return Plugin(module_process, {**collection_credentials, "async_mode": False})


def test_what_was_recalled_into_a_message_is_not_remembered(plugin: Plugin, stand_in_model: StandInModel) -> None:
    said = f"{BLOCK}\nI like tea."
    answer = plugin.call("add_memory", user_id="alice", user=said, assistant=f"You live in Lisbon.\r\n{BLOCK.upper()}")
    assert [one["memory"] for one in answer.results] == ["I like tea"]
    [asked] = stand_in_model.control.prompts
    assert asked[-1]["content"].endswith("user: I like tea.\nassistant: You live in Lisbon.")

    verbatim = plugin.call("add_memory", user_id="bob", user=said, infer=False)
    assert [one["memory"] for one in verbatim.results] == ["I like tea."]


def test_a_message_of_nothing_but_recalled_memories_is_blank(plugin: Plugin, stand_in_model: StandInModel) -> None:
    answer = plugin.call("add_memory", user_id="alice", user=f"\n{BLOCK} ", assistant=BLOCK)
    assert [one["event"] for one in answer.results] == ["SKIP"]
    assert stand_in_model.control.counts["chat"] == 0


def test_a_search_answers_a_block_that_may_be_handed_back(plugin: Plugin) -> None:
    for text in ("I like tea", f"I wrote\n{BLOCK.replace(chr(10), ' ')}"):
        plugin.call("add_memory", user_id="alice", user=text, infer=False)
    found = plugin.call("search_memory", user_id="alice", query="tea")
    block = found.envelope["text_for_llm"]
    assert block.startswith("<recalled_memories>\n- [") and block.endswith("] I like tea\n</recalled_memories>")
    assert found.envelope["count"] == len(found.results) == 2
    again = plugin.call("add_memory", user_id="alice", user=f"{block}\nWhat do I like?", infer=False)
    assert [one["memory"] for one in again.results] == ["What do I like?"]
    short = plugin.call("search_memory", user_id="alice", query="tea", max_tokens=20)
    assert len(short.results) == 3 and short.envelope["text_for_llm"].count("- [") == 1
    nothing = plugin.call("search_memory", user_id="bob", query="tea")
    assert (nothing.envelope["text_for_llm"], nothing.envelope["count"]) == ("", 0)
