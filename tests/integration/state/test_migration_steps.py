"""A state store of each earlier version, with rows in every table it had: all are there afterwards, and work."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import psycopg
import pytest
import sqlalchemy as sa

from utils.config.state_location import PostgresLocation, SqliteLocation
from utils.state import checkpoints, history, queues, recalls, scopes, tables, tasks, workers, writes
from utils.state.engine import StateStore
from utils.state.migrations.migrate import STEPS, VERSION
from utils.state.recalls import Folded

HERE = Path(__file__).parent
SCOPE: Final = "store-1"
# What processes of a version wrote into what was new in it; that of version 1 stands in its SQL file.
ROWS: Final = {
    1: "",
    2: """
INSERT INTO {schema}write_queues (scope, user_id, token, due_at, waiting_since)
    VALUES ('store-1', 'cara', 3, 1760000000, 1760000000);
INSERT INTO {schema}writes (id, scope, user_id, kind, fingerprint, accepted_by, status, payload, version, waited_for,
    next_attempt_at, created_at)
    VALUES ('w-21', 'store-1', 'cara', 'add', 'fingerprint-2', 'process-2', 'pending', '{"user": "I like cake"}', 1,
    false, 1, 1760000000);
INSERT INTO {schema}writes (id, scope, user_id, kind, fingerprint, accepted_by, status, parked, payload, version,
    waited_for, next_attempt_at, error_code, error, created_at, finished_at)
    VALUES ('w-22', 'store-1', 'cara', 'add', 'fingerprint-2', 'process-2', 'failed', true, '{"user": "I like milk"}',
    1, false, 1, 'service_refused', '401', 1760000000, 1760000001);
INSERT INTO {schema}history (scope, user_id, memory_id, write_id, event, old_memory, created_at, updated_at, is_deleted,
    reason)
    VALUES ('store-1', 'cara', 'm-2', 'w-20', 'DELETE', 'likes tea', '2025-10-09', '2025-10-10', true, 'delete_all');
INSERT INTO {schema}workers (id, fingerprint, scope, seen_at)
    VALUES ('process-2', 'fingerprint-2', 'store-1', 1760000000);
INSERT INTO {schema}scopes (address, scope) VALUES ('address-1', 'store-1')
""",
    3: """
INSERT INTO {schema}leases (scope, user_id, app_id, owner, token, lease_expires_at)
    VALUES ('store-1', 'cara', 'app', 'extract_000000000001', 5, 1760000000);
INSERT INTO {schema}checkpoints (scope, user_id, app_id, state, updated_at)
    VALUES ('store-1', 'cara', 'app', '{"wanted": []}', 1760000000);
INSERT INTO {schema}checkpoint_conversations (scope, user_id, app_id, conversation_id, state, updated_at)
    VALUES ('store-1', 'cara', 'app', 'c-1', '{"v": 1}', 1760000000);
INSERT INTO {schema}tasks (id, scope, kind, fingerprint, run_id, status, request, token, ends_at, created_at,
    updated_at, finished_at)
    VALUES ('extract_000000000001', 'store-1', 'extract', 'fingerprint-2', 'nightly', 'completed', '{}', 5, 1760003600,
    1760000000, 1760000100, 1760000100);
INSERT INTO {schema}task_users (task_id, place, user_id, status, processed_messages, semantic, notes)
    VALUES ('extract_000000000001', 0, 'cara', 'completed', 7, 2, '{"errors": [], "warnings": []}')
""",
    4: """
INSERT INTO {schema}recalls (scope, user_id, memory_id, agent_id, quality_ema, recall_count, last_recalled_at)
    VALUES ('store-1', 'cara', 'm-2', 'app', 0.7, 2, 1760000000)
""",
}


@contextmanager
def connected(location: PostgresLocation | SqliteLocation) -> Iterator[sa.Connection]:
    """A connection of the test's own, in a transaction that is committed."""
    if isinstance(location, PostgresLocation):
        conninfo = location.conninfo
        engine = sa.create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(conninfo))
    else:
        location.path.parent.mkdir(parents=True, exist_ok=True)
        engine = sa.create_engine(f"sqlite:///{location.path}")
    with engine.begin() as conn:
        yield conn
    engine.dispose()


def schema(conn: sa.Connection) -> str:
    return f"{tables.SCHEMA}." if conn.dialect.name == "postgresql" else ""


