"""Runs an exported Dify workflow as far as this plugin is concerned: a tool node gets what Dify would send.

The nodes of the example workflows are run, one after the other: start, tool, llm, code, if-else, loop, assigner, answer
and end. Parameters are read as Dify reads them: ``form: llm`` from ``tool_parameters`` only, ``form: form`` from that
and from ``tool_configurations``; a variable inside a text becomes ``str`` of its value.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from playground.invocation import Invocation

ROOT: Final = Path(__file__).resolve().parents[1]
_REFERENCE: Final = re.compile(r"\{\{#([\w.]+)#\}\}")

type CallTool = Callable[[str, dict[str, Any]], Invocation]
type CallModel = Callable[[str, str], str]


class WorkflowRun:
    """One run of ``app``.

    Attributes:
        values: what every node has answered, by node and name.
        outputs: of the End node that was reached; of an Answer node its text.
        visited: the nodes, in order.
    """

    def __init__(
        self, app: Mapping[str, Any], call_tool: CallTool, call_model: CallModel, *, system: Mapping[str, Any]
    ) -> None:
        graph = app["workflow"]["graph"]
        self._nodes = {node["id"]: node["data"] for node in graph["nodes"]}
        self._edges = {(edge["source"], edge["sourceHandle"]): edge["target"] for edge in graph["edges"]}
        assert len(self._edges) == len(graph["edges"]), "a node with two nodes behind it is not run here"
        self._call_tool, self._call_model = call_tool, call_model
        environment = {one["name"]: one["value"] for one in app["workflow"]["environment_variables"]}
        self.values: dict[str, dict[str, Any]] = {"sys": dict(system), "env": environment}
        self.outputs: dict[str, Any] = {}
        self.visited: list[str] = []

    def run(self, **inputs: Any) -> dict[str, Any]:
        """From Start to the end; what came out."""
        [start] = [name for name, data in self._nodes.items() if data["type"] == "start"]
        asked = {one["variable"] for one in self._nodes[start]["variables"]}
        assert inputs.keys() <= asked, inputs.keys() - asked
        self.values[start] = {**dict.fromkeys(asked, ""), **inputs}
        self._follow(start)
        return self.outputs

    def _follow(self, name: str | None) -> None:
        while name is not None:
            self.visited.append(name)
            data = self._nodes[name]
            handle = getattr(self, f"_{data['type'].replace('-', '_')}")(name, data) or "source"
            name = self._edges.get((name, handle))

    def _start(self, name: str, data: Mapping[str, Any]) -> None:
        """Its values are the inputs."""

    _loop_start = _start

    def _tool(self, name: str, data: Mapping[str, Any]) -> None:
        answer = self._call_tool(data["tool_name"], self.parameters(data))
        given = {"text": answer.text, "json": [answer.envelope], "files": list(answer.blobs)}
        self.values[name] = {**given, **answer.variables}

    def _llm(self, name: str, data: Mapping[str, Any]) -> None:
        said = {message["role"]: self.text(message["text"]) for message in data["prompt_template"]}
        query = said["user"] if "user" in said else self.text(data["memory"]["query_prompt_template"])
        self.values[name] = {"text": self._call_model(said["system"], query)}

    def _code(self, name: str, data: Mapping[str, Any]) -> None:
        scope: dict[str, Any] = {}
        exec(data["code"], scope)  # noqa: S102 it is our own workflow's
        arguments = {one["variable"]: self._value(one["value_selector"]) for one in data["variables"]}
        self.values[name] = scope["main"](**arguments)
        assert self.values[name].keys() == data["outputs"].keys()

    def _if_else(self, name: str, data: Mapping[str, Any]) -> str:
        [case] = data["cases"]
        return str(case["case_id"]) if self._holds(case["conditions"], case["logical_operator"]) else "false"

    def _loop(self, name: str, data: Mapping[str, Any]) -> None:
        self.values[name] = {one["label"]: one["value"] for one in data["loop_variables"]}
        for _ in range(data["loop_count"]):
            if self._holds(data["break_conditions"], data["logical_operator"]):
                return
            self._follow(data["start_node_id"])

    def _assigner(self, name: str, data: Mapping[str, Any]) -> None:
        for item in data["items"]:
            assert (item["input_type"], item["operation"]) == ("variable", "over-write")
            node, variable = item["variable_selector"]
            self.values[node][variable] = self._value(item["value"])

    def _answer(self, name: str, data: Mapping[str, Any]) -> None:
        self.outputs["answer"] = self.text(data["answer"])

    def _end(self, name: str, data: Mapping[str, Any]) -> None:
        self.outputs = {one["variable"]: self._value(one["value_selector"]) for one in data["outputs"]}

    def _holds(self, conditions: list[Mapping[str, Any]], operator: str) -> bool:
        assert all((one["comparison_operator"], one["varType"]) == ("is", "string") for one in conditions)
        held = [self._value(one["variable_selector"]) == one["value"] for one in conditions]
        return all(held) if operator == "and" else any(held)

    def parameters(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """What Dify hands to the tool: every parameter that it declares, as None where nothing is saved for it."""
        tool = yaml.safe_load((ROOT / "tools" / f"{data['tool_name']}.yaml").read_text(encoding="utf-8"))
        inputs = data["tool_parameters"]
        settings = {**data["tool_configurations"], **inputs}
        read = {entry["name"]: (settings if entry["form"] == "form" else inputs) for entry in tool["parameters"]}
        return {name: self._input(saved[name]) if name in saved else None for name, saved in read.items()}

    def _input(self, saved: Mapping[str, Any]) -> Any:
        if saved["type"] == "variable":
            return self._value(saved["value"])
        return self.text(saved["value"]) if saved["type"] == "mixed" else saved["value"]

    def text(self, template: str) -> str:
        """A text with its variables filled in."""
        return _REFERENCE.sub(lambda found: str(self._value(found[1].split("."))), template)

    def _value(self, selector: list[str]) -> Any:
        node, name, *rest = selector
        assert not rest
        return self.values[node][name]
