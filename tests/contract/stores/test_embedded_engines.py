"""Engines inside the process: they keep their rows, tell what they cannot serve, and work beside gevent."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.contract.stores.conftest import EMBEDDED, embedded_config, embedded_store, opened
from tests.contract.stores.rows import DIMS, QUERY, at_cosine, memory, new_id
from utils.errors import ServiceRejected, ServiceUnavailable
from utils.mem0 import building
from utils.stores import filters
from utils.stores.mem0.adapters import ADAPTERS
from utils.stores.mem0.store import Mem0Store
from utils.stores.protocol import Owner, Row

ALICE = Owner("alice")
PROJECT_ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("kind", EMBEDDED)
async def test_rows_are_there_after_reopening(kind: str, tmp_path: Path) -> None:
    row = memory("alice", "kept", nested={"a": [1, None]})
    async with opened(embedded_store(kind, tmp_path)) as store:
        await store.insert([row], [at_cosine(0.5)])
    async with opened(embedded_store(kind, tmp_path)) as store:
        (found,) = await store.search(QUERY, ALICE, 5)
        assert found.payload == row.payload
        assert found.score == pytest.approx(0.5, abs=1e-4)


async def test_a_rare_match_costs_one_request_where_the_store_can_be_asked_for_it(tmp_path: Path) -> None:
    provider, config = embedded_config("qdrant", tmp_path)
    asked: list[int] = []

    def build(client: Any) -> Any:
        engine = building.build_vector_store(provider, config, client=client)
        search = engine.search
        engine.search = lambda **given: asked.append(given["top_k"]) or search(**given)
        return engine

    rare, common = (
        [memory("alice", topic="tea") for _ in range(3)],
        [memory("alice", topic="chess") for _ in range(300)],
    )
    condition = filters.parse({"topic": ["tea", "coffee"]})
    async with opened(Mem0Store(provider, config, build=build)) as store:
        await store.insert([*common, *rare], [*[at_cosine(0.9)] * len(common), *[at_cosine(0.1)] * len(rare)])
        found = await store.search(QUERY, ALICE, 5, condition)
        assert sorted(row.id for row in found) == sorted(row.id for row in rare)
        assert len(asked) == 1
        assert (await store.page(ALICE, 2, 0, condition))[1] == len(rare)


@pytest.mark.parametrize("kind", EMBEDDED)
async def test_stores_over_one_folder_work_side_by_side(kind: str, tmp_path: Path) -> None:
    first, again = embedded_store(kind, tmp_path), embedded_store(kind, tmp_path)
    shorter = {} if kind == "chroma" else {"embedding_model_dims": 3}
    other = embedded_store(kind, tmp_path / ".." / tmp_path.name, collection_name="others", **shorter)
    ours, theirs = memory("alice", "ours"), memory("alice", "theirs")
    async with opened(again), opened(other):
        async with opened(first):
            await asyncio.gather(first.insert([ours], [QUERY]), other.insert([theirs], [[1.0, 0.0, 0.0]]))
            assert await again.get(ours.id) == ours
        assert await again.search(QUERY, ALICE, 5) == [Row(ours.id, ours.payload, pytest.approx(1.0, abs=1e-4))]
        assert [row.id for row in await other.scan(ALICE, None, 5)] == [theirs.id]
        with pytest.raises(ServiceUnavailable):
            await first.get(ours.id)


@pytest.mark.parametrize("kind", ["qdrant", "faiss-cosine"])
async def test_the_last_store_over_a_folder_gives_it_back(kind: str, tmp_path: Path) -> None:
    row = memory("alice")
    for _ in range(3):  # each time the last one closes while the next one opens
        stores = [embedded_store(kind, tmp_path) for _ in range(3)]
        await asyncio.gather(*(store.open() for store in stores))
        await stores[0].insert([row], [QUERY])
        late = embedded_store(kind, tmp_path)
        await asyncio.gather(*(store.close() for store in stores), late.open())
        assert await late.get(row.id) == row
        await late.close()
    adapter = ADAPTERS[kind.partition("-")[0]]
    folder = adapter.shared_folder(embedded_config(kind, tmp_path)[1])
    assert folder is not None
    adapter.open_client(folder).close()


@pytest.mark.parametrize("kind", EMBEDDED)
async def test_all_of_a_users_rows_are_scanned_in_pages(kind: str, tmp_path: Path) -> None:
    async with opened(embedded_store(kind, tmp_path)) as store:
        rows = [memory("alice", str(number), agent_id=f"a{number % 2}") for number in range(25)]
        await store.insert([*rows, memory("bob")], [QUERY] * 26)
        for owner, expected in ((ALICE, rows), (Owner("alice", "a1"), rows[1::2])):
            found: list[str] = []
            while page := await store.scan(owner, found[-1] if found else None, 10):
                assert len(page) <= 10
                found += [row.id for row in page]
            assert found == sorted(row.id for row in expected)


_HOLD = """
import sys, qdrant_client
held = qdrant_client.QdrantClient(path=sys.argv[1])
print("held", flush=True)
input()
"""


async def test_a_folder_in_another_processs_hands_is_a_passing_fault(tmp_path: Path) -> None:
    holder = await asyncio.create_subprocess_exec(sys.executable, "-c", _HOLD, str(tmp_path), stdin=-1, stdout=-1)
    assert holder.stdout is not None
    assert await holder.stdout.readline() == b"held\n"
    store = embedded_store("qdrant", tmp_path)
    with pytest.raises(ServiceUnavailable):
        await store.open()
    await holder.communicate(b"\n")
    await store.open()
    await store.close()


@pytest.mark.parametrize(
    ("kind", "made_with"),
    [
        ("faiss-cosine", {"distance_strategy": "euclidean"}),
        ("faiss-euclidean", {"distance_strategy": "cosine"}),
        ("milvus-COSINE", {"metric_type": "L2"}),
        ("milvus-L2", {"metric_type": "COSINE"}),
    ],
)
async def test_a_collection_of_another_metric_is_told(kind: str, made_with: dict[str, str], tmp_path: Path) -> None:
    async with opened(embedded_store(kind, tmp_path, **made_with)) as store:
        await store.insert([memory("alice")], [QUERY])
        await store.check(DIMS)
    async with opened(embedded_store(kind, tmp_path)) as store:
        with pytest.raises(ServiceRejected) as refusal:
            await store.check(DIMS)
        assert refusal.value.key == "store_other_metric"


@pytest.mark.parametrize("kind", [kind for kind in EMBEDDED if kind != "chroma"])
async def test_a_collection_of_another_length_is_told(kind: str, tmp_path: Path) -> None:
    async with opened(embedded_store(kind, tmp_path)) as store:
        await store.insert([memory("alice")], [QUERY])
    async with opened(embedded_store(kind, tmp_path, embedding_model_dims=5)) as store:
        with pytest.raises(ServiceRejected, match=rf"5 dimensions.*{DIMS}"):
            await store.check(5)
        with pytest.raises(ServiceRejected, match=rf"5 dimensions.*{DIMS}"):
            await store.insert([memory("alice")], [[1.0] * 5])
        await store.check(DIMS)


@pytest.mark.parametrize("kind", EMBEDDED)
async def test_what_mem0_wrote_is_read_and_what_we_write_is_read_by_mem0(kind: str, tmp_path: Path) -> None:
    provider, config = embedded_config(kind, tmp_path)
    row, ours = memory("alice", "by mem0", tag="x"), memory("alice", "by us")
    theirs = building.build_vector_store(provider, config)
    theirs.insert(vectors=[at_cosine(0.8)], payloads=[dict(row.payload)], ids=[row.id])
    close(theirs)
    async with opened(Mem0Store(provider, config)) as store:
        (found,) = await store.search(QUERY, ALICE, 5)
        assert (found.id, found.payload) == (row.id, row.payload)
        assert found.score == pytest.approx(0.8, abs=1e-4)
        await store.insert([ours], [QUERY])
        assert await store.get(new_id()) is None
    theirs = building.build_vector_store(provider, config)
    nearest, other = theirs.search(query="", vectors=QUERY, top_k=5)
    assert (nearest.id, nearest.payload, other.id) == (ours.id, dict(ours.payload), row.id)
    close(theirs)


def close(store: Any) -> None:
    if client := getattr(store, "client", None):
        client.close()


_IN_A_PATCHED_PROCESS = """
import dify_plugin, asyncio, sys
from pathlib import Path
from typing import Any
from tests.contract.stores.conftest import embedded_store
from tests.contract.stores.rows import QUERY, memory, spread
from utils.stores.protocol import Owner
from utils.aio.blocking import ThreadPool, use_pool

