"""How many connections the state store takes of a PostgreSQL that others use, too."""

from __future__ import annotations

import asyncio

import psycopg
import sqlalchemy as sa

from playground.postgres import Database
from utils.config.state_location import PostgresLocation
from utils.state.engine import StateStore

MOST = 12  # CONFIG.md, "State store"
OPEN = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'advisory'"


async def test_the_state_store_takes_at_most_twelve_connections(database: Database) -> None:
    state = StateStore(PostgresLocation(database.uri))
    await state.open()

    def wait(conn: sa.Connection) -> None:
        conn.execute(sa.text("SELECT pg_advisory_xact_lock_shared(1)"))

    async with await psycopg.AsyncConnection.connect(database.uri, autocommit=True) as blocker:
        await blocker.execute("SELECT pg_advisory_lock(1)")
        waiting = [
            asyncio.create_task(use(wait)) for use in (state.read, state.write, state.write_changes) for _ in range(20)
        ]
        while (await (await blocker.execute(OPEN)).fetchone()) != (MOST,):  # noqa: ASYNC110 - the database tells nobody
            await asyncio.sleep(0.01)
        sessions = await blocker.execute("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()")
        assert await sessions.fetchone() == (MOST + 1,)
    await asyncio.gather(*waiting)
    await state.close()