def make(conn: sa.Connection, version: int) -> None:
    """A store of ``version``, made by the steps that led to it, in each of which something was written."""
    raw: Any = conn.connection.driver_connection
    if conn.dialect.name == "postgresql":
        raw.execute((HERE / "version_1.postgresql.sql").read_bytes())
    else:
        raw.executescript((HERE / "version_1.sqlite.sql").read_text())
    for number in range(1, version + 1):
        if number > 1:
            STEPS[number - 2](conn)
        for statement in filter(str.strip, ROWS[number].split(";\n")):
            conn.exec_driver_sql(statement.replace("{schema}", schema(conn)))
    conn.exec_driver_sql(f"UPDATE {schema(conn)}schema_version SET version = {version}")


def contents(conn: sa.Connection) -> dict[str, list[dict[str, Any]]]:
    """Every row of every table."""
    names = sa.inspect(conn).get_table_names(schema=tables.SCHEMA if schema(conn) else None)
    return {
        name: [
            dict(row) for row in conn.exec_driver_sql(f"SELECT * FROM {schema(conn)}{name} ORDER BY 1, 2").mappings()
        ]
        for name in names
        if name != "schema_version"
    }


@pytest.mark.parametrize("version", range(1, VERSION))
async def test_every_row_of_an_earlier_version_is_there_and_works(
    location: PostgresLocation | SqliteLocation, version: int
) -> None:
    with connected(location) as conn:
        make(conn, version)
        before = contents(conn)
    assert all(before.values()), "a table without a row shows nothing"
    state = StateStore(location)
    await state.open()
    with connected(location) as conn:
        after = contents(conn)
    for name, rows in before.items():
        left = [{key: row[key] for key in old if key in row} for old, row in zip(rows, after[name], strict=True)]
        gone = {"fingerprint"} if name == "write_queues" else set()
        assert left == [{key: value for key, value in row.items() if key in left[0]} for row in rows]
        assert rows[0].keys() - left[0].keys() <= gone
    await works(state, version)
    await state.close()


async def works(state: StateStore, version: int) -> None:
    """What the rows say can be asked for, and new ones be written beside them."""

    def look(conn: sa.Connection) -> None:
        known = frozenset({("add", 1)})
        claims = queues.claim(
            conn, scope=SCOPE, fingerprint="fingerprint-2", known=known, owner="me", most=5, lease_s=1800
        )
        assert {held.user_id for held in claims} == ({"alice"} if version == 1 else {"alice", "cara"})
        heads = [writes.head(conn, held, "fingerprint-2", known) for held in claims]
        assert {head.id for head in heads if head} == ({"w-1"} if version == 1 else {"w-1", "w-21"})
        workers.seen(conn, "me", SCOPE, ["fingerprint-2"])
        recalls.record(conn, SCOPE, {("alice", "m-1"): Folded.first(0.9, 1760000000.0, None)})
        assert recalls.of_memories(conn, SCOPE, "alice", ["m-1"])["m-1"].recall_count == 1
        assert history.of_memory(conn, SCOPE, "m-1", limit=10)[1] == 1
        assert (scopes.of_address(conn, "address-1") == SCOPE) is (version >= 2)
        if version >= 2:
            [gone], _ = history.of_memory(conn, SCOPE, "m-2", limit=10)
            assert (gone.is_deleted, gone.reason) == (True, "delete_all")
            failed = writes.state_of(conn, SCOPE, "w-22")
            assert failed is not None and (failed.status, failed.error_code) == ("failed", "service_refused")
        if version >= 3:
            checkpoint = checkpoints.load(conn, SCOPE, "cara", "app")
            assert (checkpoint.state, checkpoint.conversations) == ({"wanted": []}, {"c-1": {"v": 1}})
            [part] = tasks.users_of(conn, "extract_000000000001", 10)
            assert (part.user_id, part.counts.processed_messages, part.counts.semantic) == ("cara", 7, 2)
            task = tasks.state_of(conn, SCOPE, "extract_000000000001")
            assert task is not None and (task.status, task.run_id) == ("completed", "nightly")
        checkpoints.save(conn, SCOPE, "alice", "app", {"wanted": [[1, 2]]})
        assert checkpoints.newest_app(conn, SCOPE, "alice") == "app"

    await state.write(look)
