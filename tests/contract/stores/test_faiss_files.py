"""FAISS's two files: a crash at any moment leaves the old or the new state, and what is damaged is left as it is."""

from __future__ import annotations

import asyncio
import json
import pickle
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.contract.stores.conftest import embedded_config, embedded_store, opened
from tests.contract.stores.rows import QUERY, at_cosine, memory
from utils.errors import ServiceRejected, ServiceUnavailable
from utils.mem0 import building
from utils.stores.mem0 import faiss_files
from utils.stores.mem0.store import Mem0Store
from utils.stores.protocol import Owner, Row

KIND = "faiss-cosine"
ALICE = Owner("alice")
PROJECT_ROOT = Path(__file__).resolve().parents[3]


class Killed(BaseException):
    """The process ends here: nothing catches it, nothing is tidied up."""


class Disk:
    """The disk under ``faiss_files``: counts what is done to it, and stops at the step it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.steps = 0
        self.stop_at: int | None = None
        self.error: BaseException = Killed()
        for owner, name in [
            (faiss_files, "_write"),
            (faiss_files, "_sync"),
            (Path, "replace"),
            (Path, "unlink"),
        ]:
            monkeypatch.setattr(owner, name, self._counted(getattr(owner, name)))

    def _counted(self, step: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **kwargs: Any) -> Any:
            if self.steps == self.stop_at:
                if step.__name__ == "_write":  # half of it arrives
                    step(args[0], args[1][: len(args[1]) // 2])
                raise self.error
            self.steps += 1
            return step(*args, **kwargs)

        return counted


ROW = memory("alice", "old")
CHANGED = memory("alice", "new", memory_id=ROW.id)


async def insert(store: Mem0Store) -> None:
    await store.insert([memory("alice", "added")], [at_cosine(0.5)])


async def update(store: Mem0Store) -> None:
    await store.update(CHANGED, at_cosine(0.5))


async def delete(store: Mem0Store) -> None:
    await store.delete([ROW.id])


async def state(folder: Path) -> list[tuple[str, float | None]]:
    """Texts and scores, as a new process would find them."""
    async with opened(embedded_store(KIND, folder)) as store:
        rows = await store.search(QUERY, ALICE, 10)
        assert {row.id for row in rows} == {row.id for row in (await store.page(ALICE, 10))[0]}
        return [(row.text, round(row.score or 0.0, 2)) for row in rows]


@pytest.mark.parametrize(
    ("change", "after"),
    [(insert, [("old", 1.0), ("added", 0.5)]), (update, [("new", 0.5)]), (delete, [])],
    ids=["insert", "update", "delete"],
)
async def test_a_change_cut_off_anywhere_happened_or_did_not(
    change: Callable[[Mem0Store], Any],
    after: list[tuple[str, float]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with opened(embedded_store(KIND, tmp_path / "whole")) as store:
        await store.insert([ROW], [QUERY])
    disk = Disk(monkeypatch)
    found = []
    for step in range(100):
        folder = tmp_path / str(step)
        shutil.copytree(tmp_path / "whole", folder)
        disk.steps, disk.stop_at = -1_000, None
        store = embedded_store(KIND, folder)
        await store.open()
        disk.steps, disk.stop_at = 0, step
        try:
            await change(store)
        except Killed:
            found.append(step)
        disk.stop_at = None
        await store.close()
        outcome = await state(folder)
        assert outcome in ([("old", 1.0)], after)
        assert await state(folder) == outcome, "mending it twice gives the same"
        if step not in found:
            assert outcome == after
            break
    assert len(found) > 4, "there are several steps to die at"


async def test_a_disk_that_refuses_is_an_error_and_the_change_is_made_by_the_next_try(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(monkeypatch)
    async with opened(embedded_store(KIND, tmp_path)) as store:
        row = memory("alice", "kept")
        for step in range(6):
            disk.steps, disk.stop_at, disk.error = 0, step, OSError(28, "No space left on device")
            with pytest.raises(ServiceUnavailable, match="ENOSPC"):
                await store.insert([row], [QUERY])
            disk.stop_at = None
            await store.insert([row], [QUERY])
            assert await state_of(store) == [("kept", 1.0)]
            await store.delete([row.id])
            assert await state_of(store) == []


async def state_of(store: Mem0Store) -> list[tuple[str, float | None]]:
    return [(row.text, row.score) for row in await store.search(QUERY, ALICE, 10)]


def truncate_docstore(index: Path, docstore: Path) -> None:
    docstore.write_bytes(docstore.read_bytes()[:-20])


def truncate_index(index: Path, docstore: Path) -> None:
    index.write_bytes(index.read_bytes()[:-20])


def flip_a_bit(index: Path, docstore: Path) -> None:
    data = bytearray(index.read_bytes())
    data[-1] ^= 1
    index.write_bytes(bytes(data))


def empty_docstore(index: Path, docstore: Path) -> None:
    docstore.write_text("")


def drop_a_row(index: Path, docstore: Path) -> None:
    stated = json.loads(docstore.read_bytes())
    stated["index_to_id"].popitem()
    docstore.write_text(json.dumps(stated))


def not_an_object(index: Path, docstore: Path) -> None:
    docstore.write_text("[]")


def lose_docstore(index: Path, docstore: Path) -> None:
    docstore.unlink()


def lose_index(index: Path, docstore: Path) -> None:
    index.unlink()


@pytest.mark.parametrize(
    "damage",
    [
        truncate_docstore,
        truncate_index,
        flip_a_bit,
        empty_docstore,
        drop_a_row,
        not_an_object,
        lose_docstore,
        lose_index,
    ],
)
async def test_damaged_files_are_refused_and_left_alone(damage: Callable[[Path, Path], None], tmp_path: Path) -> None:
    async with opened(embedded_store(KIND, tmp_path)) as store:
        await store.insert([memory("alice"), memory("bob")], [QUERY, QUERY])
    folder = tmp_path / "faiss"
    damage(folder / "memories.faiss", folder / "memories.json")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    store = embedded_store(KIND, tmp_path)
    for attempt in (store.open(), store.search(QUERY, ALICE, 5), store.insert([memory("alice")], [QUERY])):
        with pytest.raises(ServiceRejected) as refusal:
            await attempt
        assert refusal.value.key == "store_files_damaged"
        assert str(folder) in str(refusal.value)
        assert "memories" in str(refusal.value)
    await store.close()
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


async def test_what_mem0_left_half_written_is_refused(tmp_path: Path) -> None:
    """mem0 writes the index first; killed then, its docstore lacks a row."""
    provider, config = embedded_config(KIND, tmp_path)
    theirs = building.build_vector_store(provider, config)
    theirs.insert(vectors=[QUERY], payloads=[{"data": "a", "user_id": "alice"}], ids=[memory("alice").id])
    docstore = tmp_path / "faiss" / "memories.json"
    before = docstore.read_bytes()
    theirs.insert(vectors=[QUERY], payloads=[{"data": "b", "user_id": "alice"}], ids=[memory("alice").id])
    docstore.write_bytes(before)
    store = embedded_store(KIND, tmp_path)
    with pytest.raises(ServiceRejected, match="damaged"):
        await store.open()
    await store.close()


async def test_a_docstore_of_mem0s_older_kind_is_read(tmp_path: Path) -> None:
    provider, config = embedded_config(KIND, tmp_path)
    row = memory("alice", "from a pickle")
    theirs = building.build_vector_store(provider, config)
    theirs.insert(vectors=[QUERY], payloads=[dict(row.payload)], ids=[row.id])
    docstore = tmp_path / "faiss" / "memories.json"
    docstore.with_suffix(".pkl").write_bytes(pickle.dumps(({row.id: dict(row.payload)}, {0: row.id})))
    docstore.unlink()
    async with opened(embedded_store(KIND, tmp_path)) as store:
        assert await store.get(row.id) == Row(row.id, row.payload)
        await store.insert([memory("alice", "more")], [at_cosine(0.5)])
        # What is deleted must not live on in a file that nobody reads any more.
        assert not docstore.with_suffix(".pkl").exists()
    assert await state(tmp_path) == [("from a pickle", 1.0), ("more", 0.5)]


_HOLD = """
import sys
from utils.stores.mem0.faiss_files import FaissFolder
held = FaissFolder(sys.argv[1])
print("held", flush=True)
input()
"""


async def test_a_folder_in_another_processs_hands_is_a_passing_fault(tmp_path: Path) -> None:
    holder = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _HOLD, str(tmp_path / "faiss"), stdin=-1, stdout=-1, cwd=PROJECT_ROOT
    )
    assert holder.stdout is not None
    assert await holder.stdout.readline() == b"held\n"
    store = embedded_store(KIND, tmp_path)
    with pytest.raises(ServiceUnavailable):
        await store.open()
    await holder.communicate(b"\n")
    await store.open()
    await store.close()
