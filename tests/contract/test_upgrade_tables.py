"""The tables of CONFIG.md for people who come from an earlier plugin: what they name is there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import yaml

from utils.config.settings import form_name
from utils.mem0.registry import FORM_NAMES

ROOT: Final = Path(__file__).resolve().parents[2]
PROVIDER: Final = yaml.safe_load((ROOT / "provider/mem0ai.yaml").read_text("utf-8"))
TOOLS: Final = {Path(path).stem: yaml.safe_load((ROOT / path).read_text("utf-8")) for path in PROVIDER["tools"]}
NAMED: Final = re.compile(r"`(\w+)`")


def table(heading: str) -> list[list[str]]:
    """The rows of the table whose first column is headed so."""
    text = (ROOT / "CONFIG.md").read_text("utf-8").partition(f"| {heading} before |")[2].partition("\n\n")[0]
    return [line.strip("| ").split(" | ") for line in text.splitlines()[2:]]


def test_what_things_are_called_now_is_there() -> None:
    credentials = set(PROVIDER["credentials_for_provider"])
    said = [(NAMED.findall(row[0]), row[1]) for row in table("Credential")]
    same = {name for names, now in said if now == "the same" for name in names}
    older = {name for names, now in said if now.startswith("the same with") for name in names}
    assert same < credentials
    assert older == {name.removesuffix("_secret") for name in FORM_NAMES.values()}
    assert credentials - same == {"state_db_url", "language"}
    tools = [(NAMED.findall(row[0]), row[1]) for row in table("Tool")]
    assert set(tools[0][0]) == set(TOOLS)
    assert {name for _, now in tools[1:] for name in NAMED.findall(now)} == {"add_memory", "search_memory", "threshold"}


def test_the_older_names_are_read() -> None:
    for kind, name in FORM_NAMES.items():
        older = name.removesuffix("_secret")
        assert form_name(kind, {older: "{}"}) == older
        assert form_name(kind, {older: "{}", name: "{}"}) == name


def test_the_fields_of_results_are_declared() -> None:
    text = "\n".join(" ".join(row) for row in table("Output"))
    shown = str(TOOLS["search_memory"]["output_schema"]) + str(TOOLS["get_all_memories"]["output_schema"])
    for field in ("vector_distance", "rerank_score", "keyword_score", "user_id", "agent_id", "timestamp", "created_at"):
        assert f"`{field}`" in text and field in shown
