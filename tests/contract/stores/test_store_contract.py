"""What every vector store promises, whatever its engine does: run over each store that needs no server of its own."""

from __future__ import annotations

import asyncio
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.contract.stores.rows import DIMS, QUERY, at_cosine, memory, new_id, someone, spread
from utils.errors import ServiceRejected
from utils.stores import filters
from utils.stores.protocol import Owner, Row, Store

pytestmark = pytest.mark.asyncio(loop_scope="session")
MOST_READS = 16  # what the stores of this folder admit at once: a pgvector pool refuses more than twice its `maxconn`

HOSTILE = [
    "*", "%", "_", "' OR '1'='1", '" or ""="', "alice' --", 'bob" || true', "\\", "{}", "[]", "$ne", "null", "0",
    "a,b", "a|b", "@user_id:{*}", "alice ", "Alice", "älice", "🙂", "x" * 512, "metadata[\"user_id\"]", "user.id",
]  # fmt: skip


def texts(rows: list[Row]) -> list[str]:
    return [row.text for row in rows]


async def listed(store: Store, owner: Owner) -> list[Row]:
    rows, total = await store.page(owner, 1000)
    assert total == len(rows)
    return rows


# -- isolation


async def test_a_user_sees_only_their_own_rows(store: Store) -> None:
    alice, bob = someone(), someone()
    await store.insert([memory(alice, "alice's"), memory(bob, "bob's")], [QUERY, QUERY])
    assert texts(await store.search(QUERY, Owner(alice), 10)) == ["alice's"]
    assert texts(await listed(store, Owner(bob))) == ["bob's"]
    assert texts(await store.scan(Owner(bob), None, 10)) == ["bob's"]


async def test_an_agent_narrows_a_user_and_never_widens(store: Store) -> None:
    alice, bob = someone(), someone()
    rows = [memory(alice, "one", agent_id="a1"), memory(alice, "two", agent_id="a2"), memory(bob, "no", agent_id="a1")]
    await store.insert(rows, [QUERY] * 3)
    assert texts(await store.search(QUERY, Owner(alice, "a1"), 10)) == ["one"]
    assert texts(await listed(store, Owner(alice, "a2"))) == ["two"]
    assert sorted(texts(await store.scan(Owner(alice), None, 10))) == ["one", "two"]


@pytest.mark.parametrize("hostile", HOSTILE)
async def test_a_hostile_id_reaches_nobody_else(store: Store, hostile: str) -> None:
    victim = someone()
    await store.insert([memory(victim, "secret")], [QUERY])
    for owner in (Owner(hostile), Owner(victim, hostile), Owner(hostile, hostile)):
        found = [*await store.search(QUERY, owner, 10), *await listed(store, owner), *await store.scan(owner, None, 10)]
        assert all(row.user_id == owner.user_id for row in found)
        assert "secret" not in texts(found)


@pytest.mark.parametrize("hostile", [name for name in HOSTILE if name not in ("*",)])
async def test_a_hostile_id_keeps_its_own_rows(store: Store, hostile: str) -> None:
    user = f"{hostile}{uuid.uuid4().hex[:6]}"[-512:]
    await store.insert([memory(user, "mine")], [QUERY])
    assert texts(await store.search(QUERY, Owner(user), 5)) == ["mine"]
    assert texts(await listed(store, Owner(user))) == ["mine"]


async def test_a_filter_on_another_user_finds_nothing(store: Store) -> None:
    alice, bob = someone(), someone()
    await store.insert([memory(alice), memory(bob)], [QUERY, QUERY])
    for wanted in ({"user_id": bob}, {"AND": [{"user_id": bob}]}, {"user_id": {"eq": bob}}):
        condition = filters.parse(wanted)
        assert await store.search(QUERY, Owner(alice), 5, condition) == []
        assert await store.page(Owner(alice), 5, 0, condition) == ([], 0)
    for wanted in ({"OR": [{"user_id": bob}, {"user_id": alice}]}, {"user_id": "*"}, {"NOT": [{"user_id": bob}]}):
        rows = await store.search(QUERY, Owner(alice), 5, filters.parse(wanted))
        assert [row.user_id for row in rows] == [alice]


