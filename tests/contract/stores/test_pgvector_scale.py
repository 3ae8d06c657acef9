"""200,000 memories of 2,000 users: every search is filled, with exactly the true nearest of that user."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.search_scale import PER_USER, BruteForce, Population, build_indexes, copy_rows
from playground.postgres import Database
from tests.contract.stores.conftest import opened, pgvector_settings
from utils.stores import filters
from utils.stores.pgvector.store import PgvectorStore
from utils.stores.protocol import Owner

_ROWS = 200_000
_DIMS = 64
_TOP_K = 10


@pytest.mark.long
async def test_every_search_among_200_000_rows_finds_the_true_nearest(database: Database) -> None:
    population = Population(_ROWS, _DIMS, large_share=0.0)
    assert population.users == 2_000
    copy_rows(database, "memories", population)
    await build_indexes(database, "memories")
    brute = BruteForce(database, "memories", _TOP_K)
    store = PgvectorStore(pgvector_settings(database, "memories"), _DIMS)
    async with opened(store):
        for number, query in enumerate(population.queries(100)):
            user = population.user(int(np.random.default_rng(number).integers(0, _ROWS)))
            found = await store.search(query, Owner(user), _TOP_K)
            assert [row.id for row in found] == await brute.nearest(query, user)
            assert len(found) == _TOP_K
            everything = await store.search(query, Owner(user), PER_USER, filters.parse({"hash": "*"}))
            assert len(everything) == PER_USER
