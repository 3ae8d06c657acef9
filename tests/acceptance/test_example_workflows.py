"""The example workflows, run node by node against the plugin: each does what its paragraph says."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from datetime import date
from typing import Any

import psycopg
import pytest
import yaml

from playground.dify_app import History, StandInDify
from playground.dify_host import PluginProcess
from playground.postgres import Database
from scripts.workflows import WORKFLOWS
from tests.plugin import PATIENT_S, Plugin
from tests.workflow_run import WorkflowRun
from utils.extraction.request import range_before

NOON_S = 12 * 3600


@pytest.fixture
def plugin(module_process: PluginProcess, collection_credentials: dict[str, Any]) -> Plugin:
    return Plugin(module_process, collection_credentials)


@pytest.fixture
def dify() -> Iterator[StandInDify]:
    with StandInDify(History()) as app:
        yield app


@pytest.fixture
def prompts() -> list[str]:
    """The system prompts that the workflow's chat model was given."""
    return []


@pytest.fixture
def start(plugin: Plugin, prompts: list[str]) -> Callable[..., WorkflowRun]:
    """Prepares a run of a workflow."""

    def prepared(name: str, user_id: str = "ana", query: str = "", **environment: str) -> WorkflowRun:
        app = yaml.safe_load((WORKFLOWS / f"{name}.yml").read_text(encoding="utf-8"))
        for variable in app["workflow"]["environment_variables"]:
            variable["value"] = environment[variable["name"]]
        system = {"user_id": user_id, "query": query, "app_id": "app", "workflow_run_id": f"run-{name}"}
        return WorkflowRun(app, called, answered, system=system)

    def called(tool: str, parameters: dict[str, Any]) -> Any:
        return plugin.call(tool, **{**parameters, "timeout": PATIENT_S})  # the machine may be busy

    def answered(system: str, query: str) -> str:
        prompts.append(system)
        return f"You said: {query}"

    return prepared


def test_what_was_said_is_recalled_in_the_next_message(
    plugin: Plugin, start: Callable[..., WorkflowRun], prompts: list[str]
) -> None:
    first = start("remember_and_recall", query="I like green tea.")
    assert first.run() == {"answer": "You said: I like green tea."}
    assert first.visited == ["start", "recall", "llm", "answer", "remember"]
    assert first.values["remember"]["results"][0]["event"] == "ACCEPT"
    plugin.drain("ana")
    start("remember_and_recall", query="What do I drink?").run()
    start("remember_and_recall", user_id="ben", query="What do I drink?").run()
    blocks = [prompt.rpartition("one is right.")[2].strip() for prompt in prompts]
    assert (blocks[0], blocks[2]) == ("", "")
    assert blocks[1].startswith("<recalled_memories>\n- [") and "I like green tea" in blocks[1]
    [stored] = [one for one in plugin.memories("ana") if one["memory"] == "I like green tea"]
    assert stored["agent_id"] == "app"


def test_yesterdays_conversations_become_memories_and_a_report(
    plugin: Plugin, start: Callable[..., WorkflowRun], dify: StandInDify, monkeypatch: pytest.MonkeyPatch
) -> None:
    pause = time.sleep
    monkeypatch.setattr(time, "sleep", lambda _: pause(0.1))  # the node waits four seconds
    dify.history.converse("ana", range_before(date.today(), 1)[0] + NOON_S, ("I like green tea.", "Noted."))
    key = dify.control.settings.accepted_key
    run = start("nightly_extraction", DIFY_BASE_URL=dify.base_url, DIFY_API_KEY=key)
    outputs = run.run(user_ids="ana, ben", app_id="support")
    assert run.visited[-2:] == ["report", "end_report"] and "check" in run.visited
    assert (outputs["task_status"], outputs["processed_users"], outputs["failed_users"]) == ("completed", 2, 0)
    assert outputs["written_memories"]["semantic"] == 1 and "100%" in outputs["report"]
    assert outputs["final_report"]["run_id"] == "run-nightly_extraction"
    assert [one["agent_id"] for one in plugin.memories("ana")] == ["support"]


def test_an_extraction_that_is_refused_ends_with_the_reason(start: Callable[..., WorkflowRun]) -> None:
    run = start("nightly_extraction", DIFY_BASE_URL="http://nginx/v1", DIFY_API_KEY="")
    outputs = run.run(user_ids="ana", app_id="support")
    assert run.visited[-1] == "end_refused"
    assert outputs["status"] == "ERROR" and "dify_api_key" in outputs["messages"]


def test_a_preview_deletes_nothing_and_forgetting_does(
    plugin: Plugin, start: Callable[..., WorkflowRun], module_database: Database
) -> None:
    for text in ("I was at a concert.", "I own a cello."):
        plugin.accept("ana", text, infer=False, agent_id="support")
    plugin.drain("ana")
    collection = json.loads(plugin.credentials["local_vector_db_json_secret"])["config"]["collection_name"]
    with psycopg.connect(module_database.uri, autocommit=True) as connection:
        aged = "UPDATE {} SET payload = payload || %s::jsonb WHERE payload->>'data' = %s"
        values = ('{"created_at": "2020-01-01T00:00:00+00:00"}', "I was at a concert.")
        connection.execute(aged.format(collection).encode(), values)
    shown = start("weekly_forgetting")
    outputs = shown.run(user_id="ana", then="show only")
    assert shown.visited[-1] == "end_preview" and len(plugin.texts("ana")) == 2
    assert outputs["results"]["deleted_count"] == 1 and "concert" in outputs["preview"]
    [picture] = outputs["picture"]
    assert picture.data.startswith(b"\x89PNG")
    forgotten = start("weekly_forgetting")
    outputs = forgotten.run(user_id="ana", app_id="support", then="forget")
    assert forgotten.visited[-1] == "end_forgotten" and outputs["results"]["deleted_count"] == 1
    assert plugin.texts("ana") == ["I own a cello."]
