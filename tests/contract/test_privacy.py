"""PRIVACY.md tells every table and every column of the state store, each once."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Final

from utils.queue import worker
from utils.state import tables

PRIVACY: Final = (Path(__file__).resolve().parents[2] / "PRIVACY.md").read_text(encoding="utf-8")


def told() -> Counter[tuple[str, str]]:
    """The columns PRIVACY.md names, as (table, column)."""
    start = PRIVACY.index("| Table | Columns |")
    found: Counter[tuple[str, str]] = Counter()
    for line in PRIVACY[start:].splitlines()[2:]:
        if not line.startswith("|"):
            break
        table, columns = line.strip("| ").split(" | ")[:2]
        found.update((table.strip("`"), name) for name in re.findall(r"`(\w+)`", columns))
    return found


def test_every_table_and_column_is_told_once() -> None:
    there = Counter((table.name, column.name) for table in tables.metadata.sorted_tables for column in table.columns)
    assert told() == there


def test_the_times_told_are_those_of_the_code() -> None:
    assert f"| the row of a done write, without its text | {worker._KEEP_ENDED_S / 86_400:g} days |" in PRIVACY
    assert worker._KEEP_WORKERS_S == 86_400 and "a day after it was last seen" in PRIVACY