# -- scores and order


async def test_scores_are_similarities_best_first(store: Store) -> None:
    user = someone()
    cosines = [0.0, 1.0, -0.5, 0.5, 0.8]
    await store.insert([memory(user, str(cosine)) for cosine in cosines], [at_cosine(cosine) for cosine in cosines])
    rows = await store.search(QUERY, Owner(user), 10)
    assert texts(rows)[:3] == ["1.0", "0.8", "0.5"]
    assert {row.text: row.score for row in rows} == {
        "1.0": pytest.approx(1.0, abs=1e-4),
        "0.8": pytest.approx(0.8, abs=1e-4),
        "0.5": pytest.approx(0.5, abs=1e-4),
        "0.0": pytest.approx(0.0, abs=1e-4),
        "-0.5": pytest.approx(0.0, abs=1e-4),
    }


async def test_scores_do_not_depend_on_the_length_of_vectors(store: Store) -> None:
    user = someone()
    await store.insert([memory(user)], [[3.0 * value for value in at_cosine(0.8)]])
    rows = await store.search([0.5 * value for value in QUERY], Owner(user), 1)
    assert rows[0].score == pytest.approx(0.8, abs=1e-4)


async def test_rows_that_are_listed_have_no_score_of_a_search(store: Store) -> None:
    user = someone()
    row = memory(user)
    await store.insert([row], [QUERY])
    assert await store.get(row.id) == row


async def test_whole_numbers_are_a_vector(store: Store) -> None:
    user = someone()
    await store.insert([memory(user)], [[int(value) for value in QUERY]])
    rows = await store.search([int(value) for value in QUERY], Owner(user), 1)
    assert rows[0].score == pytest.approx(1.0, abs=1e-4)


# -- limits and pages


@pytest.mark.parametrize("top_k", [1, 5, 100])
async def test_top_k_is_filled(store: Store, top_k: int) -> None:
    user = someone()
    await store.insert([memory(user, str(number)) for number in range(120)], spread(120))
    rows = await store.search(QUERY, Owner(user), top_k)
    assert texts(rows) == [str(number) for number in range(top_k)]


async def test_top_k_counts_matching_rows(store: Store) -> None:
    user = someone()
    rows = [memory(user, str(number), shelf="rare" if number % 20 == 0 else "common") for number in range(100)]
    await store.insert(rows, spread(100))
    found = await store.search(QUERY, Owner(user), 4, filters.parse({"shelf": "rare"}))
    assert texts(found) == ["0", "20", "40", "60"]


async def test_a_page_is_newest_first_with_the_total(store: Store) -> None:
    user = someone()
    times = {
        "third": "2026-01-01T09:00:00+09:00",
        "second": "2026-01-01T00:30:00Z",
        "first": "2025-12-31T20:00:00-08:00",
        "undated": None,
    }
    rows = [memory(user, text, **({"created_at": time} if time else {})) for text, time in times.items()]
    del rows[3].payload["created_at"]  # type: ignore[attr-defined]  # the test's own dict
    await store.insert(rows, spread(4))
    assert [texts((await store.page(Owner(user), 2, offset))[0]) for offset in (0, 2, 4)] == [
        ["first", "second"],
        ["third", "undated"],
        [],
    ]
    assert [(await store.page(Owner(user), 2, offset))[1] for offset in (0, 2, 4)] == [4, 4, 4]


async def test_rows_of_one_moment_are_paged_by_id(store: Store) -> None:
    user = someone()
    rows = [memory(user, str(number)) for number in range(9)]
    await store.insert(rows, spread(9))
    paged = [row.id for offset in (0, 3, 6) for row in (await store.page(Owner(user), 3, offset))[0]]
    assert paged == sorted(row.id for row in rows)


async def test_a_page_counts_matching_rows(store: Store) -> None:
    user = someone()
    await store.insert([memory(user, str(number), number=number) for number in range(10)], spread(10))
    rows, total = await store.page(Owner(user), 2, 0, filters.parse({"number": {"gte": 5}}))
    assert (len(rows), total) == (2, 5)


