"""How the demo looks: headings, calls with their milliseconds, tables of memories."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

_ID: Final = re.compile(r"\b([0-9a-f]{8})-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b")


class Terminal:
    """Writes to a rich console; whatever comes from outside is shown as it is, never read as markup."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def title(self, name: str, what: str) -> None:
        """The first line."""
        self._console.print(f"[bold]{escape(name)}[/] [dim]·[/] {escape(what)}", highlight=False)

    def note(self, text: str) -> None:
        """A remark in small print."""
        self._console.print(escape(text), style="dim", highlight=False)

    def closing(self, text: str) -> None:
        """The last words."""
        self._console.print(f"\n{escape(text)}", style="bold", highlight=False)

    def heading(self, text: str) -> None:
        """What comes next."""
        self._console.print(f"\n[bold cyan]{escape(text)}[/]", highlight=False)

    def started(self, part: str, details: str, elapsed_s: float) -> None:
        """A part that runs now."""
        self._row(f"[green]●[/] {escape(part)} [dim]{escape(details)}[/]", f"{elapsed_s:.2f} s")

    def call(self, tool: str, given: Mapping[str, Any], answer: str, elapsed_s: float) -> None:
        """A tool call: what went in, what came out, how long it took."""
        shown = ", ".join(f"{name}={_readable(value)}" for name, value in given.items())
        self._row(f"[bold]{tool}[/] [dim]{escape(shown)}[/]", f"{elapsed_s * 1000:.1f} ms")
        if answer:
            self._console.print(Text(f"  → {_with_short_ids(answer)}"), highlight=False)

    def memories(self, rows: Sequence[Mapping[str, Any]], *, scores: bool = False) -> None:
        """Search results or listed memories."""
        table = self._table(*(["score"] if scores else []), "memory", "metadata", "time (UTC)", "id")
        for row in rows:
            metadata = ", ".join(f"{name}={value}" for name, value in (row.get("metadata") or {}).items())
            cells = [row["memory"], metadata, moment(row.get("timestamp")), _with_short_ids(row["id"])]
            table.add_row(*([f"{row['score']:.2f}"] if scores else []), *(Text(str(cell)) for cell in cells))
        self._console.print(table)

    def history(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """The changes of one memory."""
        table = self._table("event", "before", "after", "time (UTC)")
        for row in rows:
            when = moment(row.get("updated_at") or row.get("created_at"))
            cells = [row["event"], row.get("old_memory") or "", row.get("new_memory") or "", when]
            table.add_row(*(Text(str(cell)) for cell in cells))
        self._console.print(table)

    def forgotten(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """The memories a dry run would delete, and why."""
        table = self._table("left", "days", "recalls", "kind", "memory")
        for row in rows:
            why = row["retention_info"]
            numbers = [f"{why['retention']:.1%}", f"{why['age_days']:.0f}", why["recall_count"]]
            table.add_row(*(Text(str(cell)) for cell in (*numbers, why["memory_subtype"] or "", row["memory"])))
        self._console.print(table)

    def _row(self, left: str, right: str) -> None:
        grid = Table.grid(expand=True, padding=(0, 1))
        grid.add_column(overflow="fold", ratio=1)
        grid.add_column(justify="right", no_wrap=True)
        grid.add_row(left, f"[yellow]{right}[/]")
        self._console.print(grid)

    @staticmethod
    def _table(*columns: str) -> Table:
        table = Table(box=None, header_style="dim italic", padding=(0, 1, 0, 2), pad_edge=True)
        for column in columns:
            table.add_column(column, no_wrap=column in {"score", "time (UTC)", "id", "event"})
        return table


def _readable(value: Any) -> str:
    return _with_short_ids(value) if isinstance(value, str) and value.startswith("{") else _with_short_ids(repr(value))


def _with_short_ids(text: str) -> str:
    """The first eight characters say enough which memory is meant."""
    return _ID.sub(r"\1…", text)


def moment(timestamp: Any) -> str:
    """An ISO 8601 time, to the second, as people read it."""
    return str(timestamp or "").replace("T", " ")[:19]
