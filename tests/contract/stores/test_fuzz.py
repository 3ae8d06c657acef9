"""Filters and ids of any kind, on every store: the reference's rows and nobody else's, and no exception but a refusal.

A short seeded run belongs to the ordinary tests; 5,000 cases for each store are marked ``long``.
"""

from __future__ import annotations

import functools
import random
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from tests.contract.stores import strategies
from tests.contract.stores.conftest import in_lane
from tests.contract.stores.rows import QUERY, memory, new_id, someone, spread
from utils.errors import InvalidInput, ServiceRejected
from utils.stores import filters
from utils.stores.protocol import Owner, Row, Store

pytestmark = pytest.mark.asyncio(loop_scope="session")

SHORT = 25  # cases; the long run is 5,000 for each store: 3,000 filters, 1,000 of any JSON, 1,000 pairs of ids
_ROWS = 120


def fuzz(cases: int) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Seeded, so that a run can be repeated; slow engines are no failure."""
    checked = settings(
        max_examples=cases, deadline=None, database=None, suppress_health_check=list(HealthCheck), print_blob=True
    )
    return lambda test: seed(20260101)(checked(test))


class Population:
    """Rows of three users in a store, and what a filter must find among them."""

    def __init__(self, rows: list[Row]) -> None:
        self.rows = rows
        self.users = sorted({str(row.user_id) for row in rows})

    def expected(self, owner: Owner, condition: filters.Condition | None) -> set[str]:
        return {
            row.id
            for row in self.rows
            if owner.owns(row.payload) and (condition is None or condition.matches(row.payload))
        }


@functools.cache
def drawn_payloads() -> list[dict[str, Any]]:
    """So many payloads, always the same ones."""
    found: list[dict[str, Any]] = []

    @seed(1)
    @settings(max_examples=_ROWS, database=None, suppress_health_check=list(HealthCheck), deadline=None)
    @given(strategies.payloads)
    def collect(payload: dict[str, Any]) -> None:
        found.append(payload)

    collect()
    return found


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def population(store: Store) -> AsyncIterator[Population]:
    users, chance = [someone() for _ in range(3)], random.Random(1)
    rows = []
    for payload in drawn_payloads():
        agent = {"agent_id": chance.choice(["a1", "a2"])} if chance.random() < 0.5 else {}
        rows.append(Row(new_id(), {**payload, **agent, "user_id": chance.choice(users)}))
    await in_lane(store.insert(rows, spread(len(rows))))
    yield Population(rows)


async def filters_mean_the_same(store: Store, population: Population, asked: dict[str, Any], who: int) -> None:
    owner = Owner(population.users[who % 3], [None, "a1"][who % 2])
    condition = filters.parse(asked)
    expected = population.expected(owner, condition)
    found = await store.search(QUERY, owner, len(population.rows), condition)
    page, total = await store.page(owner, len(population.rows), 0, condition)
    assert {row.id for row in found} == {row.id for row in page} == expected
    assert (len(found), total) == (len(expected), len(expected))
    assert len(await store.search(QUERY, owner, 3, condition)) == min(3, len(expected))


async def junk_is_refused_or_harmless(store: Store, population: Population, asked: dict[str, Any]) -> None:
    owner = Owner(population.users[0])
    try:
        condition = filters.parse(asked)
    except InvalidInput:
        return
    found = await store.search(QUERY, owner, 5, condition)
    assert {row.id for row in found} <= population.expected(owner, condition)


async def ids_reach_nobody_else(store: Store, population: Population, one: str, other: str) -> None:
    for owner in (Owner(one), Owner(population.users[0], other), Owner(one, other)):
        found = [
            *await store.search(QUERY, owner, 5),
            *(await store.page(owner, 5))[0],
            *await store.scan(owner, None, 5),
        ]
        assert {row.id for row in found} <= population.expected(owner, None)
    assert await store.get(one) is None
    await store.delete([one, other])
    for user in population.users:
        assert (await store.page(Owner(user), 0))[1] == len(population.expected(Owner(user), None))


async def ids_keep_their_own_rows(store: Store, user: str) -> None:
    row = memory(user)
    try:
        await store.insert([row], [QUERY])
    except ServiceRejected:
        assert await store.get(row.id) is None
        return
    found = await store.search(QUERY, Owner(user), 5)
    await store.delete([row.id])
    assert [row.id for row in found] == [row.id]


_who = st.integers(0, 5)


@fuzz(SHORT)
@given(strategies.filters(), _who)
async def test_filters(store: Store, population: Population, asked: dict[str, Any], who: int) -> None:
    await filters_mean_the_same(store, population, asked, who)


@fuzz(SHORT)
@given(strategies.junk)
async def test_junk_filters(store: Store, population: Population, asked: dict[str, Any]) -> None:
    await junk_is_refused_or_harmless(store, population, asked)


@fuzz(SHORT)
@given(strategies.ids, strategies.ids)
async def test_ids(store: Store, population: Population, one: str, other: str) -> None:
    await ids_reach_nobody_else(store, population, one, other)


@fuzz(SHORT)
@given(strategies.ids)
async def test_own_ids(store: Store, user: str) -> None:
    await ids_keep_their_own_rows(store, user)


@pytest.mark.long
@fuzz(3_000)
@given(strategies.filters(), _who)
async def test_filters_long(store: Store, population: Population, asked: dict[str, Any], who: int) -> None:
    await filters_mean_the_same(store, population, asked, who)


@pytest.mark.long
@fuzz(1_000)
@given(strategies.junk)
async def test_junk_filters_long(store: Store, population: Population, asked: dict[str, Any]) -> None:
    await junk_is_refused_or_harmless(store, population, asked)


@pytest.mark.long
@fuzz(1_000)
@given(strategies.ids, strategies.ids)
async def test_ids_long(store: Store, population: Population, one: str, other: str) -> None:
    await ids_reach_nobody_else(store, population, one, other)