async def test_a_scan_walks_through_all_by_id(store: Store) -> None:
    user, other = someone(), someone()
    rows = [memory(user, str(number), agent_id="a" if number % 3 else "b") for number in range(23)]
    await store.insert([*rows, memory(other)], spread(24))
    for owner in (Owner(user), Owner(user, "a"), Owner(user, "b")):
        scanned: list[Row] = []
        while page := await store.scan(owner, scanned[-1].id if scanned else None, 5):
            assert len(page) <= 5
            scanned += page
        assert scanned == sorted((row for row in rows if owner.owns(row.payload)), key=lambda row: row.id)
    assert await store.scan(Owner(user), None, 0) == []


async def test_what_comes_and_goes_moves_no_other_page(store: Store) -> None:
    user = someone()
    ids = sorted(new_id() for _ in range(6))
    first, early, second, third, late, gone = ids
    await store.insert([memory(user, memory_id=each) for each in (first, second, third, gone)], spread(4))
    assert [row.id for row in await store.scan(Owner(user), None, 2)] == [first, second]
    await store.insert([memory(user, memory_id=early), memory(user, memory_id=late)], spread(2))
    await store.delete([first, gone])
    assert [row.id for row in await store.scan(Owner(user), second, 2)] == [third, late]
    assert await store.scan(Owner(user), late, 2) == []


async def test_a_batch_of_searches_answers_as_each_search_does(store: Store) -> None:
    user = someone()
    await store.insert([memory(user, str(number)) for number in range(30)], spread(30))
    await store.insert([memory(someone(), "another's")], [QUERY])
    vectors = [QUERY, at_cosine(0.3, axis=2), at_cosine(-0.4, axis=5), QUERY]
    answers = await store.search_batch(vectors, Owner(user), 4)
    assert answers == [await store.search(vector, Owner(user), 4) for vector in vectors]
    assert await store.search_batch(vectors, Owner(someone()), 4) == [[], [], [], []]
    assert await store.search_batch([], Owner(user), 4) == []


# -- ids


@pytest.mark.parametrize(
    "memory_id", ["", "x", "not-a-uuid", "*", "' OR 1=1", "0" * 36, "a\x00b", "00000000-0000-4000-8000-000000000000"]
)
async def test_an_unknown_or_malformed_id_is_no_memory(store: Store, memory_id: str) -> None:
    user = someone()
    await store.insert([memory(user)], [QUERY])
    assert await store.get(memory_id) is None
    await store.delete([memory_id])
    assert len(await listed(store, Owner(user))) == 1


async def test_several_ids_are_answered_by_those_that_are_there(store: Store) -> None:
    user = someone()
    rows = [memory(user, text) for text in ("one", "two", "three")]
    await store.insert(rows, [QUERY] * 3)
    asked = [rows[2].id, new_id(), "no id at all", rows[0].id]
    assert sorted(texts(await store.get_many(asked))) == ["one", "three"]
    assert await store.get_many([], to_change=True) == []


async def test_an_unknown_id_is_not_updated_into_being(store: Store) -> None:
    user = someone()
    await store.update(memory(user), QUERY)
    assert await listed(store, Owner(user)) == []


async def test_an_id_that_is_there_is_left_as_it_is(store: Store) -> None:
    user = someone()
    first = memory(user, "first")
    await store.insert([first], [QUERY])
    second = memory(user, "second", memory_id=first.id)
    await store.insert([second, memory(user, "other")], [at_cosine(0.5), at_cosine(0.8)])
    assert texts(await store.search(QUERY, Owner(user), 5)) == ["first", "other"]
    assert await store.get(first.id) == first


async def test_an_id_twice_in_one_insert_counts_once(store: Store) -> None:
    user, memory_id = someone(), new_id()
    await store.insert(
        [memory(user, "first", memory_id=memory_id), memory(user, "second", memory_id=memory_id)], [QUERY] * 2
    )
    assert texts(await listed(store, Owner(user))) == ["first"]


