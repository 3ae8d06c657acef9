"""Workflows of other memory plugins become workflows of this one, with nothing lost that is not said."""

from __future__ import annotations

import copy
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from scripts import workflows
from scripts.conversions import PLUGINS, plugin_of
from scripts.convert_workflow import convert
from tests.conftest import PROJECT_ROOT

SAVED: Final = Path(__file__).with_name("other_plugins")
APPS: Final = {path.stem: yaml.safe_load(path.read_text(encoding="utf-8")) for path in sorted(SAVED.glob("*.yml"))}
MIGRATION: Final = (PROJECT_ROOT / "MIGRATION.md").read_text(encoding="utf-8")
NOTES: Final = {
    "beersoccer_mem0ai": [
        "Remember: expiration_date was left out: a memory has no date of its own to end; "
        "memory_ttl_days and forget_memories delete",
        "Recall: top_k was 500 and is 100 now: 1 to 100 are accepted",
    ],
    "cloud_mem0": [
        "Retrieve memory: version was left out: there is one version here",
        "Retrieve memory: run_id was left out: it selected memories there; here it is a trace id and selects nothing, "
        "so give agent_id or filters",
    ],
    "memos": [],
}


def converted(name: str) -> tuple[dict[str, Any], list[str]]:
    app = copy.deepcopy(APPS[name])
    return app, convert(app)


