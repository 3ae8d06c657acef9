"""What only pgvector has: tables of mem0's making, indexes, sessions, outages."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import psycopg
import pytest
from psycopg import sql

from playground.postgres import Database, PostgresServer
from tests.contract.stores.conftest import opened, pgvector_settings
from tests.contract.stores.rows import DIMS, QUERY, at_cosine, memory, new_id, someone, spread
from utils.errors import ServiceRefused, ServiceRejected, ServiceUnavailable
from utils.mem0 import building
from utils.stores import filters
from utils.stores.pgvector import schema as pgvector_schema
from utils.stores.pgvector import statements
from utils.stores.pgvector.store import PgvectorStore
from utils.stores.protocol import Owner, Question, Row

ALICE = Owner("alice")


def store_on(database: Database, collection: str = "memories", dims: int | None = DIMS, **more: Any) -> PgvectorStore:
    arguments = {key: more.pop(key) for key in ("statement_timeout_ms", "exact_rows") if key in more}
    return PgvectorStore(pgvector_settings(database, collection, **more), dims, **arguments)


def ask(database: Database, statement: str, params: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
    with psycopg.connect(database.uri, autocommit=True) as conn:
        cursor = conn.execute(statement, params)
        return cursor.fetchall() if cursor.description else []


async def until(condition: Callable[[], bool]) -> None:
    """Wait for the server to come to a state; it offers no event for that."""
    async with asyncio.timeout(600):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def index_definitions(database: Database, table: str = "memories") -> dict[str, str]:
    found = ask(database, "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = %s", [table])
    return {name: definition for name, definition in found if not name.endswith("_pkey")}


def copy_of_mem0s(database: Database, rows: Sequence[Row], dims: int = DIMS, table: str = "memories") -> None:
    """A table of mem0's shape without any index, filled."""
    ask(database, "CREATE EXTENSION IF NOT EXISTS vector")
    with psycopg.connect(database.uri, autocommit=True) as conn:
        name, length = sql.Identifier(table), sql.Literal(dims)
        conn.execute(
            sql.SQL("CREATE TABLE {} (id uuid PRIMARY KEY, vector vector({}), payload jsonb)").format(name, length)
        )
        into = sql.SQL("COPY {} FROM STDIN").format(name)
        with conn.cursor() as cursor, cursor.copy(into) as copy:
            for row, vector in zip(
                rows, (spread(len(rows)) if dims == DIMS else [[1.0] * dims] * len(rows)), strict=True
            ):
                copy.write_row([row.id, str(vector), json.dumps(row.payload)])


# -- tables


async def test_a_table_of_mem0_is_adopted_and_still_read_by_mem0(database: Database) -> None:
    block = {"connection_string": database.uri, "collection_name": "memories", "embedding_model_dims": DIMS}
    theirs = building.build_vector_store("pgvector", block)
    row = memory("alice", "by mem0", tag="x")
    theirs.insert(vectors=[QUERY], payloads=[dict(row.payload)], ids=[row.id])
    before = ask(database, "SELECT pg_relation_filenode('memories')")
    async with opened(store_on(database)) as store:
        assert await store.search(QUERY, ALICE, 5, filters.parse({"tag": "x"})) == [replace(row, score=1.0)]
        ours = memory("alice", "by us", nested={"a": [1]})
        await store.insert([ours], [at_cosine(0.8)])
        await store.indexes_built()
        assert ask(database, "SELECT pg_relation_filenode('memories')") == before
    found = theirs.search(query="", vectors=QUERY, top_k=5, filters={"user_id": "alice"})
    assert [(item.id, item.payload) for item in found] == [(row.id, row.payload), (ours.id, ours.payload)]
    theirs.connection_pool.close()
    assert sorted(index_definitions(database)) == [
        "memories_hnsw_idx",
        "memories_owner_idx",
        "memories_text_lemmatized_idx",
    ]


