"""What the state store sends: on a connection of its own a read, or a single statement, is one round trip."""

from __future__ import annotations

import psycopg
import pytest

from playground.postgres import Database
from utils.config.state_location import PostgresLocation
from utils.state import writes
from utils.state.engine import StateStore


async def test_a_read_and_a_single_statement_are_no_transactions(database: Database) -> None:
    """BEGIN and COMMIT around them would be two round trips more, for every search and every accepted write."""
    name = "state-under-test"
    conninfo = psycopg.conninfo.make_conninfo(database.uri, application_name=name)
    state = StateStore(PostgresLocation(conninfo))
    write = writes.NewWrite("w", "scope", "alice", "add", 1, {}, "fingerprint", "process")
    last = "SELECT query FROM pg_stat_activity WHERE application_name = %s ORDER BY state_change DESC LIMIT 1"
    with psycopg.connect(database.uri, autocommit=True) as observer:
        await state.read(lambda conn: writes.counts(conn, "scope", "alice"))
        [(read,)] = observer.execute(last, [name]).fetchall()
        await state.write_statement(lambda conn: writes.accept(conn, write, 10))
        [(written,)] = observer.execute(last, [name]).fetchall()
    await state.close()
    assert read.startswith("SELECT") and "INSERT INTO" in written, (read, written)


@pytest.mark.parametrize(("given", "counts"), [({}, "20000"), ({"tcp_user_timeout": "7000"}, "7000")])
async def test_a_connection_that_was_cut_without_a_word_is_given_up(
    given: dict[str, str], counts: str, database: Database
) -> None:
    """The kernel would go on sending for a quarter of an hour, and a thread wait for it."""
    state = StateStore(PostgresLocation(psycopg.conninfo.make_conninfo(database.uri, **given)))
    for run in (state.read, state.write, state.write_changes, state.write_statement):
        parameters = await run(lambda conn: conn.connection.dbapi_connection.info.get_parameters())
        assert parameters["tcp_user_timeout"] == counts
    await state.close()
