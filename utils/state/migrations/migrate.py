"""Bringing a state store to the schema this version of the plugin expects.

A new store gets today's tables at once; an older one gets the steps it lacks, in order, forward only, in one
transaction under a lock (PostgreSQL: an advisory lock; SQLite: the write transaction itself), so that processes
starting together do it once. A store made by a newer plugin is refused rather than guessed at.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from sqlalchemy import Connection, inspect, select, text, update

from utils.errors import ServiceRejected
from utils.state import tables
from utils.state.migrations import step_2_workers, step_3_tasks, step_4_recalls, step_5_imports

# The step that turns a store of version n+1 into one of version n+2 stands at place n. A released step never changes.
STEPS: Final[tuple[Callable[[Connection], None], ...]] = (
    step_2_workers.upgrade,
    step_3_tasks.upgrade,
    step_4_recalls.upgrade,
    step_5_imports.upgrade,
)
VERSION: Final = 1 + len(STEPS)

_ADVISORY_LOCK: Final = 0x6D656D30  # "mem0": any number will do, as long as nobody changes it


def migrate(conn: Connection) -> None:
    """Make the store ``conn`` is connected to fit :data:`VERSION`; cheap when it already does.

    Raises:
        ServiceRejected: the store was written by a newer version of the plugin.
    """
    if _version(conn) == VERSION:
        return
    if conn.dialect.name == "postgresql":
        _prepare_postgresql(conn)
    found = _version(conn)  # again: another process may have been faster
    if found > VERSION:
        raise ServiceRejected("state_newer", part="state_store", reason=f"schema {found}", found=found, known=VERSION)
    if found == 0:
        tables.metadata.create_all(conn)
        conn.execute(tables.schema_version.insert().values(version=VERSION))
        return
    for step in STEPS[found - 1 :]:
        step(conn)
    conn.execute(update(tables.schema_version).values(version=VERSION))


def _prepare_postgresql(conn: Connection) -> None:
    """Take the lock, and make the schema if nobody has."""
    conn.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})
    # Look first: CREATE SCHEMA IF NOT EXISTS asks for the right to create even where the schema is there.
    if not inspect(conn).has_schema(tables.SCHEMA):
        conn.execute(text(f"CREATE SCHEMA {tables.SCHEMA}"))


def _version(conn: Connection) -> int:
    schema = tables.SCHEMA if conn.dialect.name == "postgresql" else None
    if not inspect(conn).has_table(tables.schema_version.name, schema=schema):
        return 0
    version: int = conn.execute(select(tables.schema_version.c.version)).scalar_one()
    return version