async def test_many_create_one_table_at_once(database: Database) -> None:
    stores = [store_on(database) for _ in range(8)]
    users = [someone() for _ in stores]
    await asyncio.gather(*(store.insert([memory(user)], [QUERY]) for store, user in zip(stores, users, strict=True)))
    for user in users:
        assert [row.user_id for row in await stores[0].search(QUERY, Owner(user), 5)] == [user]
    await asyncio.gather(*(store.close() for store in stores))
    assert sorted(index_definitions(database)) == ["memories_hnsw_idx", "memories_owner_idx"]


@pytest.mark.parametrize(
    "collection",
    ["My Col", 'a"b', "a;drop table x", "100%", "%s", "schema.table", "select", "日本語", "x" * 63, "'", "{}"],
)
async def test_a_collection_may_have_any_name(database: Database, collection: str) -> None:
    async with opened(store_on(database, collection)) as store:
        row = memory("alice")
        await store.insert([row], [QUERY])
        await store.update(row, QUERY)
        assert [found.id for found in await store.search(QUERY, ALICE, 1)] == [row.id]
        assert (await store.page(ALICE, 1))[1] == 1
        await store.delete([row.id])
        assert await store.scan(ALICE, None, 1) == []
    assert len(index_definitions(database, collection)) == 2


async def test_something_else_of_that_name_is_refused(database: Database) -> None:
    ask(database, "CREATE TABLE memories (id text, payload text)")
    with pytest.raises(ServiceRejected) as refusal:
        await store_on(database).open()
    assert refusal.value.key == "store_not_a_collection"


async def test_without_a_known_length_the_first_vector_decides(database: Database) -> None:
    async with opened(store_on(database, dims=None)) as store:
        assert await store.get(new_id()) is None
        assert await store.page(ALICE, 5) == ([], 0)
        assert await store.scan(ALICE, None, 5) == []
        await store.delete([new_id()])
        assert ask(database, "SELECT to_regclass('memories')") == [(None,)]
        await store.insert([memory("alice")], [[1.0, 0.0, 0.0]])
        await store.check(3)
        with pytest.raises(ServiceRejected):
            await store.check(DIMS)


async def test_a_table_made_anew_is_found_again(database: Database) -> None:
    async with opened(store_on(database)) as store:
        await store.insert([memory("alice")], [QUERY])
        ask(database, "DROP TABLE memories")
        with pytest.raises(ServiceRejected):
            await store.page(ALICE, 5)
        assert await store.page(ALICE, 5) == ([], 0)
        ask(database, "DROP TABLE memories")
        copy_of_mem0s(database, [memory("alice")], dims=3)
        assert len(await store.search([1.0, 1.0, 1.0], ALICE, 5)) == 1


# -- indexes


@pytest.mark.parametrize(
    ("dims", "expected"),
    [(2000, "hnsw (vector vector_cosine_ops)"), (2001, "halfvec(2001)) halfvec_cosine_ops"), (4001, None)],
)
async def test_more_dimensions_never_make_a_failing_index(database: Database, dims: int, expected: str | None) -> None:
    async with opened(store_on(database, dims=dims, exact_rows=2)) as store:
        definitions = index_definitions(database)
        assert [
            text for text in definitions.values() if "hnsw" in text and (expected or "") in text
        ] or expected is None
        assert len(definitions) == (1 if expected is None else 2)
        vectors = [[1.0, slope, *[0.0] * (dims - 2)] for slope in (0.0, 0.5, 1.0, 2.0)]
        await store.insert([memory("alice", str(number)) for number in range(4)], vectors)
        for _ in range(2):  # counted, then known to be large
            rows = await store.search(vectors[0], ALICE, 3)
            assert [row.text for row in rows] == ["0", "1", "2"]
            assert rows[1].score == pytest.approx(1 / np.hypot(1, 0.5), abs=1e-5)


async def test_no_index_where_none_is_wanted(database: Database) -> None:
    async with opened(store_on(database, hnsw=False)):
        assert list(index_definitions(database)) == ["memories_owner_idx"]


