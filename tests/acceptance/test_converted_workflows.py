"""A converted workflow does the job that it did with the other plugin."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from playground.dify_host import PluginProcess
from scripts.convert_workflow import convert
from tests.plugin import Plugin
from tests.workflow_run import WorkflowRun

SAVED: Final = Path(__file__).resolve().parents[1] / "contract/other_plugins"


@pytest.fixture
def plugin(module_process: PluginProcess, collection_credentials: dict[str, Any]) -> Plugin:
    return Plugin(module_process, {**collection_credentials, "async_mode": False})


class Chat:
    """Runs a converted workflow; ``asked`` is what its chat model was asked."""

    def __init__(self, plugin: Plugin, name: str) -> None:
        self.app = yaml.safe_load((SAVED / f"{name}.yml").read_text(encoding="utf-8"))
        convert(self.app)
        self.asked: list[str] = []
        self._plugin = plugin

    def say(self, said: str, **inputs: Any) -> dict[str, Any]:
        system = {"query": said, "user_id": "ana", "conversation_id": "talk-1", "workflow_run_id": "run-1"}
        return WorkflowRun(self.app, self._called, self._answered, system=system).run(**inputs)

    def _called(self, tool: str, parameters: dict[str, Any]) -> Any:
        return self._plugin.call(tool, **parameters)  # in synchronous mode no time-out counts

    def _answered(self, system: str, query: str) -> str:
        self.asked.append(f"{system}\n{query}")
        return "Noted."


def test_notes_of_the_self_hosted_plugin(plugin: Plugin) -> None:
    outputs = Chat(plugin, "beersoccer_mem0ai").say(
        "", user_id="ana", message="I like soup.", query="What does she eat?"
    )
    [found] = outputs["found"]
    assert [one["memory"] for one in found["results"]] == ["I like soup."]  # as it was said: infer stays off
    [rehearsal] = outputs["rehearsal"]
    assert rehearsal["results"]["dry_run"] is True
    assert plugin.memories("ana")[0]["agent_id"] == "shop"


def test_a_chat_around_the_cloud_plugin(plugin: Plugin) -> None:
    chat = Chat(plugin, "cloud_mem0")
    assert chat.say("I like green tea.") == {"answer": "Noted."}
    chat.say("What do I drink?")
    assert "green tea" not in chat.asked[0].partition("\n")[0]
    assert "I like green tea" in chat.asked[1]


def test_a_memory_assistant_of_memos(plugin: Plugin) -> None:
    chat = Chat(plugin, "memos")
    chat.say("I like green tea.", limit="3")
    chat.say("What do I drink?", limit="3")
    assert "Known:\nI like green tea\nQuestion: What do I drink?" in chat.asked[1]
    [memory] = plugin.memories("ana")
    assert memory["metadata"]["conversation_id"] == "talk-1"


def test_an_outage_is_no_empty_memory_of_memos(plugin: Plugin) -> None:
    chat = Chat(plugin, "memos")
    chat.say("What do I drink?", limit="1000")  # out of range: the search fails
    assert "Known:" not in chat.asked[0]
