"""A SQLite state file is its owner's alone, wherever it lies and whoever made it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from utils.config.state_location import SqliteLocation
from utils.state import tables
from utils.state.engine import StateStore


@pytest.fixture
def open_folder(tmp_path: Path) -> Iterator[Path]:
    """A folder others may look into, under the laxest umask."""
    before = os.umask(0o000)
    folder = tmp_path / "open"
    folder.mkdir(mode=0o777)
    yield folder
    os.umask(before)


def modes(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()}


def contents(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.iterdir())


async def used(path: Path) -> dict[str, int]:
    """The modes of the files while the store is open."""
    state = StateStore(SqliteLocation(path))
    await state.touch()
    found = modes(path.parent)
    await state.close()
    return found


async def test_a_new_file_and_what_is_beside_it_are_closed_to_others(open_folder: Path) -> None:
    found = await used(open_folder / "state.sqlite3")
    assert found == {"state.sqlite3": 0o600, "state.sqlite3-wal": 0o600, "state.sqlite3-shm": 0o600}


async def test_files_that_were_open_to_others_are_closed(open_folder: Path) -> None:
    path = open_folder / "state.sqlite3"
    first = StateStore(SqliteLocation(path))
    await first.touch()
    for name in modes(open_folder):
        (open_folder / name).chmod(0o644)
    found = await used(path)
    await first.close()
    assert set(found.values()) == {0o600}


async def test_what_is_erased_is_overwritten_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite3"
    state, secret = StateStore(SqliteLocation(path)), "somebody's address"
    row = {"address": secret, "scope": "s"}
    await state.write(lambda conn: conn.execute(tables.scopes.insert(), [row]))
    await state.write(lambda conn: conn.execute(tables.scopes.delete()))
    await state.close()
    assert secret.encode() not in contents(tmp_path)