async def test_two_at_once_index_an_adopted_table_once(database: Database) -> None:
    copy_of_mem0s(database, [memory("alice", str(number)) for number in range(500)])
    first, second = store_on(database), store_on(database)
    async with opened(first), opened(second):
        assert [row.text for row in await first.search(QUERY, ALICE, 3)] == ["0", "1", "2"]
        await asyncio.gather(first.indexes_built(), second.indexes_built())
    assert sorted(index_definitions(database)) == ["memories_hnsw_idx", "memories_owner_idx"]
    assert ask(database, "SELECT count(*) FROM pg_index WHERE NOT indisvalid") == [(0,)]


async def test_building_blocks_neither_readers_nor_writers(database: Database) -> None:
    copy_of_mem0s(database, [memory("alice")])
    with psycopg.connect(database.uri) as other:
        other.execute("INSERT INTO memories VALUES (gen_random_uuid(), NULL, '{}')")  # the build waits for its end
        async with opened(store_on(database, statement_timeout_ms=30_000)) as store:
            row = memory("alice", "second")
            await store.insert([row], [at_cosine(0.1)])
            await store.update(row, at_cosine(0.2))
            assert len(await store.search(QUERY, ALICE, 5)) == 2
            other.rollback()
            await store.indexes_built()
    assert len(index_definitions(database)) == 2


async def test_an_interrupted_build_is_begun_again(database: Database) -> None:
    copy_of_mem0s(database, [memory("alice", str(number)) for number in range(50)])
    with psycopg.connect(database.uri) as blocker:
        blocker.execute("INSERT INTO memories VALUES (gen_random_uuid(), NULL, '{}')")
        killed = store_on(database)
        await killed.open()
        await until(lambda: bool(ask(database, "SELECT 1 FROM pg_stat_progress_create_index")))
        await killed.close()
        blocker.rollback()
    assert ask(database, "SELECT indisvalid FROM pg_index WHERE indrelid = 'memories'::regclass ORDER BY 1") == [
        (False,),
        (True,),
    ]
    async with opened(store_on(database)) as store:
        await store.indexes_built()
    assert ask(
        database, "SELECT bool_and(indisvalid), count(*) FROM pg_index WHERE indrelid = 'memories'::regclass"
    ) == [(True, 3)]


async def test_an_owner_index_of_earlier_versions_serves_until_the_new_one_is_built(database: Database) -> None:
    copy_of_mem0s(database, [memory("alice", str(number)) for number in range(50)])
    ask(database, "CREATE INDEX memories_user_id_idx ON memories ((payload ->> 'user_id'))")
    ask(database, "CREATE INDEX somebody_elses ON memories ((payload ->> 'user_id'))")
    with psycopg.connect(database.uri) as blocker:
        blocker.execute("INSERT INTO memories VALUES (gen_random_uuid(), NULL, '{}')")
        async with opened(store_on(database)) as store:
            await until(lambda: bool(ask(database, "SELECT 1 FROM pg_stat_progress_create_index")))
            assert len(await store.search(QUERY, ALICE, 5)) == 5
            assert "memories_user_id_idx" in index_definitions(database)
            blocker.rollback()
            await store.indexes_built()
    assert sorted(index_definitions(database)) == ["memories_hnsw_idx", "memories_owner_idx", "somebody_elses"]


async def test_a_superseded_index_that_was_left_behind_goes_later(database: Database) -> None:
    async with opened(store_on(database)):
        ask(database, "CREATE INDEX memories_user_id_idx ON memories ((payload ->> 'user_id'))")
    async with opened(store_on(database)) as store:
        await store.indexes_built()
    assert sorted(index_definitions(database)) == ["memories_hnsw_idx", "memories_owner_idx"]


