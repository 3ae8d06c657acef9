"""Makes a workflow of another memory plugin a workflow of this one: ``python -m scripts.convert_workflow OLD > NEW``.

``OLD`` is an app as Dify exports it, with tools of ``beersoccer/mem0ai``, Mem0's cloud plugin or MemOS. Every tool node
of theirs becomes one of ours that does the same job, with the values it was saved with; where a node reads an answer
that has another form here, a code node in between gives it the old one. What needs a look is said on stderr, by node.
``MIGRATION.md`` has the table.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import yaml

from scripts.conversions import PLUGINS, Conversion, Plugin, plugin_of
from scripts.workflow_surgery import code_node, insert_after, insert_before, reads, redirect
from scripts.workflows import dumped, identifier, tool_copy

_UNKNOWN_CHECKSUM: Final = "0" * 64  # Dify then offers to install the plugin on import; that can be skipped
_ONE_VARIABLE: Final = re.compile(r"\s*\{\{#([\w.]+)#\}\}\s*")
_MESSAGES_TO_PAIR: Final = """import json


def main(messages: str) -> dict:
    said = {"user": [], "assistant": []}
    for one in json.loads(messages):
        said.get(one["role"], []).append(str(one["content"]))
    return {role: "\\n".join(texts) for role, texts in said.items()}
"""


def convert(app: dict[str, Any]) -> list[str]:
    """Change ``app`` in place; what its owner should look at, a line each."""
    graph = app.get("workflow", {}).get("graph", {"nodes": [], "edges": []})
    theirs = [(node, plugin) for node in graph["nodes"] if (plugin := plugin_of(node["data"].get("provider_id", "")))]
    notes = [
        f"{node['data'].get('title') or node['id']}: {said}"
        for node, plugin in theirs
        for said in _convert_node(graph, node, plugin)
    ]
    agents = _agents_tools(app)
    notes += [f"agent: {said}" for tool, plugin in agents for said in _convert_agents_tool(tool, plugin)]
    if not theirs and not agents:
        return ["nothing to convert: no tool of " + ", ".join(plugin.name for plugin in PLUGINS)]
    _depend_on_us(app)
    return notes


def _convert_node(graph: dict[str, Any], node: dict[str, Any], plugin: Plugin) -> Iterator[str]:
    data = node["data"]
    conversion = plugin.tools.get(data["tool_name"])
    if conversion is None:
        yield f"no tool here does what {data['tool_name']} of {plugin.name} does; the node was left as it is"
        return
    saved = _saved(data)
    if conversion.messages in saved:
        yield from _take_messages_apart(graph, node, saved, conversion.messages)
    _keep_in_metadata(saved, conversion)
    yield from _write(data, saved, conversion)
    if conversion.answers and reads(graph, node["id"], "json"):
        answer = code_node(
            node,
            f"{node['id']}_answer",
            f"The answer as {plugin.name} gave it",
            conversion.answers,
            {"results": ([node["id"], "results"], "array[object]"), "status": ([node["id"], "status"], "string")},
            {"json": "array[object]"},
        )
        redirect(graph, [node["id"], "json"], [answer["id"], "json"])
        insert_after(graph, node, answer)
    elif conversion.differs and reads(graph, node["id"], "json"):
        yield f"another node reads its json: {conversion.differs}"


def _saved(data: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Every value the node was saved with; older exports have plain values in ``tool_configurations``."""
    entries = {**data.get("tool_configurations", {}), **data.get("tool_parameters", {})}
    typed = {
        name: entry if isinstance(entry, dict) and "type" in entry else {"type": "constant", "value": entry}
        for name, entry in entries.items()
    }
    return {name: entry for name, entry in typed.items() if entry.get("value") not in (None, "")}


def _write(data: dict[str, Any], saved: dict[str, dict[str, Any]], conversion: Conversion) -> Iterator[str]:
    """Make the node's data one of our tool, each value where Dify looks for it."""
    copied = tool_copy(conversion.tool, identifier(_UNKNOWN_CHECKSUM))
    declared = {schema["name"]: schema for schema in copied["paramSchemas"]}
    places: dict[str, dict[str, Any]] = {"llm": {}, "form": {}}
    for name, entry in saved.items():
        ours = conversion.renamed.get(name, name)
        if name in conversion.lost or ours not in declared:
            yield f"{name} was left out: {conversion.lost.get(name, 'there is no such parameter here')}"
        elif ours in saved and ours != name:
            yield f"{name} was left out, as {ours} is given, too"
        else:
            schema = declared[ours]
            places[schema["form"]][ours] = _typed(entry, schema)
            yield from _range(ours, places[schema["form"]][ours], schema)
    data |= {
        **copied,
        "provider_type": "builtin",
        "tool_node_version": "2",
        "tool_parameters": places["llm"],
        "tool_configurations": places["form"],
    }
    for name, schema in declared.items():
        if schema["required"] and name not in {**places["llm"], **places["form"]}:
            yield f"{name} is required here and was not given: fill it in"


