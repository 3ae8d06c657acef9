"""The history of memories: what each was, what it became, and when. It outlives the memory unless a purge is asked for.

Entries are recorded in the transaction that finishes their write (for a ``delete_all``: batch by batch, before each
batch is deleted); the unique key (write, memory) makes recording an entry again harmless.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields
from typing import Any, Final

from sqlalchemy import Column, Connection, delete, func, select
from sqlalchemy.dialects import postgresql, sqlite

from utils.state.tables import history

_COLUMNS: Final[tuple[Column[Any], ...]] = (
    history.c.memory_id,
    history.c.event,
    history.c.old_memory,
    history.c.new_memory,
    history.c.created_at,
    history.c.updated_at,
    history.c.is_deleted,
    history.c.agent_id,
    history.c.reason,
)


@dataclass(frozen=True, slots=True)
class Entry:
    """One change of one memory; times are ISO 8601 in UTC. ``reason`` says why it was deleted, where it was not asked
    for by its id: ``delete_all`` or ``forgotten``.
    """

    memory_id: str
    event: str
    old_memory: str | None
    new_memory: str | None
    created_at: str
    updated_at: str
    is_deleted: bool
    agent_id: str | None = None
    reason: str | None = None


_once: Final = ["write_id", "memory_id"]
_record_postgresql: Final = postgresql.insert(history).on_conflict_do_nothing(index_elements=_once)
_record_sqlite: Final = sqlite.insert(history).on_conflict_do_nothing(index_elements=_once)


def record(conn: Connection, scope: str, user_id: str, write_id: str, entries: Sequence[Entry]) -> None:
    """Add ``entries``; the ones this write has recorded before are left as they are."""
    if not entries:
        return
    rows = [{"scope": scope, "user_id": user_id, "write_id": write_id, **_fields(entry)} for entry in entries]
    conn.execute(_record_postgresql if conn.dialect.name == "postgresql" else _record_sqlite, rows)


def _fields(entry: Entry) -> dict[str, object]:
    return {field.name: getattr(entry, field.name) for field in fields(entry)}


def of_memory(
    conn: Connection,
    scope: str,
    memory_id: str,
    user_id: str | None = None,
    agent_id: str | None = None,
    *,
    limit: int,
    offset: int = 0,
) -> tuple[list[Entry], int]:
    """One page of what is recorded of a memory, oldest first, and how many entries there are in all. Another user's
    memory has none for ``user_id``, another agent's none for ``agent_id``.
    """
    wanted = [history.c.scope == scope, history.c.memory_id == memory_id]
    if user_id is not None:
        wanted.append(history.c.user_id == user_id)
    if agent_id is not None:
        wanted.append(history.c.agent_id == agent_id)
    total = conn.execute(select(func.count()).select_from(history).where(*wanted)).scalar_one()
    page = select(*_COLUMNS).where(*wanted).order_by(history.c.seq).limit(limit).offset(offset)
    return [Entry(*row) for row in conn.execute(page)], total


def of_write(conn: Connection, write_id: str) -> list[Entry]:
    """What one write changed, in the order it was planned."""
    rows = conn.execute(select(*_COLUMNS).where(history.c.write_id == write_id).order_by(history.c.seq))
    return [Entry(*row) for row in rows]


def deleted_by(conn: Connection, write_id: str, memory_ids: Collection[str]) -> set[str]:
    """Those of ``memory_ids`` that are recorded as deleted by one write."""
    of_write = (history.c.write_id == write_id, history.c.is_deleted.is_(True))
    found = select(history.c.memory_id).where(*of_write, history.c.memory_id.in_(memory_ids))
    return set(conn.execute(found).scalars())


def count_of_write(conn: Connection, write_id: str) -> int:
    """How many memories one write changed."""
    return conn.execute(select(func.count()).where(history.c.write_id == write_id)).scalar_one()


def purge(conn: Connection, scope: str, user_id: str, agent_id: str | None) -> int:
    """Delete every entry of the user's memories (of one agent's, if given); how many there were."""
    gone = delete(history).where(history.c.scope == scope, history.c.user_id == user_id)
    if agent_id is not None:
        gone = gone.where(history.c.agent_id == agent_id)
    return conn.execute(gone).rowcount
