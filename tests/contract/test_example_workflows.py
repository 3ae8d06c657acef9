"""The example workflows are what a running Dify exports, and fit the plugin: tools, parameters, outputs, edges.

``exported_workflow.yml`` is a recorded export. The kinds of node it does not have are compared with the keys that
Dify's own test workflows and published exports have.
"""

from __future__ import annotations

import copy
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from PIL import Image

from scripts import workflow_picture, workflows

HERE: Final = Path(__file__).parent
EXPORT: Final = yaml.safe_load((HERE / "exported_workflow.yml").read_text(encoding="utf-8"))
PATHS: Final = sorted(workflows.WORKFLOWS.glob("*.yml"))
APPS: Final[dict[str, Any]] = {path.stem: yaml.safe_load(path.read_text(encoding="utf-8")) for path in PATHS}


def _nodes(app: dict[str, Any]) -> list[dict[str, Any]]:
    nodes: list[dict[str, Any]] = app["workflow"]["graph"]["nodes"]
    return nodes


NODES: Final = [
    pytest.param(app, node, id=f"{name}-{node['id']}") for name, app in APPS.items() for node in _nodes(app)
]
INSIDE_A_LOOP: Final = {"isInIteration", "isInLoop", "loop_id"}
# Kinds of node that the recorded export does not have: keys seen in api/tests/fixtures/workflow of Dify (loop, code,
# assigner, answer, llm) and, of llm, in an export of DSL 0.4.0.
OTHER_KEYS: Final = {
    "llm": {
        "context", "desc", "memory", "model", "prompt_template", "selected", "title", "type", "variables", "vision",
    },
    "answer": {"answer", "desc", "selected", "title", "type", "variables"},
    "loop": {
        "break_conditions", "desc", "height", "logical_operator", "loop_count", "loop_variables", "selected",
        "start_node_id", "title", "type", "width",
    },
    "loop-start": {"desc", "isInLoop", "selected", "title", "type"},
    "code": {"code", "code_language", "desc", "outputs", "selected", "title", "type", "variables"} | INSIDE_A_LOOP,
    "assigner": {"desc", "items", "selected", "title", "type", "version"} | INSIDE_A_LOOP,
}  # fmt: skip
OTHER_NODE_KEYS: Final = {"draggable", "parentId", "selectable", "zIndex"}
SYSTEM: Final = {"query", "user_id", "app_id", "workflow_run_id"}
OUTPUTS: Final = {"llm": {"text"}}
SENT_ANYWAY: Final = {"text": "string", "json": "array[object]", "files": "array[file]"}


def exported(kind: str) -> list[dict[str, Any]]:
    """The recorded nodes of one kind."""
    return [node for node in EXPORT["workflow"]["graph"]["nodes"] if node["data"]["type"] == kind]