# -- payloads


async def test_metadata_come_back_as_they_went_in(store: Store) -> None:
    user = someone()
    metadata: dict[str, Any] = {
        "text": "a ```python\nprint(1)\n``` b",
        "empty": "",
        "whole": 3,
        "big": 2**60,
        "real": 2.5,
        "yes": True,
        "list": ["a", "b"],
        "mixed": ["a", 1, None, {"deep": []}],
        "nothing in it": [],
        "source": {"conversation_id": "c1", "more": {"x": [1, 2]}},
        "dotted.key": "d",
        "$odd 'key\"": "q",
        "ключ": "значение",
        "": "no name",
    }
    row = memory(user, "日本語 🙂 ```json {}```", **metadata)
    await store.insert([row], [QUERY])
    assert await store.get(row.id) == row
    (found,) = await store.search(QUERY, Owner(user), 1)
    assert found.metadata == metadata


async def test_an_update_replaces_text_vector_and_metadata(store: Store) -> None:
    user = someone()
    row = memory(user, "old", keep=1, change="a", gone=True, nested={"a": 1, "b": 2})
    await store.insert([row], [QUERY])
    changed = memory(user, "new", memory_id=row.id, keep=1, change="b", added=[1, "x"], nested={"a": 1})
    await store.update(changed, at_cosine(0.5))
    assert await store.get(row.id) == changed
    (found,) = await store.search(QUERY, Owner(user), 5)
    assert found.text == "new"
    assert found.score == pytest.approx(0.5, abs=1e-4)


async def test_what_comes_back_is_the_callers_own(store: Store) -> None:
    user = someone()
    row = memory(user, source={"ids": [1]})
    await store.insert([row], [QUERY])
    row.payload["source"]["ids"].append(2)
    (found,) = await store.search(QUERY, Owner(user), 1)
    found.payload["source"]["ids"].append(3)
    again = await store.get(row.id)
    assert again is not None
    assert again.payload["source"] == {"ids": [1]}


# -- deleting


async def test_many_rows_are_deleted_in_pages_and_nothing_else(store: Store) -> None:
    alice, bob = someone(), someone()
    await store.insert([memory(alice, str(number)) for number in range(1250)], spread(1250))
    await store.insert([memory(bob)], [QUERY])
    deleted: set[str] = set()
    while page := await store.scan(Owner(alice), None, 500):
        await store.delete([row.id for row in page])
        deleted |= {row.id for row in page}
    assert len(deleted) == 1250
    assert await store.page(Owner(alice), 5) == ([], 0)
    assert len(await listed(store, Owner(bob))) == 1


# -- concurrency


async def test_concurrent_writes_are_all_there_with_their_own_vectors(store: Store) -> None:
    users = [someone() for _ in range(8)]
    cosines = [round(0.9 - 0.1 * number, 1) for number in range(8)]

    async def write(user: str) -> None:
        for cosine in cosines:
            await store.insert([memory(user, str(cosine))], [at_cosine(cosine)])

    await asyncio.gather(*(write(user) for user in users))
    for user in users:
        rows = await store.search(QUERY, Owner(user), 20)
        assert {row.text: row.score for row in rows} == {
            str(cosine): pytest.approx(cosine, abs=1e-4) for cosine in cosines
        }


async def test_reads_go_on_beside_writes(store: Store) -> None:
    user = someone()
    row = memory(user, "there")
    await store.insert([row], [QUERY])
    writes = [store.insert([memory(user, str(number))], [at_cosine(0.1)]) for number in range(30)]
    reads = [store.search(QUERY, Owner(user), 1) for _ in range(MOST_READS)]
    done = await asyncio.gather(*writes, *reads)
    assert all(texts(rows) == ["there"] for rows in done[30:] if rows is not None)


# -- dimensions


