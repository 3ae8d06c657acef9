"""``delete_all`` over stores that list only some of a user's memories, or list deleted ones for a while."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.contract.stores.awkward import AwkwardStore
from tests.contract.stores.conftest import opened
from tests.contract.stores.rows import DIMS, QUERY, memory, spread
from utils.errors import ServiceUnavailable
from utils.memory import handlers
from utils.memory.requests import DeleteAll
from utils.stores.mem0.store import Mem0Store
from utils.stores.protocol import Owner, Row


class Deleting(handlers.DeleteAllHandler):
    """The handler as it is, but for the state store: what it would record is counted here."""

    def __init__(self, store: Mem0Store) -> None:
        super().__init__(store, cast("Any", None), cast("Any", None), None)
        self.recorded: set[str] = set()

    async def _delete(self, write: Any, lease: Any, rows: list[Row], at: str) -> None:
        self.recorded |= {row.id for row in rows}
        await self._store.delete([row.id for row in rows])

    async def _deleted(self, write: Any) -> int:
        return len(self.recorded)

    async def run(self, user_id: str) -> None:
        write, lease = SimpleNamespace(user_id=user_id, parked=False), SimpleNamespace(made_progress=True)
        await self._delete_rows(cast("Any", write), cast("Any", lease), DeleteAll(at="2026-01-01T00:00:00+00:00"))


@pytest.mark.parametrize(
    ("provider", "awkward", "count"),
    [
        ("s3_vectors", AwkwardStore(answers=1000), 2095),
        ("pinecone", AwkwardStore(late_listings=3), 95),
        ("oracledb", AwkwardStore(), 95),
    ],
)
async def test_all_of_a_users_memories_go_and_nobody_elses(provider: str, awkward: AwkwardStore, count: int) -> None:
    store = Mem0Store(provider, {"embedding_model_dims": DIMS}, build=lambda client: awkward)
    async with opened(store):
        await store.insert([memory("alice") for _ in range(count)], spread(count))
        await store.insert([memory("bob")], [QUERY])
        deleting = Deleting(store)
        await deleting.run("alice")
        assert len(deleting.recorded) == count
        assert await store.page(Owner("alice"), 5) == ([], 0)
        assert (await store.page(Owner("bob"), 5))[1] == 1


@pytest.mark.parametrize(
    ("provider", "waits_s"), [("upstash_vector", 30.0), ("azure_ai_search", 15.0), ("oracledb", 3.0)]
)
async def test_deletions_that_stay_visible_are_waited_for_as_long_as_the_store_says(
    provider: str, waits_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three times what it promises, at least three seconds; then the store counts as one that does not delete."""
    slept_s: list[float] = []

    async def sleep(delay_s: float) -> None:
        slept_s.append(delay_s)

    monkeypatch.setattr(handlers, "asyncio", SimpleNamespace(sleep=sleep))
    store = Mem0Store(provider, {"embedding_model_dims": DIMS}, build=lambda client: AwkwardStore(late_listings=10_000))
    async with opened(store):
        await store.insert([memory("alice")], [QUERY])
        with pytest.raises(ServiceUnavailable):
            await Deleting(store).run("alice")
    assert sum(slept_s) == waits_s
