"""Stores that leak, starve, merge, hide outages or break on a text: the wrapper keeps its promises or refuses."""

from __future__ import annotations

from typing import Any

import pytest

from tests.contract.stores.awkward import AwkwardStore
from tests.contract.stores.conftest import opened
from tests.contract.stores.rows import DIMS, QUERY, at_cosine, memory, new_id, spread
from utils.errors import CannotList, ServiceRefused, ServiceRejected, ServiceUnavailable
from utils.stores import filters
from utils.stores.mem0.store import Mem0Store
from utils.stores.protocol import Owner

ALICE, BOB = Owner("alice"), Owner("bob")


def over(awkward: AwkwardStore, provider: str, **config: Any) -> Mem0Store:
    return Mem0Store(provider, {"embedding_model_dims": DIMS, **config}, build=lambda client: awkward)


async def test_a_store_that_ignores_the_owner_leaks_nothing_and_still_fills_top_k() -> None:
    async with opened(over(AwkwardStore(leaks=True), "oracledb")) as store:
        await store.insert([memory("bob", str(number)) for number in range(300)], [QUERY] * 300)
        await store.insert([memory("alice", str(number)) for number in range(5)], [at_cosine(0.1)] * 5)
        assert len(await store.search(QUERY, ALICE, 5)) == 5
        assert {row.user_id for row in await store.search(QUERY, ALICE, 50)} == {"alice"}
        assert (await store.page(ALICE, 3))[1] == 5
        assert {row.user_id for row in await store.scan(ALICE, None, 2)} == {"alice"}
        assert await store.search(QUERY, Owner("carol"), 5) == await store.scan(Owner("carol"), None, 5) == []


async def test_owners_that_differ_in_letter_case_are_two() -> None:
    async with opened(over(AwkwardStore(ignores_case=True), "oracledb")) as store:
        await store.insert([memory("Alice", "big"), memory("alice", "small")], [QUERY, at_cosine(0.5)])
        assert [row.text for row in await store.search(QUERY, ALICE, 1)] == ["small"]
        assert [row.text for row in (await store.page(Owner("Alice"), 5))[0]] == ["big"]


async def test_a_search_that_cuts_before_it_filters_is_asked_for_more() -> None:
    awkward = AwkwardStore(cuts_before_filtering=True)
    async with opened(over(awkward, "mongodb")) as store:
        await store.insert([memory("bob") for _ in range(300)], [QUERY] * 300)
        await store.insert([memory("alice", str(number)) for number in range(4)], [at_cosine(0.1)] * 4)
        assert len(await store.search(QUERY, ALICE, 3)) == 3
        awkward.asked.clear()
        assert len(await store.search(QUERY, ALICE, 10)) == 4
        assert max(awkward.asked) < 10_000


async def test_a_store_that_lists_a_thousand_at_a_time_is_emptied_all_the_same() -> None:
    async with opened(over(AwkwardStore(answers=1000), "s3_vectors")) as store:
        await store.insert([memory("alice") for _ in range(2095)], spread(2095))
        await store.insert([memory("bob")], [QUERY])
        with pytest.raises(CannotList):
            await store.page(ALICE, 5)
        deleted = 0
        while batch := await store.scan(ALICE, None, 500):
            await store.delete([row.id for row in batch])
            deleted += len(batch)
        assert deleted == 2095
        assert await store.page(ALICE, 5) == ([], 0)
        assert (await store.page(BOB, 5))[1] == 1


@pytest.mark.parametrize(
    ("provider", "seconds"), [("azure_ai_search", 5.0), ("upstash_vector", 10.0), ("oracledb", 0.0)]
)
async def test_a_store_says_how_long_it_shows_what_was_deleted(provider: str, seconds: float) -> None:
    async with opened(over(AwkwardStore(late_listings=2 if seconds else 0), provider)) as store:
        assert store.visible_after_s == seconds
        row = memory("alice")
        await store.insert([row], [QUERY])
        await store.delete([row.id])
        assert await store.get(row.id) is None
        shown = [len(await store.scan(ALICE, None, 5)) for _ in range(3)]
        assert shown == ([1, 1, 0] if seconds else [0, 0, 0])


@pytest.mark.parametrize("provider", ["supabase"])
async def test_what_cannot_list_refuses_to(provider: str) -> None:
    async with opened(over(AwkwardStore(), provider)) as store:
        await store.insert([memory("alice")], [QUERY])
        assert len(await store.search(QUERY, ALICE, 5)) == 1
        for attempt in (store.page(ALICE, 5), store.scan(ALICE, None, 5)):
            with pytest.raises(ServiceRejected) as refusal:
                await attempt
            assert refusal.value.params["provider"] == provider


@pytest.mark.parametrize("provider", ["pinecone", "turbopuffer"])
async def test_an_empty_listing_is_not_believed_while_a_search_finds_rows(provider: str) -> None:
    awkward = AwkwardStore(hides_listing=True)
    awkward.client = type("Client", (), {"namespaces": lambda self: ["one"]})()  # type: ignore[attr-defined]
    async with opened(over(awkward, provider)) as store:
        await store.insert([memory("alice")], [QUERY])
        for attempt in (store.page(ALICE, 5), store.scan(ALICE, None, 5)):
            with pytest.raises(ServiceRejected, match=provider):
                await attempt
        assert await store.scan(BOB, None, 5) == []


