"""How a benchmark's figures are shown: a table with the aim beside each figure, breakdowns below, and JSON."""

from __future__ import annotations

import argparse
import json
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import psutil
from rich.console import Console
from rich.table import Table

_DIGITS: Final[Mapping[str, int]] = {"ms": 2, "/s": 0, "/min": 1, "s": 2, "MiB": 0, "calls": 2, "x": 2, "%": 1}


@dataclass(frozen=True, slots=True)
class Aim:
    """The most, or the least, a figure should be."""

    limit: float
    least: bool = False

    def met_by(self, value: float) -> bool:
        """Whether ``value`` is on the right side of the limit."""
        return value >= self.limit if self.least else value <= self.limit

    def __str__(self) -> str:
        return f"{'at least' if self.least else 'at most'} {self.limit:g}"


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table. The aim is the ratio's where there is one, else the plugin's own figure's.

    Attributes:
        name: what was measured.
        unit: ``ms``, ``s``, ``/s``, ``/min``, ``MiB``, ``calls``, ``%`` or ``x`` (times).
        plugin: the plugin's figure.
        reference: what it is compared with: mem0's figure, or the plugin's own under other conditions.
        ratio: plugin to reference.
        aim: None for a figure that only gives the scale.
    """

    name: str
    unit: str
    plugin: float
    reference: float | None = None
    ratio: float | None = None
    aim: Aim | None = None

    @property
    def met(self) -> bool | None:
        """Whether the aim is met; None without one."""
        return None if self.aim is None else self.aim.met_by(self.plugin if self.ratio is None else self.ratio)


@dataclass(frozen=True, slots=True)
class Part:
    """One line of a breakdown."""

    name: str
    value: float
    unit: str


@dataclass(slots=True)
class Report:
    """Figures and breakdowns of one benchmark.

    Attributes:
        title: what was measured.
        reference: the heading of the column the plugin is compared with.
    """

    title: str
    reference: str
    figures: list[Figure] = field(default_factory=list)
    breakdowns: dict[str, Sequence[Part]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def show(self, console: Console) -> None:
        """Print everything."""
        console.print(f"\n[bold]{self.title}[/] [dim]· {machine()}[/]", highlight=False)
        console.print(self._table())
        for title, parts in self.breakdowns.items():
            console.print(f"[bold]{title}[/]", highlight=False)
            console.print(_breakdown(parts))
        for note in self.notes:
            console.print(note, style="dim", highlight=False, markup=False)

    def write(self, file: Path) -> None:
        """Write everything as JSON."""
        figures = [{**asdict(figure), "aim": str(figure.aim or ""), "met": figure.met} for figure in self.figures]
        breakdowns = {title: [asdict(part) for part in parts] for title, parts in self.breakdowns.items()}
        content: dict[str, Any] = {"title": self.title, "machine": machine(), "reference": self.reference}
        content |= {"figures": figures, "breakdowns": breakdowns, "notes": self.notes}
        file.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n")

    def _table(self) -> Table:
        table = Table(box=None, header_style="dim italic", padding=(0, 2, 0, 0))
        table.add_column("")
        for column in ("plugin", self.reference, "ratio"):
            table.add_column(column, justify="right", no_wrap=True)
        table.add_column("aim", no_wrap=True)
        table.add_column("met")
        for figure in self.figures:
            table.add_row(*_cells(figure))
        return table


def _cells(figure: Figure) -> tuple[str, ...]:
    verdict = {None: "", True: "[green]yes[/]", False: "[bold red]no[/]"}[figure.met]
    aim = "" if figure.aim is None else str(figure.aim) + ("" if figure.ratio is not None else f" {figure.unit}")
    return (
        figure.name,
        _shown(figure.plugin, figure.unit),
        "" if figure.reference is None else _shown(figure.reference, figure.unit),
        "" if figure.ratio is None else f"{figure.ratio:.2f}",
        aim,
        verdict,
    )


def _breakdown(parts: Sequence[Part]) -> Table:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 2))
    table.add_column()
    table.add_column(justify="right")
    for part in parts:
        table.add_row(part.name, _shown(part.value, part.unit))
    return table


def _shown(value: float, unit: str) -> str:
    return f"{value:,.{_DIGITS[unit]}f} {unit}"


def machine() -> str:
    """The machine, for the head of a report."""
    memory_gb = psutil.virtual_memory().total / 1e9
    return f"{platform.machine()}, {os.cpu_count()} cores, {memory_gb:.0f} GB, Python {platform.python_version()}"


def run_from_command_line[S](name: str, about: str, measure: Callable[[S], Report], usual: S, short: S) -> None:
    """Measure as the command line says, print the report, and write the JSON file if one is asked for.

    Args:
        name: the module's, as it is started.
        about: its docstring.
        measure: the whole benchmark, of a given size.
        usual, short: the sizes.
    """
    parser = argparse.ArgumentParser(prog=f"python -m {name}", description=about)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    parser.add_argument("--short", action="store_true", help="fewer rounds: a rougher answer")
    options = parser.parse_args()
    report = measure(short if options.short else usual)
    report.show(Console())
    if options.json is not None:
        report.write(options.json)
