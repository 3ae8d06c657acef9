"""The changes of a plan as statements in a transaction that somebody else opened, on a connection of theirs."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

import psycopg
import pytest
import pytest_asyncio

from playground.postgres import Database
from tests.contract.stores.conftest import opened, pgvector_settings
from tests.contract.stores.rows import DIMS, QUERY, at_cosine, memory, new_id
from utils.errors import ServiceRejected
from utils.stores.pgvector.store import PgvectorStore
from utils.stores.protocol import Owner, Patch, Row, RowChanges, TransactionalStore

ALICE = Owner("alice")


@pytest_asyncio.fixture
async def store(database: Database) -> AsyncIterator[PgvectorStore]:
    async with opened(PgvectorStore(pgvector_settings(database, '100% "mine"'), DIMS)) as opened_store:
        yield opened_store


async def send(
    store: PgvectorStore,
    added: Sequence[Row] = (),
    patched: Sequence[Patch] = (),
    deleted: Sequence[str] = (),
    *,
    owner: Owner = ALICE,
    commit: bool = True,
) -> None:
    """The changes on a plain connection, with a vector of cosine 0.5 for each new row."""
    changes = await store.change_statements(owner, RowChanges(added, [at_cosine(0.5)] * len(added), patched, deleted))
    with psycopg.connect(store.conninfo) as conn:
        for statement, params in changes:
            conn.execute(statement, params)
        if not commit:
            conn.rollback()


def patch(row: Row, *removed: str, **payload: Any) -> Patch:
    return Patch(row.id, payload, removed, at_cosine(0.8))


async def test_it_is_told_from_stores_that_cannot(store: PgvectorStore) -> None:
    assert isinstance(store, TransactionalStore)


@pytest.mark.parametrize("commit", [True, False])
async def test_all_changes_are_made_with_the_transaction_or_not_at_all(store: PgvectorStore, commit: bool) -> None:
    kept, goes = memory("alice", "old", tag="x", text_lemmatized="old"), memory("alice", "goes")
    new = memory("alice", "new")
    await store.insert([kept, goes], [QUERY, QUERY])
    for _ in range(2):  # twice is once
        await send(store, [new], [patch(kept, "text_lemmatized", data="changed")], [goes.id], commit=commit)
    rows = await store.search(QUERY, ALICE, 5)
    if commit:
        changed = {key: value for key, value in kept.payload.items() if key != "text_lemmatized"} | {"data": "changed"}
        assert [(row.id, row.payload) for row in rows] == [(kept.id, changed), (new.id, new.payload)]
        assert [row.score for row in rows] == [pytest.approx(0.8, abs=1e-6), pytest.approx(0.5, abs=1e-6)]
    else:
        assert sorted(row.text for row in rows) == ["goes", "old"]


async def test_another_owners_memories_are_left_alone(store: PgvectorStore) -> None:
    bobs, agents = memory("bob", "bob's"), memory("alice", "of an agent", agent_id="a1")
    await store.insert([bobs, agents], [QUERY, QUERY])
    for owner, theirs in ((ALICE, bobs), (Owner("alice", "a2"), agents), (Owner("bob", "a1"), bobs)):
        await send(store, [], [patch(theirs, data="stolen")], [theirs.id], owner=owner)
        assert await store.get(theirs.id) == theirs
    with pytest.raises(ServiceRejected):
        await send(store, [memory("bob")])


async def test_no_patch_gives_a_memory_to_somebody_else(store: PgvectorStore) -> None:
    row = memory("alice", agent_id="a1")
    await store.insert([row], [QUERY])
    await send(store, [], [patch(row, "user_id", "agent_id", user_id="bob", run_id="r", data="new")])
    assert await store.get(row.id) == replace(row, payload={**row.payload, "data": "new"})


@pytest.mark.parametrize("before", ["2020-01-01T00:00:00+00:00", None, ""])
async def test_the_time_of_creation_stays_where_there_is_one(store: PgvectorStore, before: str | None) -> None:
    row = memory("alice", created_at=before)
    await store.insert([row], [QUERY])
    await send(store, [], [patch(row, created_at="2026-02-02T00:00:00+00:00")])
    changed = await store.get(row.id)
    assert changed is not None
    assert changed.created_at == (before or "2026-02-02T00:00:00+00:00")


async def test_a_memory_that_is_gone_is_not_updated_into_being(store: PgvectorStore) -> None:
    await send(store, [], [patch(memory("alice"), data="new")], ["not an id"])
    assert await store.page(ALICE, 5) == ([], 0)


async def test_an_id_that_is_there_is_left_as_it_is(store: PgvectorStore) -> None:
    first = memory("alice", "first")
    await store.insert([first], [QUERY])
    await send(store, [memory("alice", "second", memory_id=first.id), memory("alice", "other")])
    assert [row.text for row in await store.search(QUERY, ALICE, 5)] == ["first", "other"]


@pytest.mark.parametrize(
    ("row", "vector"),
    [
        (memory("alice", "a\0b"), QUERY),
        (memory("alice", "\\\0"), QUERY),
        (memory("alice", note="\ud800"), QUERY),
        (memory("alice", number=math.nan), QUERY),
        (memory("alice", what=object()), QUERY),
        (memory("alice", memory_id="x"), QUERY),
        (memory("alice"), [math.nan] * DIMS),
        (memory("alice"), [math.inf] * DIMS),
        (memory("alice"), [1e300] * DIMS),
        (memory("alice"), [1.0] * 5),
    ],
)
async def test_what_cannot_be_stored_is_refused_before_it_reaches_the_transaction(
    store: PgvectorStore, row: Row, vector: list[float]
) -> None:
    with pytest.raises(ServiceRejected):
        await store.change_statements(ALICE, RowChanges([row], [vector]))
    with pytest.raises(ServiceRejected):
        await store.change_statements(ALICE, RowChanges(patched=[Patch(row.id, row.payload, (), vector)]))


async def test_what_looks_like_nul_and_is_none_is_stored(store: PgvectorStore) -> None:
    row = memory("alice", "a backslash: \\u0000, two: \\\\u0000")
    await send(store, [row])
    assert await store.get(row.id) == row


async def test_a_vector_keeps_every_bit(store: PgvectorStore) -> None:
    vector = [1 / 3, -1e-38, 16777217.0, 3.4e38, 5e-324, 0.1, -0.0, 1.0]
    row = memory("alice", memory_id=new_id())
    changes = await store.change_statements(ALICE, RowChanges([row], [vector]))
    await store.insert([memory("alice", "bound")], [vector])
    with psycopg.connect(store.conninfo) as conn:
        for statement, params in changes:
            conn.execute(statement, params)
        found = conn.execute('SELECT DISTINCT vector::text FROM "100% ""mine"""').fetchall()
    assert len(found) == 1


async def test_the_table_is_made_first(database: Database) -> None:
    store = PgvectorStore(pgvector_settings(database, "memories", pool_open=False))
    await send(store, [row := memory("alice")])
    assert await store.get(row.id) == row
    assert await store.change_statements(ALICE, RowChanges()) == []
    await store.close()
