"""The state store, on both databases: every test here runs on SQLite and on PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from utils.config.state_location import PostgresLocation, SqliteLocation
from utils.state.engine import StateStore


@pytest.fixture(params=["sqlite", "postgresql"])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> PostgresLocation | SqliteLocation:
    """Where a fresh state store may live."""
    if request.param == "sqlite":
        return SqliteLocation(tmp_path / "state" / "mem0_dify.sqlite3")
    return PostgresLocation(request.getfixturevalue("database").uri)


@pytest.fixture
async def state(location: PostgresLocation | SqliteLocation) -> AsyncIterator[StateStore]:
    """An open, empty state store."""
    store = StateStore(location)
    yield store
    await store.close()
