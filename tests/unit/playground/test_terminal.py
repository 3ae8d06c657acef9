"""What the demo prints can be read: nothing is cut in a narrow terminal, and no colour vanishes on a light one."""

from __future__ import annotations

import io
import re
from typing import Any, Final

import pytest
from rich.console import Console

from playground.terminal import Terminal

MEMORY: Final[dict[str, Any]] = {
    "memory": "First I grind the coffee beans, then I pour the water slowly",
    "metadata": {"memory_subtype": "procedural"},
    "timestamp": "2026-11-24T20:42:41+00:00",
    "id": "262c3ab0-1111-4111-8111-111111111111",
    "score": 0.951,
}
UNREADABLE: Final = {"33", "36", "93", "96", "34", "37"}  # yellow and cyan on white, blue on black, white on white


def shown(width: int, *, colours: bool = False) -> str:
    screen = io.StringIO()
    terminal = Terminal(
        Console(file=screen, width=width, force_terminal=colours, color_system="standard" if colours else None)
    )
    terminal.title("Mem0 for Dify", "a title")
    terminal.heading("A heading")
    terminal.started("PostgreSQL", "a detail", 1.234)
    terminal.call(
        "search_memory", {"query": "Where do I live?"}, "A sentence as long as those that the tools say, " * 3, 0.1
    )
    terminal.memories([MEMORY], scores=True)
    with terminal.progress() as show:
        show(0.5, "half")
    return screen.getvalue()


@pytest.mark.parametrize("width", [80, 108, 120])
def test_nothing_is_cut_and_no_line_is_longer_than_the_terminal(width: int) -> None:
    lines = shown(width).splitlines()
    assert max(len(line) for line in lines) <= width
    words = re.sub(r"\s+", "", "".join(lines))
    assert "memory_subtype=procedural" in words or width == 80
    assert "262c3ab0…" in words and "0.95" in words and "2026-11-24" in words
    assert words.count("…") == 1  # the id's, which is short on purpose


def test_an_answer_stays_indented_where_it_wraps() -> None:
    answered = [line for line in shown(80).splitlines() if "sentence" in line or "tools say" in line]
    assert len(answered) > 1 and all(line.startswith("  ") for line in answered)


def test_colours_can_be_read_on_dark_and_on_light() -> None:
    codes = {code for found in re.findall(r"\x1b\[([\d;]+)m", shown(80, colours=True)) for code in found.split(";")}
    assert codes & {"35", "32"} and not codes & UNREADABLE
