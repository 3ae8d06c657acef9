"""A server that admits fewer connections than the pools would make: what there is serves, readers first."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from playground.postgres import Database, PostgresServer
from tests.contract.stores.conftest import opened, pgvector_settings
from tests.contract.stores.rows import DIMS, QUERY, at_cosine, memory
from tests.contract.stores.test_pgvector import ask, until
from tests.few_connections import limited_role
from utils.errors import Overloaded, ServiceRefused, ServiceUnavailable
from utils.stores.pgvector import sessions
from utils.stores.pgvector.sessions import Login, Session
from utils.stores.pgvector.store import PgvectorStore
from utils.stores.protocol import Owner

ALICE, BOB = Owner("alice"), Owner("bob")
SESSIONS = "SELECT count(*) FROM pg_stat_activity WHERE usename = %s"


@pytest.fixture(params=[1, 3])
def few(request: pytest.FixtureRequest, database: Database) -> Iterator[Database]:
    """The database for a role with so many connections."""
    with limited_role(database, request.param) as limited:
        yield limited


def store_of(database: Database) -> PgvectorStore:
    """With the measures an ordinary block has."""
    return PgvectorStore(pgvector_settings(database, "memories", minconn=10, maxconn=20), DIMS)


async def test_everything_is_served_with_the_connections_there_are(few: Database) -> None:
    async with opened(store_of(few)) as store:
        await store.insert([memory("alice")], [QUERY])
        pool = store._reads._pool
        for _ in range(3):
            reads = [asyncio.create_task(store.search(QUERY, ALICE, 5)) for _ in range(30)]
            writes = [asyncio.create_task(store.insert([memory("bob")], [at_cosine(0.1)])) for _ in range(8)]
            assert [len(rows) for rows in await asyncio.gather(*reads)] == [1] * 30
            await asyncio.gather(*writes)
        assert (await store.page(BOB, 1))[1] == 24
        assert store._reads._pool is pool  # it was not given up over the connections it could not make


async def test_a_place_that_is_given_back_in_a_moment_is_waited_for(
    few: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As our own last session's is, for as long as a busy server takes to end it."""
    refused, connect = asyncio.Event(), Session.connect

    async def seen(*given: Any, **more: Any) -> Session:
        try:
            return await connect(*given, **more)
        except psycopg.OperationalError:
            refused.set()
            raise

    monkeypatch.setattr(Session, "connect", seen)
    monkeypatch.setattr(sessions, "_ROOM_WITHIN_S", 600.0)
    others = fill(few)
    store = store_of(few)
    opening = asyncio.create_task(store.open())
    await refused.wait()
    others.pop().close()
    await opening
    await store.close()
    for other in others:
        other.close()


def fill(few: Database) -> list[psycopg.Connection[Any]]:
    """Connections, as many as the role may have."""
    others: list[psycopg.Connection[Any]] = []
    while True:
        try:
            others.append(psycopg.connect(few.uri))
        except psycopg.OperationalError:
            return others


async def test_a_full_server_is_an_overload_until_it_has_room(few: Database, database: Database) -> None:
    async with opened(store_of(few)) as store:
        await store.insert([memory("alice")], [QUERY])
    await until(lambda: ask(database, SESSIONS, [few.user]) == [(0,)])
    others = fill(few)
    again = store_of(few)
    try:
        with pytest.raises(Overloaded):
            await again.open()
        with pytest.raises(Overloaded):
            await again.search(QUERY, ALICE, 5)
        others.pop().close()
        await until(lambda: ask(database, SESSIONS, [few.user]) == [(len(others),)])
        assert len(await again.search(QUERY, ALICE, 5)) == 1
        await again.insert([memory("alice")], [QUERY])
        assert (await again.page(ALICE, 5))[1] == 2
    finally:
        await again.close()
        for other in others:
            other.close()


async def test_readers_without_a_connection_are_told_of_a_full_server_and_served_when_it_has_room(
    few: Database, database: Database
) -> None:
    """Others took the places while the server was away."""
    async with opened(store_of(few)) as store:
        await store.insert([memory("alice")], [QUERY])
        ask(database, "ALTER ROLE " + few.user + " CONNECTION LIMIT 0")
        ask(database, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", [few.user])
        await until(lambda: ask(database, SESSIONS, [few.user]) == [(0,)])
        for _ in range(2):
            answers = await asyncio.gather(
                *(store.search(QUERY, ALICE, 5) for _ in range(10)),
                store.insert([memory("alice")], [QUERY]),
                return_exceptions=True,
            )
            assert {getattr(answer, "status", answer) for answer in answers} == {"OVERLOAD"}
        ask(database, "ALTER ROLE " + few.user + " CONNECTION LIMIT 1")
        assert len(await store.search(QUERY, ALICE, 5)) == 1


async def test_a_wrong_password_is_no_full_server(few: Database) -> None:
    wrong = Login(few.uri.replace(":few@", ":wrong@"))
    with pytest.raises(ServiceRefused):
        async with wrong.connection():
            pass


async def test_a_server_that_is_gone_is_no_full_server(own_postgres: PostgresServer) -> None:
    login = Login(own_postgres.create_database("gone").uri)
    async with login.connection():
        pass
    own_postgres.stop("fast")
    with pytest.raises(ServiceUnavailable):
        async with login.connection():
            pass
