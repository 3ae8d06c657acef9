"""State stores of earlier versions: everything in them is there afterwards, and works."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa

from playground.postgres import Database
from utils.config.state_location import PostgresLocation, SqliteLocation
from utils.state import history, queues, tables, writes
from utils.state.engine import StateStore
from utils.state.migrations.migrate import VERSION

HERE = Path(__file__).parent
KNOWN = frozenset({("add", 1)})


@pytest.fixture
def version_1(location: PostgresLocation | SqliteLocation) -> PostgresLocation | SqliteLocation:
    """A store of version 1, as its processes left it."""
    if isinstance(location, PostgresLocation):
        with psycopg.connect(location.conninfo, autocommit=True) as postgresql:
            postgresql.execute((HERE / "version_1.postgresql.sql").read_bytes())
    else:
        location.path.parent.mkdir(parents=True)
        sqlite = sqlite3.connect(location.path)
        sqlite.executescript((HERE / "version_1.sqlite.sql").read_text())
        sqlite.close()
    return location


async def test_a_store_of_version_1_goes_on(version_1: PostgresLocation | SqliteLocation) -> None:
    state = StateStore(version_1)
    assert await state.read(lambda conn: writes.counts(conn, "store-1")) == (1, 0)
    [held] = await state.write(
        lambda conn: queues.claim(
            conn, scope="store-1", fingerprint="fingerprint-2", known=KNOWN, owner="me", most=5, lease_s=1800
        )
    )
    assert (held.user_id, held.token) == ("alice", 8)
    found = await state.read(lambda conn: writes.head(conn, held, "fingerprint-2", KNOWN))
    assert found is not None and found.id == "w-1" and found.payload["user"] == "I like tea"
    assert (found.version, found.waited_for) == (1, False)
    done = await state.read(lambda conn: writes.state_of(conn, "store-1", "w-2"))
    assert done is not None and done.result == {"count": 1}
    [entry], _ = await state.read(lambda conn: history.of_memory(conn, "store-1", "m-1", limit=10))
    assert entry.new_memory == "likes tea"
    odd = history.Entry("m-2", "DELETE", "x", None, "a time of forty-seven characters, as others write it", "y", True)
    await state.write(lambda conn: history.record(conn, "store-1", "bob", "w-3", [odd]))
    await state.close()


async def test_a_migrated_store_has_what_a_new_one_has(
    version_1: PostgresLocation | SqliteLocation, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Nullable columns that only an older version fills may be left; nothing may be missing or of another kind."""
    if isinstance(version_1, PostgresLocation):
        server = request.getfixturevalue("postgres_server")
        fresh_database: Database = server.create_database("fresh_" + tmp_path.name.replace("-", "_")[-30:])
        fresh: PostgresLocation | SqliteLocation = PostgresLocation(fresh_database.uri)
    else:
        fresh = SqliteLocation(tmp_path / "fresh" / "state.sqlite3")
    migrated, new = await schema(version_1), await schema(fresh)
    left = {name for name in migrated if name not in new}
    assert left <= {("write_queues", "fingerprint")} and all(migrated[name][1] for name in left)
    assert {name: shape for name, shape in migrated.items() if name not in left} == new


async def schema(location: PostgresLocation | SqliteLocation) -> dict[tuple[str, str], tuple[str, bool]]:
    """Type and nullability by table and column."""
    state = StateStore(location)

    def look(conn: sa.Connection) -> dict[tuple[str, str], tuple[str, bool]]:
        postgresql = conn.dialect.name == "postgresql"
        found = sa.inspect(conn)
        return {
            (table.name, column["name"]): (str(column["type"]) if postgresql else "", bool(column["nullable"]))
            for table in tables.metadata.sorted_tables
            for column in found.get_columns(table.name, schema=tables.SCHEMA if postgresql else None)
        }

    shape = await state.read(look)
    await state.close()
    return shape


async def test_processes_that_start_together_migrate_once(location: PostgresLocation | SqliteLocation) -> None:
    await migrate_together(location)


async def test_processes_that_meet_an_old_store_together_migrate_once(
    version_1: PostgresLocation | SqliteLocation,
) -> None:
    await migrate_together(version_1)


async def migrate_together(location: PostgresLocation | SqliteLocation) -> None:
    stores = [StateStore(location) for _ in range(6)]
    await asyncio.gather(*(store.open() for store in stores))
    versions = await stores[0].read(lambda conn: conn.execute(sa.select(tables.schema_version)).scalars().all())
    assert versions == [VERSION]
    for store in stores:
        await store.close()


async def test_a_store_of_a_newer_plugin_is_refused(location: PostgresLocation | SqliteLocation) -> None:
    first = StateStore(location)
    await first.write(lambda conn: conn.execute(sa.update(tables.schema_version).values(version=999)))
    await first.close()
    second = StateStore(location)
    with pytest.raises(Exception, match="newer version"):
        await second.open()
    await second.close()


async def test_a_schema_that_an_administrator_made_is_used(database: Database) -> None:
    """Its user may not create schemas; CREATE SCHEMA IF NOT EXISTS would be refused although it is there."""
    with psycopg.connect(database.uri, autocommit=True) as administrator:
        administrator.execute("CREATE ROLE plain LOGIN PASSWORD 'plain'")
        administrator.execute("CREATE SCHEMA mem0_dify")
        administrator.execute("GRANT USAGE, CREATE ON SCHEMA mem0_dify TO plain")
    conninfo = psycopg.conninfo.make_conninfo(database.uri, user="plain", password="plain")
    state = StateStore(PostgresLocation(conninfo))
    try:
        assert await state.read(lambda conn: writes.counts(conn, "store-1")) == (0, 0)
    finally:
        await state.close()
        with psycopg.connect(database.uri, autocommit=True) as administrator:
            administrator.execute("DROP OWNED BY plain CASCADE")
            administrator.execute("DROP ROLE plain")
