"""The tables and examples of README.md, its translations and CONFIG.md: what the yaml files and the code say.

CONFIG.md has every tool, credential, output and error code; README.md has the short of it, in four languages.
"""

from __future__ import annotations

import ast
import importlib.util
import json
import os
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
CONFIG: Final = (ROOT / "CONFIG.md").read_text(encoding="utf-8")
TRANSLATIONS: Final = ("readme/README_zh_Hans.md", "readme/README_ja_JP.md", "readme/README_pt_BR.md")
PROVIDER: Final = yaml.safe_load((ROOT / "provider/mem0ai.yaml").read_text(encoding="utf-8"))
TOOLS: Final = {
    Path(path).stem: yaml.safe_load((ROOT / path).read_text(encoding="utf-8")) for path in PROVIDER["tools"]
}
NONE: Final = "–"
MOST_WORDS: Final = 650  # about 500 of prose, and the names in its tables


def _table(first_heading: str) -> dict[str, list[str]]:
    """The rows of the Markdown table whose first column is headed so, by the code name in their first cell."""
    lines = CONFIG.splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith(f"| {first_heading} |"))
    rows = {}
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        cells = [cell.strip() for cell in line.strip().strip("|").split(" | ")]
        rows[cells[0].strip("| `")] = cells[1:]
    return rows


def _section(title: str) -> str:
    """What stands in CONFIG.md below this heading, up to the next one of any level."""
    found = re.search(rf"^##+ {re.escape(title)}\n(.*?)(?=^##+ |\Z)", CONFIG, re.MULTILINE | re.DOTALL)
    assert found, title
    return found[1]


def _shown(parameter: dict[str, Any]) -> str:
    """A parameter as CONFIG.md writes it: its name, and in parentheses default and range."""
    notes = []
    if "default" in parameter:
        notes.append(json.dumps(parameter["default"]))
    if {"min", "max"} <= set(parameter) and parameter["name"] not in ("timeout", "offset"):
        notes.append(f"{parameter['min']}–{parameter['max']}")
    return f"`{parameter['name']}`" + (f" ({', '.join(notes)})" if notes else "")


def test_config_tells_every_tool_with_its_parameters() -> None:
    rows = _table("Tool")
    assert list(rows) == list(TOOLS)
    for name, tool in TOOLS.items():
        required = [f"`{entry['name']}`" for entry in tool["parameters"] if entry["required"]]
        optional = [_shown(entry) for entry in tool["parameters"] if not entry["required"]]
        assert rows[name] == [", ".join(required), ", ".join(optional)], name


def test_config_tells_every_credential() -> None:
    rows = _table("Credential")
    expected = {
        name: [entry["type"], "yes" if entry["required"] else "no", _default(entry)]
        for name, entry in PROVIDER["credentials_for_provider"].items()
    }
    assert {name: cells[:3] for name, cells in rows.items()} == expected


def _default(entry: dict[str, Any]) -> str:
    default = entry.get("default", NONE)
    return json.dumps(default) if isinstance(default, bool) else str(default)


def test_config_tells_every_output_variable() -> None:
    sent = {name for tool in TOOLS.values() for name in tool["output_schema"]["properties"]}
    section = _section("What comes back")
    told = {
        name for line in re.findall(r"^\| (`[^|]+) \|", section, re.MULTILINE) for name in re.findall(r"`(\w+)`", line)
    }
    assert sent <= told


def test_config_tells_every_error_code_with_its_status() -> None:
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
        "vector_store": _section("Vector stores"),
        "llm": _section("Models"),
        "graph": _section("Graph memory"),
        "reranker": _section("Reranking"),
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


def test_config_names_the_stores_whose_scores_are_no_similarities() -> None:
    section = _section("Scores and order")
    vague = [name for name, scales in scores.SCALES.items() if not all(scale.known for scale in scales.values())]
    assert [name for name in vague if f"`{name}`" not in section] == []


def test_readme_tells_every_tool() -> None:
    told = re.findall(r"^\| `(\w+)` \|", README, re.MULTILINE)
    assert told == list(TOOLS)


def _readmes_blocks() -> list[Any]:
    """Each JSON block of README.md, with the credential that the line before it names."""
    kinds = {name: kind for kind, name in registry.FORM_NAMES.items()}
    blocks = re.findall(r"^`(\w+)`.*\n\n```json\n(.+)\n```", README, re.MULTILINE)
    return [pytest.param(kinds[name], json.loads(text), id=name) for name, text in blocks]


@pytest.mark.parametrize(("kind", "block"), _readmes_blocks())
def test_every_block_of_the_readme_can_be_pasted_into_its_credential(
    kind: registry.Kind, block: dict[str, Any]
) -> None:
    read_block(kind, json.dumps(block))
    if block["provider"] == "pgvector":
        pgvector.read(block["config"], Where("example"))


def test_readme_tells_all_five_blocks() -> None:
    section = README[README.index("## Credentials") : README.index("## Tools")]
    assert [name for name in registry.FORM_NAMES.values() if f"`{name}`" not in section] == []


def test_readme_is_short() -> None:
    prose = re.sub(r"```.*?```|\]\([^)]*\)", "", README, flags=re.DOTALL)
    assert len(re.findall(r"\b[a-z]\w+", prose, re.IGNORECASE)) <= MOST_WORDS


def test_root_readme_is_english_without_chinese_characters() -> None:
    assert re.findall(r"[\u3040-\u30ff\u3400-\u9fff\uff00-\uffef]", README) == []


def _shape(document: str, folder: str) -> dict[str, list[Any]]:
    """What a translation has in common with its original; links as seen from the project's root."""
    targets = re.findall(r"\]\(([^)]+)\)", document)
    paths = [os.path.normpath(os.path.join(folder, one)) if "://" not in one else one for one in targets]
    return {
        "levels of headings": [len(marks) for marks in re.findall(r"^(#+) ", document, re.MULTILINE)],
        "links and pictures": sorted(paths),
        "code": re.findall(r"```.*?```", document, re.DOTALL),
        "rows of tables": re.findall(r"^\| (`\w+`|[-|]+) ?\|", document, re.MULTILINE),
        "numbered steps": re.findall(r"^\d+\. ", document, re.MULTILINE),
        "names in code": sorted(re.findall(r"(?<!`)`([^`\n]+)`(?!`)", document)),
    }


@pytest.mark.parametrize("path", TRANSLATIONS)
def test_a_translated_readme_is_built_like_the_english_one(path: str) -> None:
    languages = {f"readme/{Path(one).name}" for one in TRANSLATIONS}
    translated = _shape((ROOT / path).read_text(encoding="utf-8"), "readme")
    original = _shape(README, ".")
    for shape in (original, translated):  # each links to the other three
        links = shape["links and pictures"]
        shape["links and pictures"] = [one for one in links if one not in languages | {"README.md"}]
    assert translated == original
