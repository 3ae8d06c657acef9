"""A workflow that was saved in Dify keeps every value it was saved with.

Dify reads a saved ``form: llm`` parameter from ``tool_parameters`` only and a ``form: form`` parameter from both that
and ``tool_configurations``; a parameter that is saved elsewhere is lost without a word. :func:`_as_dify_reads` is that
rule; ``saved_workflow.yml`` has nodes saved either way.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from utils import params

ROOT: Final = Path(__file__).resolve().parents[2]
WORKFLOW: Final = yaml.safe_load(Path(__file__).with_name("saved_workflow.yml").read_text(encoding="utf-8"))
NODES: Final = {node["id"]: node["data"] for node in WORKFLOW["workflow"]["graph"]["nodes"]}


def _saved(node: dict[str, Any]) -> dict[str, Any]:
    """Every value the node was saved with."""
    entries = {**node["tool_configurations"], **node["tool_parameters"]}
    return {name: entry["value"] for name, entry in entries.items()}


def _as_dify_reads(node: dict[str, Any]) -> dict[str, Any]:
    """What Dify hands over for the parameters the plugin's tool declares."""
    tool = yaml.safe_load((ROOT / "tools" / f"{node['tool_name']}.yaml").read_text(encoding="utf-8"))
    inputs = node["tool_parameters"]
    settings = {**node["tool_configurations"], **inputs}
    found = {entry["name"]: (settings if entry["form"] == "form" else inputs) for entry in tool["parameters"]}
    return {name: entries[name]["value"] for name, entries in found.items() if name in entries}


@pytest.mark.parametrize("node", NODES)
def test_no_saved_value_is_lost(node: str) -> None:
    assert _as_dify_reads(NODES[node]) == _saved(NODES[node])


@pytest.mark.parametrize("node", NODES)
def test_the_node_names_this_plugins_tool(node: str) -> None:
    manifest = yaml.safe_load((ROOT / "manifest.yaml").read_text(encoding="utf-8"))
    assert NODES[node]["provider_id"] == f"{manifest['author']}/{manifest['name']}/mem0ai"


@pytest.mark.parametrize(("node", "infer", "timeout_s"), [("add", False, 30.0), ("add-2", False, 20.0)])
def test_saved_settings_are_what_the_tool_works_with(
    node: str, infer: bool, timeout_s: float, loaded: dict[str, Any]
) -> None:
    given = params.parse(_declared(loaded, "add_memory"), _as_dify_reads(NODES[node]))
    assert (given["infer"], given["timeout"]) == (infer, timeout_s)
    assert given["custom_fact_extraction_prompt"].startswith("Keep what the user says of")


def test_an_object_variable_arrives_as_a_python_literal_and_is_read(loaded: dict[str, Any]) -> None:
    given = params.parse(_declared(loaded, "add_memory"), _as_dify_reads(NODES["add"]))
    assert given["metadata"] == {"topic": "food", "rating": 5, "again": True, "place": None}
    given = params.parse(_declared(loaded, "search_memory"), _as_dify_reads(NODES["search"]))
    assert given["filters"] == json.loads('{"topic": "food"}') and given["top_k"] == 3


def _declared(loaded: dict[str, Any], tool: str) -> tuple[params.Parameter, ...]:
    """The tool's own declaration, as its class has it."""
    return tuple(params.Parameter(name, **entry) for name, entry in loaded["tools"][tool]["declared"].items())
