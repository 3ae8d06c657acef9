"""The state store: every test here runs on SQLite, on PostgreSQL and on PostgreSQL behind a transaction pooler."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from playground.postgres import Database
from tests.transaction_pooler import TransactionPooler
from utils.config.state_location import PostgresLocation, SqliteLocation
from utils.state.engine import StateStore


@pytest.fixture(params=["sqlite", "postgresql", "postgresql-pooled"])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> PostgresLocation | SqliteLocation:
    """Where a fresh state store may live."""
    if request.param == "sqlite":
        return SqliteLocation(tmp_path / "state" / "mem0_dify.sqlite3")
    database = request.getfixturevalue("pooled_database" if request.param.endswith("pooled") else "database")
    return PostgresLocation(database.uri)


@pytest.fixture
def pooled_database(database: Database) -> Iterator[Database]:
    """The test's database behind a pooler that gives every transaction another of two sessions."""
    with TransactionPooler(database) as pooler:
        yield pooler.database


@pytest.fixture
async def state(location: PostgresLocation | SqliteLocation) -> AsyncIterator[StateStore]:
    """An open, empty state store."""
    store = StateStore(location)
    yield store
    await store.close()
