"""``requirements.txt`` names what the plugin's own code imports, also what would come with other packages, and no more.

A package that is only there because another one needs it today is gone with that one's next version.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKED = ("main.py", "provider", "tools", "utils")
# Whoever uses FAISS or a store that speaks gRPC installs its package (``utils/mem0/packages.py``); only what serves
# that one imports it.
WITH_A_STORE = {"faiss", "grpc", "numpy", "opensearchpy", "pymilvus", "redis", "valkey"}


def imported() -> set[str]:
    """The top-level names of other people's modules that the packed code imports, also where a function does."""
    files = [
        file for name in PACKED for file in ([ROOT / name] if name.endswith(".py") else (ROOT / name).rglob("*.py"))
    ]
    names = {name.partition(".")[0] for file in files for name in _imports(ast.parse(file.read_text(encoding="utf-8")))}
    return names - sys.stdlib_module_names - {Path(name).stem for name in PACKED}


def _imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.module
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            yield from (str(arg.value) for arg in node.args[:1] if isinstance(arg, ast.Constant))


def required() -> set[str]:
    """The distributions that ``requirements.txt`` names, those it names as extras included; normalised names."""
    found = set()
    for line in (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines():
        if named := re.match(r"([A-Za-z0-9._-]+)(\[([a-z,]+)\])?", line):
            extras = named[3].split(",") if named[3] else []
            found |= {_normal(named[1]), *(_normal(f"{named[1]}-{extra}") for extra in extras)}
    return found


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_every_import_is_required_and_every_requirement_imported() -> None:
    distributions = metadata.packages_distributions()
    needed = {_normal(distributions[name][0]) for name in imported() - WITH_A_STORE}
    assert needed - required() == set(), "imported, but not required"
    # psycopg's own C parts, and what mem0's classes for Ollama import.
    assert required() - needed == {"psycopg-binary", "ollama"}, "required, but not imported"


def test_every_requirement_says_what_it_is_for() -> None:
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if not re.search(r"#\s*\S", line)] == []
