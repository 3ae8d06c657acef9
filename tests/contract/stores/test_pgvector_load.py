"""Reads and writes beyond what the connections can carry: writes leave readers theirs, and a refusal is an overload."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg import sql

from playground.postgres import Database, PostgresServer
from tests.contract.stores.conftest import opened
from tests.contract.stores.rows import DIMS, QUERY, at_cosine, memory
from tests.contract.stores.test_pgvector import ask, until
from utils.aio.deadline import deadline
from utils.config import pgvector as pgvector_config
from utils.config.values import Where
from utils.errors import Overloaded, ServiceUnavailable
from utils.stores.pgvector.connections import shares
from utils.stores.pgvector.statements import Statement
from utils.stores.pgvector.store import PgvectorStore
from utils.stores.protocol import Owner

ALICE = Owner("alice")
WAITING_FOR_A_LOCK = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = %s"
SESSIONS = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND pid <> pg_backend_pid()"


@asynccontextmanager
async def store_of(database: Database, **pool: Any) -> AsyncIterator[PgvectorStore]:
    """A store with one memory of alice's and the pool's ordinary measures."""
    block = {"connection_string": database.uri, "collection_name": "memories", "minconn": 1, **pool}
    config = pgvector_config.read(block, Where("local_vector_db_json_secret"))
    async with opened(PgvectorStore(config, DIMS)) as store:
        await store.insert([memory("alice")], [QUERY])
        yield store


@contextmanager
def locked(database: Database, mode: str) -> Iterator[None]:
    """While it is open, changes of the table wait (SHARE), or everything does (ACCESS EXCLUSIVE)."""
    with psycopg.connect(database.uri) as conn:
        conn.execute(f"LOCK TABLE memories IN {mode} MODE")
        yield


@pytest.mark.parametrize("maxconn", [2, 3, 4, 20])
async def test_writes_that_stand_still_leave_readers_their_connections(database: Database, maxconn: int) -> None:
    async with store_of(database, maxconn=maxconn) as store:
        with locked(database, "SHARE"):
            writes = [asyncio.create_task(store.insert([memory("bob")], [at_cosine(0.1)])) for _ in range(40)]
            await until(lambda: ask(database, WAITING_FOR_A_LOCK, [database.dbname]) == [(max(1, maxconn // 4),)])
            for _ in range(3):
                found = await asyncio.gather(*(store.search(QUERY, ALICE, 5) for _ in range(maxconn)))
                assert [len(rows) for rows in found] == [1] * maxconn
            assert ask(database, SESSIONS, [database.dbname])[0][0] <= maxconn + 1  # and the lock's
        await asyncio.gather(*writes)
        assert (await store.page(Owner("bob"), 1))[1] == 40


async def test_a_single_connection_is_shared_in_turn_and_nobody_is_refused(database: Database) -> None:
    async with store_of(database, maxconn=1) as store:
        with locked(database, "SHARE"):
            writes = [asyncio.create_task(store.insert([memory("bob")], [at_cosine(0.1)])) for _ in range(20)]
            reads = [asyncio.create_task(store.search(QUERY, ALICE, 5)) for _ in range(20)]
            await until(lambda: ask(database, WAITING_FOR_A_LOCK, [database.dbname]) == [(1,)])
        await asyncio.gather(*writes)
        assert [len(rows) for rows in await asyncio.gather(*reads)] == [1] * 20


async def test_readers_that_fill_every_connection_leave_writes_theirs(database: Database) -> None:
    async with store_of(database, maxconn=4) as store:
        reads = [asyncio.create_task(ask_of(store, "pg_sleep(600)")) for _ in range(4)]
        await asyncio.gather(*(store.insert([memory("bob")], [at_cosine(0.1)]) for _ in range(20)))
        assert not any(read.done() for read in reads)
        for read in reads:
            read.cancel()


async def ask_of(store: PgvectorStore, expression: str) -> Any:
    """What a reader's connection answers."""
    text = sql.SQL("SELECT {}").format(sql.SQL(expression))
    return (await store._reads.execute(Statement(text, {})))[0][0]


@pytest.mark.parametrize("maxconn", [2, 8])
async def test_beyond_capacity_the_only_refusals_are_overloads(database: Database, maxconn: int) -> None:
    async with store_of(database, maxconn=maxconn) as store:
        with locked(database, "ACCESS EXCLUSIVE"):
            reads = [asyncio.create_task(store.search(QUERY, ALICE, 5)) for _ in range(100)]
            writes = [asyncio.create_task(store.insert([memory("bob")], [at_cosine(0.1)])) for _ in range(40)]
            await until(lambda: ask(database, WAITING_FOR_A_LOCK, [database.dbname]) == [(maxconn,)])
        await asyncio.gather(*writes)
        answers = await asyncio.gather(*reads, return_exceptions=True)
        refused = [answer for answer in answers if isinstance(answer, BaseException)]
        assert {type(refusal) for refusal in refused} == {Overloaded}
        assert {refusal.status for refusal in refused if isinstance(refusal, Overloaded)} == {"OVERLOAD"}
        assert len(answers) - len(refused) == 2 * maxconn  # as many run and wait as `maxconn` and the default say


async def test_who_waited_too_long_for_a_connection_is_told_of_the_overload(database: Database) -> None:
    async with store_of(database, maxconn=2, pool_timeout=2) as store:
        with locked(database, "ACCESS EXCLUSIVE"):
            running = asyncio.create_task(store.search(QUERY, ALICE, 5))
            await until(lambda: ask(database, WAITING_FOR_A_LOCK, [database.dbname]) == [(1,)])
            with pytest.raises(Overloaded):
                await store.search(QUERY, ALICE, 5)
        assert len(await running) == 1


async def test_without_a_server_nobody_is_told_of_an_overload(own_postgres: PostgresServer) -> None:
    async with store_of(own_postgres.create_database("memories"), maxconn=2) as store:
        own_postgres.stop("immediate")
        answers = await asyncio.gather(*(store.search(QUERY, ALICE, 5) for _ in range(4)), return_exceptions=True)
        assert {type(answer) for answer in answers} == {ServiceUnavailable}


async def test_the_server_ends_a_statement_with_the_operation(database: Database) -> None:
    """The time-out goes with each operation, and leaves none behind."""
    async with store_of(database, maxconn=2) as store:
        shown = []
        for timeout_s in (5, 5, None, 2.5, 3600, None):
            async with deadline(timeout_s):
                shown.append(await ask_of(store, "current_setting('statement_timeout')"))
        assert shown == ["5s", "5s", "1min", "2500ms", "1min", "1min"]


@given(st.integers(1, 1000), st.integers(0, 1000), st.integers(0, 50))
def test_the_shares_together_are_what_was_configured(maxconn: int, minconn: int, max_waiting: int) -> None:
    block = {"user": "u", "host": "h", "maxconn": maxconn, "minconn": min(minconn, maxconn)}
    config = pgvector_config.read({**block, "pool_max_waiting": max_waiting}, Where("local_vector_db_json_secret"))
    reads, writes = shares(config)
    pools = [reads] if reads is writes else [reads, writes]
    assert sum(pool.max_size for pool in pools) == maxconn
    assert reads.min_size == min(config.minconn, reads.max_size)
    for pool in pools:
        assert 0 <= pool.min_size <= pool.max_size
        assert pool.max_size >= 1
    assert reads.max_size >= writes.max_size
    if len(pools) == 2:
        assert writes.min_size == 0
        assert reads.max_pending == (maxconn + max_waiting if max_waiting else None)