async def test_a_page_of_a_scan_sorts_nothing_whatever_the_planner_knows(database: Database) -> None:
    """One large user among small ones, with and without statistics, as a first question and as a prepared one."""
    rows = [memory("alice" if number % 2 else f"user {number}") for number in range(4000)]
    copy_of_mem0s(database, rows)
    ids = sorted(row.id for row in rows if row.user_id == "alice")
    async with opened(store_on(database)) as store:
        await store.indexes_built()
        table = await store._collection()
        assert table is not None
        for analyse in ("SELECT", "ANALYZE memories"):
            ask(database, analyse)
            for after_id in (None, ids[1000]):
                for plan_cache_mode in ("force_custom_plan", "force_generic_plan"):
                    scan = statements.scan(table, ALICE, after_id, 100)
                    plan = explained(database, scan, plan_cache_mode)
                    assert "Sort" not in plan
                    assert "Index Scan using memories_owner_idx on memories t (actual rows=100.00" in plan
        assert [row.id for row in await store.scan(ALICE, ids[1000], 3)] == ids[1001:1004]


def explained(database: Database, statement: statements.Statement, plan_cache_mode: str) -> str:
    """How the server carries out a prepared statement with its own settings: by these parameters, or by any."""
    assert isinstance(statement.params, dict)
    with psycopg.connect(database.uri, cursor_factory=psycopg.ClientCursor) as conn:
        for name, value in {**statement.settings, "plan_cache_mode": plan_cache_mode}.items():
            conn.execute("SELECT set_config(%s, %s, true)", [name, value])
        numbered = statement.text.as_string(conn) % {
            name: f"${number}" for number, name in enumerate(statement.params, 1)
        }
        conn.execute(f"PREPARE asked (text, uuid, bigint) AS {numbered}")
        plan = conn.execute(
            "EXPLAIN (ANALYZE, TIMING OFF, COSTS OFF, BUFFERS OFF) EXECUTE asked (%s, %s, %s)",
            list(statement.params.values()),
        )
        return "\n".join(row[0] for row in plan.fetchall())


async def test_rows_whose_user_only_reads_like_the_owner_do_not_end_a_scan(database: Database) -> None:
    async with opened(store_on(database)) as store:
        ids = sorted(new_id() for _ in range(9))
        for memory_id in ids[:8]:
            ask(database, "INSERT INTO memories VALUES (%s, NULL, '{\"user_id\": 7}')", [memory_id])
        row = memory("7", memory_id=ids[8])
        await store.insert([row], [QUERY])
        assert await store.scan(Owner("7"), None, 3) == [row]


async def test_who_may_not_index_may_still_search(database: Database, caplog: pytest.LogCaptureFixture) -> None:
    copy_of_mem0s(database, [memory("alice")])
    ask(database, "DROP ROLE IF EXISTS reader")
    ask(database, "CREATE ROLE reader LOGIN PASSWORD 'reader'")
    ask(database, "GRANT SELECT ON memories TO reader")
    async with opened(store_on(replace(database, user="reader", password="reader"))) as store:
        assert len(await store.search(QUERY, ALICE, 5)) == 1
        await store.indexes_built()
        assert "InsufficientPrivilege" in caplog.text
        with pytest.raises(ServiceRefused):
            await store.insert([memory("alice")], [QUERY])
    ask(database, "DROP OWNED BY reader")
    ask(database, "DROP ROLE reader")


# -- searching


async def test_a_large_user_is_searched_by_the_index_and_a_small_one_exactly(database: Database) -> None:
    rows = [memory("alice" if number % 2 else "bob", str(number)) for number in range(1000)]
    copy_of_mem0s(database, [*rows, memory("carol", "lonely")])
    no_scan = "-c enable_seqscan=off"  # which on a table this small costs less than any index
    async with opened(store_on(database, exact_rows=100, options=no_scan)) as store:
        await store.indexes_built()
        for _ in range(2):
            assert [row.text for row in await store.search(QUERY, ALICE, 10)] == [str(2 * n + 1) for n in range(10)]
            assert [row.text for row in await store.search(QUERY, Owner("carol"), 10)] == ["lonely"]
    scans = "SELECT idx_scan FROM pg_stat_user_indexes WHERE indexrelname = 'memories_hnsw_idx'"
    await until(lambda: ask(database, scans) == [(2,)])