def test_there_are_three_each_with_a_picture_and_a_paragraph() -> None:
    assert set(APPS) == {"remember_and_recall", "nightly_extraction", "weekly_forgetting"}
    told = (workflows.WORKFLOWS / "README.md").read_text(encoding="utf-8")
    for name in APPS:
        assert f"]({name}.yml)" in told and f"]({name}.png)" in told


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_what_a_workflow_copies_of_the_plugin_is_up_to_date(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    assert workflows.dumped(workflows.refreshed(yaml.safe_load(source))) == source, "run `make workflows`"


@pytest.mark.parametrize("name", APPS)
def test_the_picture_shows_the_workflow(name: str) -> None:
    with Image.open(workflows.WORKFLOWS / f"{name}.png") as picture:
        assert picture.info["Source"] == workflow_picture.digest(APPS[name]), "run `make workflows`"
    with Image.open(io.BytesIO(workflow_picture.draw(APPS[name]))) as drawn:
        assert drawn.size == picture.size


@pytest.mark.parametrize("name", APPS)
def test_an_app_has_the_keys_of_an_export(name: str) -> None:
    app = APPS[name]
    assert app.keys() == EXPORT.keys()
    assert (app["version"], app["kind"]) == (EXPORT["version"], "app")
    assert app["app"].keys() == EXPORT["app"].keys()
    assert app["workflow"].keys() == EXPORT["workflow"].keys()
    assert app["workflow"]["features"] == EXPORT["workflow"]["features"]
    assert app["workflow"]["graph"].keys() == EXPORT["workflow"]["graph"].keys()
    for dependency in app["dependencies"]:
        assert dependency.keys() == EXPORT["dependencies"][0].keys()
    [own] = [one for one in app["dependencies"] if one["type"] == "package"]
    assert re.fullmatch(workflows.identifier("[0-9a-f]{64}"), own["value"]["plugin_unique_identifier"])


@pytest.mark.parametrize(("app", "node"), NODES)
def test_a_node_has_the_keys_of_an_export(app: dict[str, Any], node: dict[str, Any]) -> None:
    kind = node["data"]["type"]
    [common, *_] = exported("start")
    own = OTHER_NODE_KEYS if kind in OTHER_KEYS or "parentId" in node else set()
    assert node.keys() <= common.keys() | own
    known = OTHER_KEYS.get(kind) or set().union(*(one["data"].keys() for one in exported(kind)))
    assert node["data"].keys() <= known | (INSIDE_A_LOOP if "parentId" in node else set())


@pytest.mark.parametrize(("app", "node"), NODES)
def test_a_tool_node_calls_a_tool_with_its_own_parameters(app: dict[str, Any], node: dict[str, Any]) -> None:
    data = node["data"]
    if data["type"] != "tool":
        return
    [recorded, *_] = exported("tool")
    schemas = {schema["name"]: schema for schema in data["paramSchemas"]}
    for schema in schemas.values():
        assert schema.keys() == recorded["data"]["paramSchemas"][0].keys()
    assert {name for name, schema in schemas.items() if schema["form"] == "llm"} >= data["tool_parameters"].keys()
    assert {name for name, schema in schemas.items() if schema["form"] == "form"} >= data["tool_configurations"].keys()
    saved = {**data["tool_parameters"], **data["tool_configurations"]}
    assert {name for name, schema in schemas.items() if schema["required"]} <= saved.keys()
    for entry in saved.values():
        assert entry.keys() == {"type", "value"} and entry["type"] in ("mixed", "constant", "variable")


def selectors(value: Any) -> Iterator[tuple[str, str]]:
    """Every variable that a node names, in a selector or inside a text."""
    if isinstance(value, str):
        for found in re.findall(r"\{\{#([\w.]+)#\}\}", value):
            node, _, name = found.partition(".")
            yield node, name
    elif isinstance(value, dict):
        for key, one in value.items():
            if key in ("value_selector", "variable_selector") and one:
                yield one[0], one[1]
            elif key == "items" and value.get("type") == "assigner":
                for item in one:
                    yield item["value"][0], item["value"][1]
                    yield item["variable_selector"][0], item["variable_selector"][1]
            elif key not in ("paramSchemas", "output_schema"):
                yield from selectors(one)
    elif isinstance(value, list):
        for one in value:
            yield from selectors(one)


def outputs(app: dict[str, Any], name: str) -> set[str]:
    """The variables of a node, or of the system or the environment."""
    if name == "sys":
        return SYSTEM
    if name == "env":
        return {one["name"] for one in app["workflow"]["environment_variables"]}
    [data] = [node["data"] for node in _nodes(app) if node["id"] == name]
    match data["type"]:
        case "start":
            return {one["variable"] for one in data["variables"]}
        case "tool":
            return {*data["output_schema"]["properties"], *SENT_ANYWAY}
        case "loop":
            return {one["label"] for one in data["loop_variables"]}
        case "code":
            return set(data["outputs"])
        case kind:
            return OUTPUTS[kind]


@pytest.mark.parametrize(("app", "node"), NODES)
def test_every_variable_exists_and_was_there_before(app: dict[str, Any], node: dict[str, Any]) -> None:
    before = {"sys", "env"} | ancestors(app, node["id"])
    for source, name in selectors(node["data"]):
        inside = node["data"].get("loop_id") == source or node["id"] == source  # a loop's own variables
        assert source in before or inside, (source, name)
        assert name in outputs(app, source), (source, name)


def ancestors(app: dict[str, Any], name: str) -> set[str]:
    """The nodes on the way to a node; of one inside a loop also those on the way to the loop."""
    parents = {node["id"]: node.get("parentId") for node in _nodes(app)}
    found: set[str] = set()
    left = [name]
    while left:
        one = left.pop()
        before = [edge["source"] for edge in app["workflow"]["graph"]["edges"] if edge["target"] == one]
        before += [parents[one]] if parents[one] else []
        left += [other for other in before if other not in found]
        found |= set(before)
    return found


@pytest.mark.parametrize("name", APPS)
def test_edges_connect_nodes_that_exist(name: str) -> None:
    graph = APPS[name]["workflow"]["graph"]
    nodes = {node["id"]: node for node in graph["nodes"]}
    [recorded, *_] = EXPORT["workflow"]["graph"]["edges"]
    for edge in graph["edges"]:
        assert edge.keys() == recorded.keys()
        source, target = nodes[edge["source"]], nodes[edge["target"]]
        loop = source.get("parentId")
        assert loop == target.get("parentId")
        assert edge["data"] == {
            "isInIteration": False, "isInLoop": bool(loop), **({"loop_id": loop} if loop else {}),
            "sourceType": source["data"]["type"], "targetType": target["data"]["type"],
        }  # fmt: skip
        handles = {"true", "false"} if source["data"]["type"] == "if-else" else {"source"}
        assert edge["sourceHandle"] in handles and edge["targetHandle"] == "target"
    reached = {edge["target"] for edge in graph["edges"]}
    alone = {node["id"] for node in graph["nodes"] if node["data"]["type"] not in ("start", "loop-start")} - reached
    assert alone == set()


@pytest.mark.parametrize(("app", "node"), NODES)
def test_the_end_names_the_types_of_what_it_gives(app: dict[str, Any], node: dict[str, Any]) -> None:
    types = {"string": "string", "integer": "number", "number": "number", "object": "object", "array": "array[object]"}
    for one in node["data"]["outputs"] if node["data"]["type"] == "end" else ():
        source, name = one["value_selector"]
        [data] = [other["data"] for other in _nodes(app) if other["id"] == source]
        schema = data["output_schema"]["properties"]
        assert one["value_type"] == (SENT_ANYWAY.get(name) or types[schema[name]["type"]])


def test_no_key_and_no_address_of_anyone_is_in_them() -> None:
    for app in APPS.values():
        for variable in app["workflow"]["environment_variables"]:
            assert variable.keys() == {"description", "id", "name", "selector", "value", "value_type"}
            assert variable["value_type"] != "secret" or variable["value"] == ""


def test_a_release_writes_its_checksum() -> None:
    app = copy.deepcopy(APPS["weekly_forgetting"])
    workflows.refreshed(app, "ab" * 32)
    tools = [node["data"] for node in _nodes(app) if node["data"]["type"] == "tool"]
    named = {data["plugin_unique_identifier"] for data in tools}
    assert named == {app["dependencies"][-1]["value"]["plugin_unique_identifier"]} == {workflows.identifier("ab" * 32)}
