"""Behind a pooler that gives every transaction another session: all works, and nothing is left in a session.

The whole contract runs behind it, too (``pgvector-pooled`` in ``conftest``).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from playground.postgres import Database
from tests.contract.stores.conftest import opened
from tests.contract.stores.rows import QUERY, at_cosine, memory
from tests.contract.stores.test_pgvector import (
    ask,
    copy_of_mem0s,
    index_definitions,
    store_on,
    until,
)
from tests.contract.stores.test_pgvector_load import WAITING_FOR_A_LOCK, ask_of, locked
from tests.transaction_pooler import TransactionPooler
from utils.aio.deadline import deadline
from utils.errors import ServiceUnavailable
from utils.stores import filters
from utils.stores.pgvector.sessions import is_shared
from utils.stores.protocol import Owner

ALICE = Owner("alice")
SESSIONS = 2
_LEFT = (
    "SELECT pg_backend_pid(), current_setting('statement_timeout'), current_setting('enable_sort'),"
    " current_setting('hnsw.ef_search', true), (SELECT count(*) FROM pg_prepared_statements),"
    " (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid())"
)


@pytest.fixture
def pooler(database: Database) -> Iterator[TransactionPooler]:
    with TransactionPooler(database, SESSIONS) as running:
        yield running


def left_in_sessions(pooler: TransactionPooler) -> set[tuple[Any, ...]]:
    """What each of the server's sessions has kept: settings, prepared statements, locks."""
    found: dict[int, tuple[Any, ...]] = {}
    with psycopg.connect(pooler.database.uri, autocommit=True, prepare_threshold=None) as conn:
        while len(found) < SESSIONS:  # a client never gets the same one twice in a row
            pid, *rest = conn.execute(_LEFT).fetchone() or ()
            found[pid] = tuple(rest)
    return set(found.values())


async def test_nothing_is_left_in_a_session(database: Database, pooler: TransactionPooler) -> None:
    copy_of_mem0s(database, [memory("alice", str(number)) for number in range(300)])
    stores = [store_on(pooler.database, exact_rows=100) for _ in range(2)]
    async with opened(stores[0]), opened(stores[1]):
        await asyncio.gather(*(store.indexes_built() for store in stores))

        async def use(store: Any, number: int) -> None:
            row = memory("bob", str(number))
            async with deadline(5 + number % 2):
                await store.insert([row], [at_cosine(0.5)])
                assert [found.text for found in await store.search(QUERY, ALICE, 2)] == ["0", "1"]
                assert await store.get(row.id) == row
                assert (await store.page(ALICE, 1))[1] == 300
                assert [found.id for found in await store.scan(Owner("bob"), None, 1000)].count(row.id) == 1
                await store.delete([row.id])

        for round_number in range(8):  # often enough for anything to be prepared
            await asyncio.gather(*(use(store, round_number) for store in stores for _ in range(2)))
        assert (await stores[0].page(Owner("bob"), 1))[1] == 0
    assert pooler.handed_over > 200
    assert left_in_sessions(pooler) == {("0", "on", "40", 0, 0)}  # the server's and the extension's own


async def test_indexes_are_built_once_and_no_lock_stays(database: Database, pooler: TransactionPooler) -> None:
    copy_of_mem0s(database, [memory("alice", str(number)) for number in range(50)])
    first, second = store_on(pooler.database), store_on(database)
    async with opened(first), opened(second):
        await asyncio.gather(first.indexes_built(), second.indexes_built())
    assert sorted(index_definitions(database)) == ["memories_hnsw_idx", "memories_owner_idx"]
    assert ask(database, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == [(0,)]


async def test_a_large_user_is_searched_by_the_index(database: Database, pooler: TransactionPooler) -> None:
    copy_of_mem0s(database, [memory("alice", str(number), rare=number % 100 == 99) for number in range(1000)])
    async with opened(store_on(pooler.database, exact_rows=100)) as store:
        await store.indexes_built()
        for _ in range(2):
            found = await store.search(QUERY, ALICE, 10, filters.parse({"rare": True}))
            assert [row.text for row in found] == [str(100 * n + 99) for n in range(10)]


async def test_the_server_ends_a_statement_with_the_operation(database: Database, pooler: TransactionPooler) -> None:
    async with opened(store_on(pooler.database, statement_timeout_ms=3000)) as store:
        async with deadline(2.5):
            assert await ask_of(store, "current_setting('statement_timeout')") == "2500ms"
        with pytest.raises(ServiceUnavailable, match="QueryCanceled"):
            await ask_of(store, "pg_sleep(600)")


async def test_a_cancelled_caller_leaves_nothing_running(database: Database, pooler: TransactionPooler) -> None:
    async with opened(store_on(pooler.database)) as store:
        with locked(database, "ACCESS EXCLUSIVE"):
            search = asyncio.create_task(store.search(QUERY, ALICE, 5))
            await until(lambda: ask(database, WAITING_FOR_A_LOCK, [database.dbname]) == [(1,)])
            search.cancel()
            with pytest.raises(asyncio.CancelledError):
                await search
            assert ask(database, WAITING_FOR_A_LOCK, [database.dbname]) == [(0,)]
        assert await store.search(QUERY, ALICE, 5) == []


async def test_a_pooler_is_told_from_a_server(database: Database, pooler: TransactionPooler) -> None:
    for where, shared in ((database, False), (pooler.database, True)):
        async with await psycopg.AsyncConnection.connect(where.uri, autocommit=True) as conn:
            assert await is_shared(conn) is shared
