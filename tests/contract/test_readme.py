"""The README's tables and examples, compared with the yaml files, the code's errors and mem0's own configuration."""

from __future__ import annotations

import ast
import importlib.util
import json
import re
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from utils.config import pgvector
from utils.config.blocks import read_block
from utils.config.values import Where
from utils.mem0 import registry
from utils.mem0.packages import missing_package
from utils.stores import scores

ROOT: Final = Path(__file__).resolve().parents[2]
README: Final = (ROOT / "README.md").read_text(encoding="utf-8")
TRANSLATIONS: Final = ("readme/README_zh_Hans.md", "readme/README_ja_JP.md", "readme/README_pt_BR.md")
PROVIDER: Final = yaml.safe_load((ROOT / "provider/mem0ai.yaml").read_text(encoding="utf-8"))
TOOLS: Final = {
    Path(path).stem: yaml.safe_load((ROOT / path).read_text(encoding="utf-8")) for path in PROVIDER["tools"]
}
NONE: Final = "–"


def _table(first_heading: str) -> dict[str, list[str]]:
    """The rows of the Markdown table whose first column is headed so, by the code name in their first cell."""
    lines = README.splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith(f"| {first_heading} |"))
    rows = {}
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        cells = [cell.strip() for cell in line.strip().strip("|").split(" | ")]
        rows[cells[0].strip("| `")] = cells[1:]
    return rows


def _shown(parameter: dict[str, Any]) -> str:
    """A parameter as the README writes it: its name, and in parentheses default and range."""
    notes = []
    if "default" in parameter:
        notes.append(json.dumps(parameter["default"]))
    if {"min", "max"} <= set(parameter) and parameter["name"] not in ("timeout", "offset"):
        notes.append(f"{parameter['min']}–{parameter['max']}")
    return f"`{parameter['name']}`" + (f" ({', '.join(notes)})" if notes else "")


def test_readme_tells_every_tool_with_its_parameters() -> None:
    rows = _table("Tool")
    assert list(rows) == list(TOOLS)
    for name, tool in TOOLS.items():
        required = [f"`{entry['name']}`" for entry in tool["parameters"] if entry["required"]]
        optional = [_shown(entry) for entry in tool["parameters"] if not entry["required"]]
        assert rows[name] == [", ".join(required), ", ".join(optional)], name


def test_readme_tells_every_credential() -> None:
    rows = _table("Credential")
    expected = {
        name: [entry["type"], "yes" if entry["required"] else "no", _default(entry)]
        for name, entry in PROVIDER["credentials_for_provider"].items()
    }
    assert {name: cells[:3] for name, cells in rows.items()} == expected


def _default(entry: dict[str, Any]) -> str:
    default = entry.get("default", NONE)
    return json.dumps(default) if isinstance(default, bool) else str(default)


def test_readme_tells_every_output_variable() -> None:
    sent = {name for tool in TOOLS.values() for name in tool["output_schema"]["properties"]}
    section = README[README.index("## What comes back") : README.index("## Asynchronous mode")]
    told = {
        name for line in re.findall(r"^\| (`[^|]+) \|", section, re.MULTILINE) for name in re.findall(r"`(\w+)`", line)
    }
    assert sent <= told


def test_readme_tells_every_error_code_with_its_status() -> None:
    told = {code: cells[0] for code, cells in _table("Code").items()}
    assert told == _error_codes()


def _error_codes() -> dict[str, str]:
    """Code and status of ``PluginError`` and of every class that derives from it, wherever it stands."""
    classes: dict[str, ast.ClassDef] = {}
    for folder in ("utils", "tools", "provider"):
        for path in (ROOT / folder).rglob("*.py"):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            classes |= {node.name: node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}
    errors = [name for name in classes if _attribute(classes, name, "code") is not None and _is_error(classes, name)]
    return {str(_attribute(classes, name, "code")): str(_attribute(classes, name, "status")) for name in errors}


def _parents(node: ast.ClassDef) -> list[str]:
    return [base.id if isinstance(base, ast.Name) else getattr(base, "attr", "") for base in node.bases]


def _is_error(classes: dict[str, ast.ClassDef], name: str) -> bool:
    return name == "PluginError" or any(
        _is_error(classes, parent) for parent in _parents(classes[name]) if parent in classes
    )


def _attribute(classes: dict[str, ast.ClassDef], name: str, attribute: str) -> str | None:
    """A class attribute's literal value, own or inherited."""
    for statement in classes[name].body:
        targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
        value = getattr(statement, "value", None)
        if isinstance(value, ast.Constant) and any(isinstance(t, ast.Name) and t.id == attribute for t in targets):
            return str(value.value)
    inherited = (_attribute(classes, parent, attribute) for parent in _parents(classes[name]) if parent in classes)
    return next((value for value in inherited if value is not None), None)