def nodes(app: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {node["id"]: node["data"] for node in app["workflow"]["graph"]["nodes"]}


@pytest.mark.parametrize("name", APPS)
def test_what_needs_a_look_is_said_by_node(name: str) -> None:
    assert converted(name)[1] == NOTES[name]


@pytest.mark.parametrize("name", APPS)
def test_every_tool_is_one_of_ours_and_every_value_stands_where_dify_looks_for_it(name: str) -> None:
    app, _ = converted(name)
    before = nodes(APPS[name])
    for node, data in nodes(app).items():
        if data["type"] == "tool":
            assert data["provider_id"] == workflows.provider_id()
            forms = {schema["name"]: schema["form"] for schema in data["paramSchemas"]}
            assert {forms[one] for one in data["tool_parameters"]} <= {"llm"}
            assert {forms[one] for one in data["tool_configurations"]} <= {"form"}
            assert all(value.keys() == {"type", "value"} for value in data["tool_configurations"].values())
            assert data["title"] == before[node]["title"]
        elif node in before:
            assert data["type"] == before[node]["type"]


@pytest.mark.parametrize("name", APPS)
def test_the_graph_hangs_together(name: str) -> None:
    app, _ = converted(name)
    graph = app["workflow"]["graph"]
    kinds = {node["id"]: node["data"]["type"] for node in graph["nodes"]}
    assert len(kinds) == len(graph["nodes"]) and len({edge["id"] for edge in graph["edges"]}) == len(graph["edges"])
    for edge in graph["edges"]:
        ends = (edge["data"]["sourceType"], edge["data"]["targetType"])
        assert ends == (kinds[edge["source"]], kinds[edge["target"]])
    sources, targets = ([edge[end] for edge in graph["edges"]] for end in ("source", "target"))
    assert len(set(sources)) == len(sources) == len(set(targets)) == len(targets) == len(kinds) - 1  # one line of nodes


@pytest.mark.parametrize("name", APPS)
def test_only_what_is_used_is_asked_for_on_import(name: str) -> None:
    app, _ = converted(name)
    named = [next(value for value in one["value"].values() if value) for one in app["dependencies"]]
    assert [one.partition(":")[0] for one in named] == ["langgenius/openai", workflows.plugin_id()]


def test_a_rehearsal_stays_a_rehearsal() -> None:
    data = nodes(converted("beersoccer_mem0ai")[0])["forget"]
    assert data["tool_configurations"]["dry_run"] == {"type": "constant", "value": True}
    assert nodes(converted("beersoccer_mem0ai")[0])["add"]["tool_configurations"] == {
        "infer": {"type": "constant", "value": False},
        "timeout": {"type": "constant", "value": 15},
    }


def test_a_tool_that_nothing_here_does_is_left_and_named() -> None:
    app = copy.deepcopy(APPS["cloud_mem0"])
    nodes(app)["retrieve"]["tool_name"] = "export_memories"
    said = "Retrieve memory: no tool here does what export_memories of yevanchen/mem0 does; the node was left as it is"
    assert convert(app) == [said]
    assert nodes(app)["retrieve"]["provider_id"] == "yevanchen/mem0/mem0"


def test_a_required_parameter_that_was_not_given_is_named() -> None:
    app = copy.deepcopy(APPS["cloud_mem0"])
    del nodes(app)["add"]["tool_parameters"]["user_id"]
    assert "Add memory: user_id is required here and was not given: fill it in" in convert(app)


def test_messages_in_a_longer_text_are_taken_for_the_users_words() -> None:
    app = copy.deepcopy(APPS["memos"])
    messages = '[{"role": "user", "content": "{{#sys.query#}}"}]'
    nodes(app)["add"]["tool_parameters"]["messages"]["value"] = messages
    [said] = convert(app)
    assert "all of it is taken for what the user said" in said
    assert nodes(app)["add"]["tool_parameters"]["user"]["value"] == messages


def test_a_reader_of_an_answer_that_differs_is_told() -> None:
    app = copy.deepcopy(APPS["cloud_mem0"])
    nodes(app)["llm"]["prompt_template"][0]["text"] = "Known: {{#retrieve.json#}}"
    assert any("another node reads its json: results hold id, memory, score" in said for said in convert(app))


def test_nodes_that_are_put_in_belong_to_the_same_loop() -> None:
    app = copy.deepcopy(APPS["memos"])
    for node in app["workflow"]["graph"]["nodes"]:
        if node["id"] in ("recall", "prompt"):
            node |= {"parentId": "loop", "zIndex": 1002}
            node["data"] |= {"isInIteration": False, "isInLoop": True, "loop_id": "loop"}
    convert(app)
    [new] = [node for node in app["workflow"]["graph"]["nodes"] if node["id"] == "recall_answer"]
    assert (new["parentId"], new["data"]["loop_id"], new["data"]["isInLoop"]) == ("loop", "loop", True)
    [edge] = [edge for edge in app["workflow"]["graph"]["edges"] if edge["target"] == "recall_answer"]
    assert (edge["data"]["loop_id"], edge["zIndex"]) == ("loop", 1002)


def test_tools_of_agents_get_their_new_names() -> None:
    tool = {
        "provider_id": "yevanchen/mem0/mem0",
        "provider_name": "yevanchen/mem0/mem0",
        "tool_name": "retrieve_memory",
    }
    app = {"dependencies": [], "model_config": {"agent_mode": {"tools": [tool]}}}
    assert convert(app) == [
        "agent: open the settings of search_memory once in the editor, so that Dify reads its parameters"
    ]
    assert tool == {
        "provider_id": workflows.provider_id(), "provider_name": workflows.provider_id(), "tool_name": "search_memory",
    }  # fmt: skip


def test_our_own_workflows_are_left_alone() -> None:
    for path in workflows.WORKFLOWS.glob("*.yml"):
        app = yaml.safe_load(path.read_text(encoding="utf-8"))
        again = copy.deepcopy(app)
        assert "nothing to convert" in convert(again)[0] and again == app


@pytest.mark.parametrize(
    ("provider", "plugin"),
    [
        ("beersoccer/mem0ai/mem0ai", "beersoccer/mem0ai"),
        ("sysam68/mem0ai/mem0ai", "beersoccer/mem0ai"),
        ("yevanchen/mem0/mem0", "yevanchen/mem0"),
        ("422f4192-64ee-4bc0-921d-ee51604705e8/memos/memos", "memtensor/memos"),  # a plugin while it is debugged
        ("memoryworks/mem0ai/mem0ai", None),
        ("langgenius/openai/openai", None),
        ("", None),
    ],
)
def test_providers_are_told_apart(provider: str, plugin: str | None) -> None:
    found = plugin_of(provider)
    assert (found.name if found else None) == plugin


def test_every_conversion_is_told_in_the_note() -> None:
    for plugin in PLUGINS:
        assert plugin.name in MIGRATION
        for name, conversion in plugin.tools.items():
            if "mem0ai_memory" not in name:  # a name that few ever saw
                words = {name, conversion.tool, *conversion.renamed, *conversion.renamed.values(), *conversion.metadata}
                assert {word for word in words if f"`{word}`" not in MIGRATION} == set(), name


def test_the_command_writes_an_app_and_what_needs_a_look() -> None:
    command = [sys.executable, "-m", "scripts.convert_workflow", str(SAVED / "cloud_mem0.yml")]
    run = subprocess.run(command, capture_output=True, text=True, check=True, cwd=PROJECT_ROOT)
    assert yaml.safe_load(run.stdout) == converted("cloud_mem0")[0]
    assert run.stderr.splitlines() == NOTES["cloud_mem0"]