def _typed(entry: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """A number that was saved as a text, as a number or the variable it comes from."""
    if schema["type"] != "number" or entry["type"] == "variable":
        return entry
    text = str(entry["value"])
    if found := _ONE_VARIABLE.fullmatch(text):
        return {"type": "variable", "value": found[1].split(".")}
    try:
        return {"type": "constant", "value": float(text) if "." in text else int(text)}
    except ValueError:
        return entry


def _range(name: str, entry: dict[str, Any], schema: dict[str, Any]) -> Iterator[str]:
    value, low, high = entry["value"], schema.get("min"), schema.get("max")
    if entry["type"] == "constant" and isinstance(value, int | float) and low is not None and high is not None:
        entry["value"] = min(max(value, low), high)
        if entry["value"] != value:
            yield f"{name} was {value} and is {entry['value']} now: {low} to {high} are accepted"


def _keep_in_metadata(saved: dict[str, dict[str, Any]], conversion: Conversion) -> None:
    """Parameters that are worth keeping with a memory, as its metadata."""
    texts = {name: _as_text(saved.pop(name)) for name in conversion.metadata if name in saved}
    if texts:
        members = ", ".join(f'"{name}": "{text}"' for name, text in texts.items())
        saved["metadata"] = {"type": "mixed", "value": f"{{{members}}}"}


def _as_text(entry: dict[str, Any]) -> str:
    return f"{{{{#{'.'.join(entry['value'])}#}}}}" if entry["type"] == "variable" else str(entry["value"])


def _take_messages_apart(
    graph: dict[str, Any], node: dict[str, Any], saved: dict[str, dict[str, Any]], name: str
) -> Iterator[str]:
    """A JSON list of messages becomes the two texts that ``add_memory`` takes, by a code node before it."""
    found = _ONE_VARIABLE.fullmatch(_as_text(saved[name]))
    if found is None:
        saved["user"] = saved.pop(name)
        yield f"{name} is a text with more than a variable in it; all of it is taken for what the user said"
        return
    del saved[name]
    pair = code_node(
        node,
        f"{node['id']}_messages",
        "User and assistant of the messages",
        _MESSAGES_TO_PAIR,
        {"messages": (found[1].split("."), "string")},
        {"user": "string", "assistant": "string"},
    )
    saved |= {role: {"type": "mixed", "value": f"{{{{#{pair['id']}.{role}#}}}}"} for role in ("user", "assistant")}
    insert_before(graph, node, pair)


def _agents_tools(app: dict[str, Any]) -> list[tuple[dict[str, Any], Plugin]]:
    """The other plugins' tools that a model may call: those of an agent app and of agent nodes."""
    offered = list(app.get("model_config", {}).get("agent_mode", {}).get("tools", []))
    for node in app.get("workflow", {}).get("graph", {}).get("nodes", []):
        offered += node["data"].get("agent_parameters", {}).get("tools", {}).get("value", [])
    named = [(tool, str(tool.get("provider_id") or tool.get("provider_name") or "")) for tool in offered]
    return [(tool, plugin) for tool, provider in named if (plugin := plugin_of(provider))]


def _convert_agents_tool(tool: dict[str, Any], plugin: Plugin) -> Iterator[str]:
    """Names only: the model fills the parameters in, and Dify reads them when the tool's settings are opened."""
    conversion = plugin.tools.get(tool["tool_name"])
    if conversion is None:
        yield f"no tool here does what {tool['tool_name']} of {plugin.name} does; it was left as it is"
        return
    copied = tool_copy(conversion.tool, identifier(_UNKNOWN_CHECKSUM))
    own = {"provider_id", "provider_name", "tool_label", "tool_name", "tool_description"}
    tool |= {name: copied[name] for name in own & tool.keys()}
    yield f"open the settings of {conversion.tool} once in the editor, so that Dify reads its parameters"


def _depend_on_us(app: dict[str, Any]) -> None:
    """Ask for this plugin on import, and for none that is no longer used."""
    kept = []
    for dependency in app.get("dependencies", []):
        names = [str(value) for value in dependency.get("value", {}).values() if value]
        owner = next((name.partition(":")[0] for name in names if ":" in name), "")
        if plugin_of(f"{owner}/{owner.rpartition('/')[2]}") is None:
            kept.append(dependency)
    value = {"plugin_unique_identifier": identifier(_UNKNOWN_CHECKSUM), "version": None}
    app["dependencies"] = [*kept, {"current_identifier": None, "type": "package", "value": value}]


def main(arguments: Sequence[str]) -> None:
    """Read the file named, write the converted app on stdout and what needs a look on stderr."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts.convert_workflow", description="Make a workflow of another memory plugin one of this."
    )
    parser.add_argument("old", type=Path, help="an app as Dify exports it (.yml)")
    app = yaml.safe_load(parser.parse_args(arguments).old.read_text(encoding="utf-8"))
    notes = convert(app)
    sys.stdout.write(dumped(app))
    sys.stderr.write("".join(f"{note}\n" for note in notes))


if __name__ == "__main__":
    main(sys.argv[1:])