def _accepted_keys(kind: registry.Kind, provider: str) -> frozenset[str]:
    """What the installed mem0 takes for this provider; for a vector store read from its source, not imported."""
    if kind == "llm":
        return registry.llm_keys(provider)
    if kind == "embedder":
        return registry.embedder_keys()
    if kind == "reranker":
        return registry.reranker_keys(provider)
    if kind == "graph":  # the plugin's own, not mem0's
        return frozenset({"url", "username", "password", "database"})
    spec = importlib.util.find_spec("mem0")
    assert spec is not None
    assert spec.submodule_search_locations
    source = Path(spec.submodule_search_locations[0], "configs", "vector_stores", f"{provider}.py")
    nodes = ast.walk(ast.parse(source.read_text(encoding="utf-8")))
    targets = (node.target for node in nodes if isinstance(node, ast.AnnAssign))
    return frozenset(target.id for target in targets if isinstance(target, ast.Name))


def _example_blocks() -> list[Any]:
    """Every JSON block of the credentials' sections, with the credential it is meant for."""
    sections: dict[registry.Kind, str] = {
        "vector_store": README[README.index("### Vector stores") : README.index("### Models")],
        "llm": README[README.index("### Models") : README.index("### Graph stores")],
        "graph": README[README.index("### Graph stores") : README.index("### Rerankers")],
        "reranker": README[README.index("### Rerankers") : README.index("## Tools")],
    }
    blocks = []
    for kind, section in sections.items():
        for intro, text in re.findall(r"^(.+)\n\n```json\n(.+)\n```", section, re.MULTILINE):
            meant_for: registry.Kind = "embedder" if intro.startswith("Embedder") else kind
            blocks.append(pytest.param(meant_for, json.loads(text), id=intro.split(" (")[0].rstrip(":")))
    return blocks


@pytest.mark.parametrize(("kind", "block"), _example_blocks())
def test_every_example_block_can_be_pasted_into_its_credential(kind: registry.Kind, block: dict[str, Any]) -> None:
    assert set(block) == {"provider", "config"}
    assert block["config"].keys() <= _accepted_keys(kind, block["provider"])
    if missing_package(kind, block["provider"]) is None:
        read_block(kind, json.dumps(block))
        if block["provider"] == "pgvector":
            pgvector.read(block["config"], Where("example"))


def test_readme_names_the_stores_whose_scores_are_no_similarities() -> None:
    section = README[README.index("## Scores") : README.index("## State store")]
    vague = [name for name, scales in scores.SCALES.items() if not all(scale.known for scale in scales.values())]
    assert [name for name in vague if f"`{name}`" not in section] == []


def test_every_json_example_is_json() -> None:
    for path in ("README.md", *TRANSLATIONS):
        text = (ROOT / path).read_text(encoding="utf-8")
        for block in re.findall(r"```json\n(.*?)\n```", text, re.DOTALL):
            json.loads(block)


def test_root_readme_is_english_without_chinese_characters() -> None:
    assert re.findall(r"[\u3040-\u30ff\u3400-\u9fff\uff00-\uffef]", README) == []


@pytest.mark.parametrize("path", TRANSLATIONS)
def test_translated_readme_tells_the_same_tools_and_credentials(path: str) -> None:
    lines = (ROOT / path).read_text(encoding="utf-8").splitlines()
    # Nothing in a tool's row needs translating; of a credential's row its name, type and default do not.
    tools = [line for line in README.splitlines() if line.startswith(tuple(f"| `{name}` | `" for name in TOOLS))]
    assert len(tools) == len(TOOLS)
    assert [line for line in tools if line not in lines] == []
    cells = [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in lines]
    told = {tuple(row[:2] + row[3:4]) for row in cells}
    wanted = {
        (f"`{name}`", entry["type"], _default(entry)) for name, entry in PROVIDER["credentials_for_provider"].items()
    }
    assert wanted - told == set()


def test_links_to_files_of_the_project_lead_somewhere() -> None:
    for path in ("README.md", "CONTRIBUTING.md", "PRIVACY.md", *TRANSLATIONS):
        folder = (ROOT / path).parent
        for target in re.findall(r"\]\((?!https?://|#)([^)#]+)", (ROOT / path).read_text(encoding="utf-8")):
            assert (folder / target).resolve().is_file(), (path, target)


def test_links_to_sections_lead_somewhere() -> None:
    sections = {
        re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-") for title in re.findall(r"^#+ (.+)$", README, re.M)
    }
    assert set(re.findall(r"\]\(#([^)]+)\)", README)) <= sections
