"""How the demo looks: headings, calls with their milliseconds, tables of memories.

Colours are ones that can be read on a dark and on a light background, whatever a terminal makes of their names: yellow
and cyan cannot on white, blue cannot on black.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table
from rich.terminal_theme import TerminalTheme
from rich.text import Text

_ID: Final = re.compile(r"\b([0-9a-f]{8})-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b")
_BAR_CELLS: Final = 20
_INDENTED: Final = (0, 0, 0, 2)
# Of a recording: background, text, and the eight colours of terminals; rich's own theme makes headings hard to read.
RECORDED: Final = TerminalTheme(
    (13, 17, 23),
    (230, 237, 243),
    [
        *((72, 79, 88), (255, 123, 114), (63, 185, 80), (210, 153, 34)),
        *((88, 166, 255), (188, 140, 255), (57, 197, 207), (177, 186, 196)),
    ],
)


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
        self._console.print(f"\n[bold magenta]{escape(text)}[/]", highlight=False)

    def started(self, part: str, details: str, elapsed_s: float) -> None:
        """A part that runs now."""
        self._row(f"[green]●[/] {escape(part)} [dim]{escape(details)}[/]", f"{elapsed_s:.2f} s")

    def call(self, tool: str, given: Mapping[str, Any], answer: str, elapsed_s: float) -> None:
        """A tool call: what went in, what came out, how long it took."""
        shown = ", ".join(f"{name}={_readable(value)}" for name, value in given.items())
        self._row(f"[bold]{tool}[/] [dim]{escape(shown)}[/]", f"{elapsed_s * 1000:.1f} ms")
        if answer:
            self._console.print(Padding(Text(f"→ {_with_short_ids(answer)}"), _INDENTED), highlight=False)

    def memories(self, rows: Sequence[Mapping[str, Any]], *, scores: bool = False) -> None:
        """Search results or listed memories."""
        table = self._table(*(["score"] if scores else []), "memory", "metadata", "time (UTC)", "id")
        for row in rows:
            metadata = ", ".join(f"{name}={value}" for name, value in (row.get("metadata") or {}).items())
            cells = [row["memory"], metadata, moment(row.get("timestamp")), _with_short_ids(row["id"])]
            table.add_row(*([f"{row['score']:.2f}"] if scores else []), *(Text(str(cell)) for cell in cells))
        self._console.print(table)

    def relations(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """What a search found in the graph."""
        table = self._table("source", "relation", "destination", "memory")
        for row in rows:
            cells = (row["source"], row["relation"], row["destination"], row["memory"] or "")
            table.add_row(*(Text(str(cell)) for cell in cells))
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

    @contextmanager
    def progress(self) -> Iterator[Callable[[float, str], None]]:
        """A bar that grows in place: the block calls what it is given with the share done (0 to 1) and a remark.

        A file or a recording keeps the last state only.
        """
        last = Text()
        # A recording would keep every state of a live line, one below the other.
        grows = self._console.is_terminal and not self._console.record
        live = Live(console=self._console, auto_refresh=False) if grows else None

        def show(share: float, remark: str) -> None:
            nonlocal last
            full = int(share * _BAR_CELLS)
            bar = ("█" * full, "green"), ("░" * (_BAR_CELLS - full), "dim")
            last = Text.assemble("  ", *bar, f" {share:4.0%}  ", (remark, "dim"), overflow="ellipsis", no_wrap=True)
            if live is not None:
                live.update(last, refresh=True)

        if live is None:
            yield show
            self._console.print(last)
        else:
            with live:
                yield show

    def extracted(self, users: Sequence[Mapping[str, Any]]) -> None:
        """The users of an extraction's report."""
        table = self._table("user", "conversations", "messages", "calls", "semantic", "episodic", "procedural")
        for user in users:
            counts, written = user["counts"], user["written_memories"]
            numbers = [counts[f"processed_{what}"] for what in ("conversations", "messages")] + [counts["llm_calls"]]
            written_by_type = [written[kind] for kind in ("semantic", "episodic", "procedural")]
            table.add_row(*(Text(str(cell)) for cell in (user["user_id"], *numbers, *written_by_type)))
        self._console.print(table)

    def remembered(self, by_user: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
        """What an extraction has left of each user's conversations."""
        table = self._table("user", "memory", "type")
        for user, memories in by_user.items():
            for row in memories:
                kind = (row["metadata"] or {}).get("memory_subtype", "")
                table.add_row(*(Text(str(cell)) for cell in (user, row["memory"], kind)))
        self._console.print(table)

    def _row(self, left: str, right: str) -> None:
        grid = Table.grid(expand=True, padding=(0, 1))
        grid.add_column(overflow="fold", ratio=1)
        grid.add_column(justify="right", no_wrap=True)
        grid.add_row(left, right)
        self._console.print(grid)

    @staticmethod
    def _table(*columns: str) -> Table:
        table = Table(box=None, header_style="dim italic", padding=(0, 1, 0, 2), pad_edge=True)
        for column in columns:
            table.add_column(
                column, overflow="fold", no_wrap=column in {"score", "time (UTC)", "id", "event", "user", "type"}
            )
        return table


def _readable(value: Any) -> str:
    return _with_short_ids(value) if isinstance(value, str) and value.startswith("{") else _with_short_ids(repr(value))


def _with_short_ids(text: str) -> str:
    """The first eight characters say enough which memory is meant."""
    return _ID.sub(r"\1…", text)


def shown_path(path: Path) -> str:
    """A path as short as it can be said from here."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def moment(timestamp: Any) -> str:
    """An ISO 8601 time, to the second, as people read it."""
    return str(timestamp or "").replace("T", " ")[:19]
