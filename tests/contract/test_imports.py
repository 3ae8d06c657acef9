"""The rooms of ``utils/``: imports point one way, from the frame down to the errors, and never in a circle.

An import counts wherever it stands: in a function, and below ``TYPE_CHECKING``, too. A type that is only named is
something the reader has to know all the same.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[2]
# From top to bottom; a room imports from itself and from what stands below it. CONTRIBUTING.md draws them.
ROOMS: Final = (
    "tools",
    "provider",
    "utils.tool_base",
    "utils.answer_size",
    "utils.task_answers",
    "utils.results",
    "utils.params",
    "utils.runtime",
    "utils.legacy",
    "utils.extraction",
    "utils.forgetting",
    "utils.memory",
    "utils.graph",
    "utils.queue",
    "utils.state",
    "utils.stores",
    "utils.models",
    "utils.config",
    "utils.mem0",
    "utils.aio",
    "utils.log",
    "utils.errors",
    "utils.messages",
    "utils.text",
)


def modules() -> dict[str, Path]:
    """Every module of the plugin, by name."""
    found = {}
    for folder in ("tools", "provider", "utils"):
        for path in (ROOT / folder).rglob("*.py"):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES: Final = modules()


def imported(name: str) -> Iterator[str]:
    """The plugin's own modules that a module imports."""
    for node in ast.walk(ast.parse(MODULES[name].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in MODULES)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                if inner in MODULES or node.module in MODULES:
                    yield inner if inner in MODULES else node.module


def room(name: str) -> str | None:
    return next((each for each in ROOMS if name == each or name.startswith(f"{each}.")), None)


def test_every_module_has_a_room() -> None:
    assert [name for name in MODULES if room(name) is None and name != "utils"] == []


@pytest.mark.parametrize("name", sorted(name for name in MODULES if name != "utils"))
def test_nothing_imports_what_stands_above_it(name: str) -> None:
    mine = ROOMS.index(room(name) or "")
    above = [other for other in imported(name) if other != "utils" and ROOMS.index(room(other) or "") < mine]
    assert above == []


def test_no_module_imports_itself_by_a_detour() -> None:
    graph = {name: set(imported(name)) - {name} for name in MODULES}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as exc:
        pytest.fail(f"imports in a circle: {' -> '.join(exc.args[1])}")