async def main():
    use_pool(ThreadPool("lane", 8))
    store = embedded_store(sys.argv[1], Path(sys.argv[2]))
    await asyncio.gather(*(store.insert([memory("alice", str(n))], [v]) for n, v in enumerate(spread(30))))
    found = await asyncio.gather(*(store.search(QUERY, Owner("alice"), 3) for _ in range(10)))
    assert all([row.text for row in rows] == ["0", "1", "2"] for rows in found), found
    await store.delete([row.id for row in await store.scan(Owner("alice"), None, 100)])
    assert await store.page(Owner("alice"), 5) == ([], 0)
    await store.close()

asyncio.run(main())
print("done", flush=True)
"""


@pytest.mark.parametrize(
    "kind",
    ["qdrant", "milvus-COSINE", *(pytest.param(kind, marks=pytest.mark.long) for kind in ("chroma", "faiss-cosine"))],
)
async def test_it_works_in_a_patched_process(kind: str, tmp_path: Path) -> None:
    command = [sys.executable, "-c", _IN_A_PATCHED_PROCESS, kind, str(tmp_path)]
    process = await asyncio.create_subprocess_exec(*command, stdout=-1, stderr=-1, cwd=PROJECT_ROOT)
    output, errors = await process.communicate()
    assert output.decode().splitlines()[-1:] == ["done"], errors.decode()