async def test_other_dimensions_are_refused_with_both_numbers(store: Store, kind: str) -> None:
    user = someone()
    row = memory(user)
    await store.insert([row], [QUERY])
    await store.check(DIMS)
    attempts = [
        store.check(5),
        store.search([1.0] * 5, Owner(user), 1),
        store.search_batch([QUERY, [1.0] * 5], Owner(user), 1),
        store.insert([memory(user)], [[1.0] * 5]),
        store.update(row, [1.0] * 5),
    ]
    for attempt in attempts:
        with pytest.raises(ServiceRejected) as refusal:
            await attempt
        assert refusal.value.key == "store_other_dims"
        assert (refusal.value.params["found"], refusal.value.params["expected"]) == (5, DIMS)
    assert await listed(store, Owner(user)) == [row]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e300])
async def test_a_vector_that_is_none_is_refused(store: Store, value: float) -> None:
    user = someone()
    with pytest.raises(ServiceRejected):
        await store.insert([memory(user)], [[value] * DIMS])
    assert await listed(store, Owner(user)) == []


# -- what is among the memories and is none


INTERNAL = [
    {"__internal": True, "internal_type": "checkpoint", "version": "v1"},
    {"__internal": "true", "internal_type": "access_log", "version": "v1"},
    {"__internal": True, "internal_type": "extraction_task", "version": "v1"},
    {"__internal": "true", "internal_type": "distributed_lock", "version": "v1"},
]


async def test_rows_that_earlier_plugins_kept_for_themselves_are_no_memories(store: Store) -> None:
    alice = someone()
    hidden = [memory(alice, "{}", **marks) for marks in INTERNAL]
    shown = [memory(alice, "seen", __internal="no"), memory(alice, "seen, too", internal_type="checkpoint")]
    await store.insert([*hidden, *shown], [QUERY] * len(hidden) + [at_cosine(0.1)] * len(shown))
    ids = sorted(row.id for row in shown)
    for found in (
        await store.search(QUERY, Owner(alice), 2),
        *await store.search_batch([QUERY], Owner(alice), 2),
        await listed(store, Owner(alice)),
        await store.scan(Owner(alice), None, 10),
    ):
        assert sorted(row.id for row in found) == ids
    assert [await store.get(row.id) for row in hidden] == [None] * len(hidden)
    assert await store.get(ids[0]) is not None


async def test_rows_of_earlier_plugins_are_read_in_the_order_of_their_ids(store: Store) -> None:
    """Whoever's they are; the rows of other tests are among them."""
    mine = someone()
    rows = [memory(mine, f"{number}", **INTERNAL[number % 2]) for number in range(5)]
    others = [memory(mine, "task", **INTERNAL[2]), memory(mine, "none", internal_type="checkpoint")]
    await store.insert([*rows, *others], [QUERY] * 7)
    found: list[Row] = []
    while page := await store.internal_rows(("checkpoint", "access_log"), found[-1].id if found else None, 3):
        assert len(page) <= 3
        found += page
    assert [row.id for row in found] == sorted(row.id for row in found)
    assert [row for row in found if row.user_id == mine] == sorted(rows, key=lambda row: row.id)


async def test_expired_memories_are_neither_found_nor_listed_and_still_there(store: Store) -> None:
    alice, today = someone(), datetime.now(UTC).date()
    over = memory(alice, "over", expiration_date=(today - timedelta(days=2)).isoformat())
    lasting = [
        memory(alice, "tomorrow", expiration_date=(today + timedelta(days=2)).isoformat()),
        memory(alice, "never", expiration_date="one day"),
        memory(alice, "undated"),
    ]
    await store.insert([over, *lasting], [QUERY, *[at_cosine(0.5)] * 3])
    ids = sorted(row.id for row in lasting)
    assert sorted(row.id for row in await store.search(QUERY, Owner(alice), 3)) == ids
    (batch,) = await store.search_batch([QUERY], Owner(alice), 3)
    assert sorted(row.id for row in batch) == ids
    assert sorted(row.id for row in await listed(store, Owner(alice))) == ids
    assert await store.get(over.id) == over  # as in mem0: whoever names it gets it
    assert over.id in [row.id for row in await store.scan(Owner(alice), None, 10)]  # and a delete_all reaches it