async def test_a_filter_few_rows_pass_is_filled_for_a_large_user(database: Database) -> None:
    rows = [memory("alice", str(number), rare=number % 100 == 99) for number in range(1000)]
    copy_of_mem0s(database, rows)
    async with opened(store_on(database, exact_rows=100)) as store:
        await store.indexes_built()
        found = await store.search(QUERY, ALICE, 10, filters.parse({"rare": True}))
        assert [row.text for row in found] == [str(100 * n + 99) for n in range(10)]
        assert await store.search(QUERY, ALICE, 10, filters.parse({"rare": "no such"})) == []


async def test_numpy_vectors_are_vectors(database: Database) -> None:
    async with opened(store_on(database)) as store:
        for kind in (np.float32, np.float64, np.int64):
            await store.insert([memory("alice")], [np.array(QUERY, dtype=kind)])  # type: ignore[list-item]
        found = await store.search(np.array(QUERY), ALICE, 5)  # type: ignore[arg-type]
        assert [row.score for row in found] == [1.0] * 3


async def test_rows_without_a_vector_and_of_length_zero_come_last(database: Database) -> None:
    async with opened(store_on(database)) as store:
        await store.insert([memory("alice", "nowhere"), memory("alice", "far")], [[0.0] * DIMS, at_cosine(-0.9)])
        ask(database, 'INSERT INTO memories VALUES (gen_random_uuid(), NULL, \'{"user_id": "alice", "data": "none"}\')')
        rows = await store.search(QUERY, ALICE, 5)
        assert rows[0].text == "far"
        assert [row.score or 0.0 for row in rows] == [0.0] * 3


async def test_what_postgres_cannot_hold_is_refused_or_found_nowhere(database: Database) -> None:
    async with opened(store_on(database)) as store:
        for bad in ("a\0b", "\ud800"):
            with pytest.raises(ServiceRejected):
                await store.insert([memory("alice", note=bad)], [QUERY])
            assert await store.search(QUERY, Owner(bad), 5) == []
            assert await store.page(Owner("alice", bad), 5) == ([], 0)
            assert await store.get(bad) is None


# -- outages and credentials


async def test_a_restarted_server_is_found_again(own_postgres: PostgresServer) -> None:
    store = store_on(own_postgres.create_database("memories"), minconn=4)
    async with opened(store):
        row = memory("alice")
        await store.insert([row], [QUERY])
        await asyncio.gather(*(store.search(QUERY, ALICE, 5) for _ in range(8)))
        own_postgres.stop("immediate")
        own_postgres.start()
        assert [found.id for found in await store.search(QUERY, ALICE, 5)] == [row.id]
        own_postgres.stop("fast")
        own_postgres.start()
        await store.insert([row, memory("alice")], [QUERY, QUERY])
        assert (await store.page(ALICE, 5))[1] == 2


async def test_the_first_call_after_an_outage_is_answered(own_postgres: PostgresServer) -> None:
    """However often the server was missed: nobody waits until a pool finds it again, and no call waits in its way."""
    store = store_on(own_postgres.create_database("memories"), minconn=4, pool_max_waiting=2)
    async with opened(store):
        row = memory("alice")
        await store.insert([row], [QUERY])
        own_postgres.stop("fast")
        for _ in range(20):
            with pytest.raises(ServiceUnavailable):
                await store.search(QUERY, ALICE, 5)
        own_postgres.start()
        assert [found.id for found in await store.search(QUERY, ALICE, 5)] == [row.id]


