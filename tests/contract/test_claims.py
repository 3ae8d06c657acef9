"""Each claim of README.md, CONFIG.md and PRIVACY.md has a test: the table of ``tests/README.md`` is whole, and true."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[2]
HEADING: Final = re.compile(r"^##+ (.+)$", re.MULTILINE)
TEST: Final = re.compile(r"`([\w/]+\.py)::(\w+)`")
# What tests of their own compare with the code, row by row.
GENERATED: Final = re.compile(r"<!-- providers: made by.*<!-- providers: end -->", re.DOTALL)
# What stands before the first section, and sections that promise nothing: commands, links, advice, the licence.
INTRODUCTION: Final = "Introduction"
WITHOUT_CLAIMS: Final = {
    "Try it",
    "More",
    "Licence",
    "Debugging against a running Dify",
    "Recommended choices",
    "Sizing",
    "What it does not say",
}


def headings(document: str) -> set[str]:
    text = (ROOT / f"{document}.md").read_text(encoding="utf-8")
    introduction = set() if document == "CONFIG" else {INTRODUCTION}
    return introduction | set(HEADING.findall(GENERATED.sub("", text))) - WITHOUT_CLAIMS


def claims() -> list[tuple[str, str, list[tuple[str, str]]]]:
    """Document, section and tests of every row of the table."""
    text = (ROOT / "tests/README.md").read_text(encoding="utf-8")
    table = text.partition("## What the documents claim")[2]
    rows = [line.strip("| ").split(" | ") for line in table.splitlines() if line.startswith("| ")]
    return [(document, section, TEST.findall(tests)) for document, section, _, tests in rows[1:]]


@cache
def defined_in(path: str) -> set[str]:
    tree = ast.parse((ROOT / "tests" / path).read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_every_test_that_a_claim_names_exists() -> None:
    rows = claims()
    assert len(rows) > 40
    for document, section, tests in rows:
        assert tests, f"{document}, {section}: a claim without a test"
        for path, name in tests:
            assert name.startswith("test_") and name in defined_in(path), f"{path}::{name}"


@pytest.mark.parametrize("document", ["README", "CONFIG", "PRIVACY"])
def test_every_section_has_its_claims_in_the_table(document: str) -> None:
    assert {section for of, section, _ in claims() if of == document} == headings(document)
