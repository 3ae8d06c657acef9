"""What the operations of a memory come back with, before the tools shape it for a workflow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from utils.memory.recall import Hit
    from utils.state.history import Entry
    from utils.stores.protocol import Row


@dataclass(frozen=True, slots=True)
class Backlog:
    """A user's writes that are not in the store: still to be carried out, and failed for good."""

    pending: int
    failed: int


@dataclass(frozen=True, slots=True)
class Found:
    """Search results, with the user's backlog."""

    hits: list[Hit]
    backlog: Backlog


@dataclass(frozen=True, slots=True)
class Page:
    """One page of memories, how many there are in all, and the user's backlog."""

    rows: list[Row]
    total: int
    backlog: Backlog


@dataclass(frozen=True, slots=True)
class Accepted:
    """A durably recorded write."""

    write_id: str


@dataclass(frozen=True, slots=True)
class Done:
    """A write that was carried out while the caller waited: its changes, and how many memories they concern."""

    write_id: str
    entries: list[Entry]
    count: int
