"""What only a server shows: mem0's own class beside ours on one collection. Collected with ``--servers`` only."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from tests.contract.stores.conftest import opened
from tests.contract.stores.rows import QUERY, at_cosine, memory, someone
from utils.aio.blocking import run_in_executor
from utils.mem0.building import build_vector_store
from utils.stores.mem0.store import Mem0Store
from utils.stores.protocol import Owner, Row

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_what_mem0_wrote_is_read_and_what_we_write_is_read_by_mem0(
    server_config: tuple[str, dict[str, Any]],
) -> None:
    provider, config = server_config
    config = {**config, "collection_name": f"shared_{uuid.uuid4().hex[:8]}"}
    user = someone()
    ours, theirs = memory(user, "ours"), memory(user, "theirs")
    async with opened(Mem0Store(provider, config)) as store:
        await store.insert([ours], [QUERY])
        assert await run_in_executor(_by_mem0, provider, config, theirs) == ["ours", "theirs"]
        found = await store.search(QUERY, Owner(user), 5)
        assert [row.text for row in found] == ["ours", "theirs"]
        kept = theirs.payload.keys() - {"created_at"}  # some of mem0's classes round it
        assert {name: found[1].payload[name] for name in kept} == {name: theirs.payload[name] for name in kept}
        changed = memory(user, "changed", theirs.id)
        await store.update(changed, QUERY)
        assert (await store.get(theirs.id)) == changed
        await store.delete([ours.id, theirs.id])
        assert await store.page(Owner(user), 5) == ([], 0)


def _by_mem0(provider: str, config: dict[str, Any], row: Row) -> list[str]:
    """Store a row, and search for all of its owner's, as mem0 does it; the texts, the nearest first."""
    store = build_vector_store(provider, config)
    store.insert(vectors=[at_cosine(0.5)], payloads=[dict(row.payload)], ids=[row.id])
    if hasattr(store.client, "indices"):
        store.client.indices.refresh(index=store.collection_name)
    found = store.search(query="", vectors=QUERY, top_k=5, filters={"user_id": row.user_id})
    return [str(hit.payload["data"]) for hit in found]