@pytest.mark.parametrize("provider", ["mongodb", "pinecone"])
async def test_an_outage_hidden_as_an_empty_answer_is_an_error(provider: str) -> None:
    awkward = AwkwardStore()
    async with opened(over(awkward, provider)) as store:
        row = memory("alice")
        await store.insert([row], [QUERY])
        awkward.down = True
        attempts = [
            store.get(row.id),
            store.search(QUERY, ALICE, 5),
            store.page(ALICE, 5),
            store.scan(ALICE, None, 5),
            store.check(DIMS),
        ]
        for attempt in attempts:
            with pytest.raises(ServiceUnavailable):
                await attempt


async def test_an_insert_that_failed_quietly_is_an_error() -> None:
    async with opened(over(AwkwardStore(drops_inserts=True), "mongodb")) as store:
        with pytest.raises(ServiceUnavailable):
            await store.insert([memory("alice")], [QUERY])


@pytest.mark.parametrize("provider", ["mongodb"])
async def test_a_key_that_disappears_is_gone_where_updates_merge(provider: str) -> None:
    async with opened(over(AwkwardStore(merges=True), provider)) as store:
        row = memory("alice", gone=1, nested={"a": 1, "gone": {"x": 2}})
        await store.insert([row], [QUERY])
        changed = memory("alice", memory_id=row.id, nested={"a": 1})
        await store.update(changed, QUERY)
        found = await store.get(row.id)
        assert found is not None
        assert found.metadata.keys() == {"nested"}
        assert found.metadata["nested"]["a"] == 1
        assert not found.metadata["nested"].get("gone")
        condition = filters.parse({"gone": "*"})
        assert await store.search(QUERY, ALICE, 5, condition) == []


@pytest.mark.parametrize("provider", ["azure_ai_search"])
@pytest.mark.parametrize("text", ["a ```x``` b", "````", "`\u2060``", "plain ` tick", "```\u2060```"])
async def test_fences_in_a_text_do_not_break_reading(provider: str, text: str) -> None:
    async with opened(over(AwkwardStore(breaks_on_fences=True), provider)) as store:
        row = memory("alice", text, note={text: [text]})
        await store.insert([row], [QUERY])
        assert await store.get(row.id) == row
        assert [found.payload for found in await store.search(QUERY, ALICE, 5)] == [row.payload]


async def test_another_row_than_asked_for_is_none() -> None:
    async with opened(over(AwkwardStore(answers_nearest=True), "oracledb")) as store:
        row = memory("alice")
        await store.insert([row], [QUERY])
        unknown = new_id()
        assert await store.get(unknown) is None
        await store.update(memory("alice", "changed", memory_id=unknown), QUERY)
        assert await store.get(row.id) == row


async def test_a_client_that_wants_a_list_of_vectors_gets_one() -> None:
    async with opened(over(AwkwardStore(nested_query=True), "upstash_vector")) as store:
        await store.insert([memory("alice")], [QUERY])
        (found,) = await store.search(QUERY, ALICE, 5)
        assert found.score == 1.0


async def test_a_cap_on_answers_is_kept_to() -> None:
    awkward = AwkwardStore()
    async with opened(over(awkward, "s3_vectors")) as store:
        await store.insert([memory("alice", shelf="x") for _ in range(20)], spread(20))
        await store.search(QUERY, ALICE, 500, filters.parse({"shelf": "y"}))
        assert max(awkward.asked) == 100


class HttpError(Exception):
    """As vendors' clients make them: a status, and a text that repeats the request."""

    def __init__(self, status_code: int) -> None:
        super().__init__("401 for key sk-secret: likes tea")
        self.status_code = status_code


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (ConnectionRefusedError("postgres://user:sk-secret@host"), ServiceUnavailable),
        (TimeoutError("sk-secret"), ServiceUnavailable),
        (HttpError(503), ServiceUnavailable),
        (HttpError(429), ServiceUnavailable),
        (HttpError(401), ServiceRefused),
        (HttpError(400), ServiceRejected),
        (ValueError("sk-secret"), ServiceRejected),
    ],
)
async def test_what_a_client_raises_is_told_by_its_kind_and_not_by_its_text(fault: Exception, error: type) -> None:
    awkward = AwkwardStore()
    async with opened(over(awkward, "oracledb")) as store:
        row = memory("alice")
        await store.insert([row], [QUERY])
        awkward.down = fault
        attempts = [store.get(row.id), store.search(QUERY, ALICE, 5), store.page(ALICE, 5), store.delete([row.id])]
        for attempt in attempts:
            with pytest.raises(error) as refusal:
                await attempt
            assert "secret" not in str(refusal.value)
            assert "tea" not in str(refusal.value)


async def test_a_row_that_is_gone_already_is_deleted() -> None:
    awkward = AwkwardStore(down=HttpError(404))
    async with opened(over(awkward, "oracledb")) as store:
        await store.delete([new_id()])


async def test_nothing_is_asked_of_a_closed_store() -> None:
    store = over(AwkwardStore(), "oracledb")
    await store.open()
    await store.close()
    await store.close()
    with pytest.raises(ServiceUnavailable):
        await store.get(new_id())
