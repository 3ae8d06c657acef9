"""A search's order by similarity and keywords, over every store that needs no server of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio

from tests.contract.stores.rows import QUERY, at_cosine, memory, someone
from utils.memory import recall
from utils.stores import filters
from utils.stores.protocol import Owner, Row, Store

pytestmark = pytest.mark.asyncio(loop_scope="session")

NAMED = "Has a whippet named Biscuit"


@dataclass
class Models:
    """No reranker."""

    reranks: bool = False


async def search(
    store: Store, user: str, top_k: int = 10, *, query: str = "Who is Biscuit?", **asked: Any
) -> list[Row]:
    condition = asked.pop("condition", None)
    asked = {"threshold": None, "keyword_order": True, **asked}
    models: Any = Models()
    found = await recall.search(models, store, query, QUERY, Owner(user), top_k=top_k, condition=condition, **asked)
    return found.rows


@pytest_asyncio.fixture(loop_scope="session")
async def user(store: Store) -> str:
    """Thirty memories of falling similarity; the one that names what is asked for is the last but one."""
    user = someone()
    texts = [f"went out on day {number}" for number in range(28)] + [NAMED, "the end"]
    rows = [memory(user, text, place=number) for number, text in enumerate(texts)]
    await store.insert(rows, [at_cosine(0.9 - number / 50) for number in range(30)])
    return user


async def test_a_word_lifts_what_similarity_would_leave_out(store: Store, user: str) -> None:
    assert [row.text for row in await search(store, user, 1)] == [NAMED]
    assert [row.text for row in await search(store, user, 1, keyword_order=False)] == ["went out on day 0"]


async def test_scores_are_similarities_whatever_the_order(store: Store, user: str) -> None:
    with_words, without = [await search(store, user, 30, keyword_order=order) for order in (True, False)]
    assert {row.id: row.score for row in with_words} == {row.id: row.score for row in without}
    assert all(row.keyword_score is not None and 0.0 <= row.keyword_score <= 1.0 for row in with_words)
    assert all(row.keyword_score is None for row in without)
    assert max(with_words, key=lambda row: row.keyword_score or 0.0).text == NAMED


async def test_a_threshold_is_one_of_similarity(store: Store, user: str) -> None:
    found = await search(store, user, 30, threshold=0.5)
    assert NAMED not in [row.text for row in found]
    assert {row.id for row in found} == {row.id for row in await search(store, user, 30) if (row.score or 0.0) >= 0.5}


async def test_a_shorter_answer_is_the_beginning_of_a_longer_one(store: Store, user: str) -> None:
    longest = [row.id for row in await search(store, user, 30)]
    for top_k in (1, 2, 5, 29):
        assert [row.id for row in await search(store, user, top_k)] == longest[:top_k]


async def test_filters_hold(store: Store, user: str) -> None:
    condition = filters.parse({"place": {"gte": 20}})
    found = await search(store, user, 3, condition=condition)
    assert len(found) == 3
    assert found[0].text == NAMED
    assert all(row.metadata["place"] >= 20 for row in found)


async def test_words_reach_nobody_elses_memories(store: Store, user: str) -> None:
    other = someone()
    await store.insert([memory(other, "Biscuit is somebody else's")], [QUERY])
    assert all(row.user_id == user for row in await search(store, user, 30))


async def test_on_pgvector_words_find_what_is_not_among_the_nearest(store: Store, kind: str) -> None:
    """A user's rows are looked at one by one anyway, so those that hold the words come from all of them."""
    if not kind.startswith("pgvector"):
        return
    user = someone()
    texts = [*(f"went out on day {number}" for number in range(150)), "昨日は苔寺へ行った", NAMED, "100% Ärger_mit\\Öl"]
    vectors = [at_cosine(0.9 - number / 200) for number in range(len(texts))]
    await store.insert([memory(user, text) for text in texts], vectors)
    for query, found in (("Who is Biscuit?", NAMED), ("苔寺", texts[150]), ("ÄRGER mit Öl", texts[-1])):
        assert found in [row.text for row in await search(store, user, 2, query=query)]
    assert NAMED not in [row.text for row in await search(store, user, 100, query="Who is Rover?")]


@pytest.mark.parametrize("words", [["%"], ["_"], ["\\"], ["'"], ["%s"], ["{}"], ["x" * 500] * 50])
async def test_words_are_no_patterns(store: Store, user: str, words: list[str]) -> None:
    found = await store.search(QUERY, Owner(user), 5, words=words)
    assert len(found) == 5
