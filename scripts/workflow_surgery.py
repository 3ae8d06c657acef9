"""Changes to the graph of an exported Dify workflow: a node put before or behind another, a variable read elsewhere."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, Final

_BESIDE_PX: Final = 150  # a new node stands so far below the one it serves
_INSIDE: Final = ("isInIteration", "iteration_id", "isInLoop", "loop_id")


def code_node(
    beside: Mapping[str, Any],
    name: str,
    title: str,
    code: str,
    variables: Mapping[str, tuple[list[str], str]],
    outputs: Mapping[str, str],
) -> dict[str, Any]:
    """A code node for the same loop or iteration as ``beside``.

    Args:
        beside: the node it serves.
        name: its id.
        title: what the canvas shows.
        code: Python with a function ``main``.
        variables: for each argument of it where it comes from, and the type.
        outputs: for each key of its answer the type.
    """
    node: dict[str, Any] = copy.deepcopy({key: value for key, value in beside.items() if key != "data"})
    node |= {"id": name, "height": 54, "selected": False}
    for place in ("position", "positionAbsolute"):
        if place in node:
            node[place]["y"] += _BESIDE_PX
    node["data"] = {
        "code": code,
        "code_language": "python3",
        "desc": "",
        "outputs": {key: {"children": None, "type": kind} for key, kind in outputs.items()},
        "selected": False,
        "title": title,
        "type": "code",
        "variables": [
            {"value_selector": selector, "value_type": kind, "variable": variable}
            for variable, (selector, kind) in variables.items()
        ],
        **{key: beside["data"][key] for key in _INSIDE if key in beside["data"]},
    }
    return node


def insert_after(graph: dict[str, Any], node: Mapping[str, Any], new: dict[str, Any]) -> None:
    """Put ``new`` between a node and all that follow it."""
    following = [edge for edge in graph["edges"] if edge["source"] == node["id"] and edge["sourceHandle"] == "source"]
    for edge in following:
        edge["source"] = new["id"]
        edge.setdefault("data", {})["sourceType"] = new["data"]["type"]
        _name(edge)
    _connect(graph, node, new)


def insert_before(graph: dict[str, Any], node: Mapping[str, Any], new: dict[str, Any]) -> None:
    """Put ``new`` between a node and all that lead to it."""
    for edge in graph["edges"]:
        if edge["target"] == node["id"]:
            edge["target"] = new["id"]
            edge.setdefault("data", {})["targetType"] = new["data"]["type"]
            _name(edge)
    _connect(graph, new, node)


def _connect(graph: dict[str, Any], source: Mapping[str, Any], target: Mapping[str, Any]) -> None:
    new = next(node for node in (source, target) if node["data"]["type"] == "code")
    inside = {key: new["data"][key] for key in _INSIDE if key in new["data"]}
    kinds = {"sourceType": source["data"]["type"], "targetType": target["data"]["type"]}
    edge = {
        "data": {"isInIteration": False, "isInLoop": False, **inside, **kinds},
        "id": "",
        "source": source["id"],
        "sourceHandle": "source",
        "target": target["id"],
        "targetHandle": "target",
        "type": "custom",
        "zIndex": 1002 if inside.get("isInLoop") or inside.get("isInIteration") else 0,
    }
    _name(edge)
    graph["edges"].append(edge)
    graph["nodes"].append(new)


def _name(edge: dict[str, Any]) -> None:
    edge["id"] = f"{edge['source']}-{edge['sourceHandle']}-{edge['target']}-{edge['targetHandle']}"


def reads(graph: Mapping[str, Any], node: str, variable: str) -> bool:
    """Whether any node names this variable, in a selector or inside a text."""
    return any(_redirected(one["data"], [node, variable], None) != one["data"] for one in graph["nodes"])


def redirect(graph: dict[str, Any], old: list[str], new: list[str]) -> None:
    """Let every node that reads the variable ``old`` read ``new``."""
    for node in graph["nodes"]:
        node["data"] = _redirected(node["data"], old, new)


def _redirected(value: Any, old: list[str], new: list[str] | None) -> Any:
    """``value`` with the variable replaced; by nothing at all if ``new`` is None."""
    if isinstance(value, dict):
        return {key: _redirected(one, old, new) for key, one in value.items()}
    if value == old:
        return new
    if isinstance(value, list):
        return [_redirected(one, old, new) for one in value]
    if isinstance(value, str):
        return value.replace(_reference(old), _reference(new) if new else "")
    return value


def _reference(selector: list[str]) -> str:
    return f"{{{{#{'.'.join(selector)}#}}}}"