async def test_a_server_that_is_away_is_an_error_and_no_empty_answer(own_postgres: PostgresServer) -> None:
    database = own_postgres.create_database("memories")
    async with opened(store_on(database)) as store:
        await store.insert([memory("alice")], [QUERY])
        own_postgres.stop("fast")
        for attempt in (
            store.search(QUERY, ALICE, 5),
            store.page(ALICE, 5),
            store.scan(ALICE, None, 5),
            store.get(new_id()),
        ):
            with pytest.raises(ServiceUnavailable):
                await attempt
        with pytest.raises(ServiceUnavailable):
            await store_on(database).open()


async def test_wrong_credentials_are_told_from_an_outage(database: Database) -> None:
    with socket.socket() as nobody_listens:
        nobody_listens.bind(("127.0.0.1", 0))
        free_port = nobody_listens.getsockname()[1]
        with pytest.raises(ServiceUnavailable):
            await store_on(replace(database, port=free_port)).check(DIMS)
    wrongs: list[dict[str, Any]] = [{"password": "hunter2"}, {"user": "nobody"}, {"dbname": "nowhere"}]
    for wrong in wrongs:
        with pytest.raises(ServiceRefused) as refusal:
            await store_on(replace(database, **wrong)).check(DIMS)
        assert not any(value in str(refusal.value) for value in (*wrong.values(), database.password))


async def test_the_server_ends_a_statement_that_takes_too_long(database: Database) -> None:
    async with opened(store_on(database, statement_timeout_ms=2000)) as store:
        with psycopg.connect(database.uri) as other:
            other.execute("LOCK TABLE memories")
            with pytest.raises(ServiceUnavailable, match="QueryCanceled"):
                await store.search(QUERY, ALICE, 5)
        assert await store.search(QUERY, ALICE, 5) == []


async def test_a_cancelled_caller_leaves_nothing_running_in_the_database(database: Database) -> None:
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = %s"
    async with opened(store_on(database)) as store:
        with psycopg.connect(database.uri) as other:
            other.execute("LOCK TABLE memories")
            search = asyncio.create_task(store.search(QUERY, ALICE, 5))
            await until(lambda: ask(database, waiting, [database.dbname]) == [(1,)])
            search.cancel()
            with pytest.raises(asyncio.CancelledError):
                await search
            assert ask(database, waiting, [database.dbname]) == [(0,)]
        assert await store.search(QUERY, ALICE, 5) == []


async def test_open_and_close_may_be_repeated(database: Database) -> None:
    store = store_on(database)
    await store.close()
    store = store_on(database)
    await asyncio.gather(store.open(), store.open(), store.open())
    await store.close()
    await store.close()
    with pytest.raises(ServiceUnavailable):
        await store.get(new_id())
    assert ask(
        database,
        "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND pid <> pg_backend_pid()",
        [database.dbname],
    ) == [(0,)]


async def test_the_version_decides_whether_an_index_can_fill_top_k() -> None:
    assert pgvector_schema._version("0.8.5") >= (0, 8) > pgvector_schema._version("0.7.4")


@pytest.mark.parametrize("exact_rows", [100, 1])
@pytest.mark.parametrize("stored", [0, 3])
async def test_a_further_question_is_answered_in_the_same_round_trip_and_changes_nothing(
    database: Database, exact_rows: int, stored: int
) -> None:
    async with opened(store_on(database, exact_rows=exact_rows)) as store:
        rows = [memory("alice", f"memory {number}") for number in range(stored)]
        await store.insert(rows, spread(stored))
        for _ in range(2):  # a large user is known to be one the second time
            asked = [Question("SELECT %(asked)s::int + 1, 'b'", {"asked": 41}) for _ in range(2)]
            found = await store.search(QUERY, ALICE, 5, beside=asked[0])
            page = await store.page(ALICE, 5, beside=asked[1])
            assert found == await store.search(QUERY, ALICE, 5)
            assert page == await store.page(ALICE, 5)
            assert asked[1].answer == (42, "b")
            assert asked[0].answer == (42, "b")
