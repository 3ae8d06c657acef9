"""The stores that run here without a server of their own, opened once and shared by the tests of this folder.

Sharing is the point: every test uses users of its own among the rows of all others.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from playground.postgres import Database, PostgresServer
from tests.contract.stores.rows import DIMS
from tests.transaction_pooler import TransactionPooler
from utils.aio.blocking import ThreadPool, use_pool
from utils.config import pgvector as pgvector_config
from utils.config.values import Where
from utils.stores.mem0.store import Mem0Store
from utils.stores.pgvector.store import PgvectorStore
from utils.stores.protocol import Store

EMBEDDED: dict[str, tuple[str, dict[str, Any]]] = {
    "qdrant": ("qdrant", {"path": "{folder}"}),
    "chroma": ("chroma", {"path": "{folder}"}),
    "faiss-euclidean": ("faiss", {"path": "{folder}/faiss", "distance_strategy": "euclidean"}),
    "faiss-cosine": ("faiss", {"path": "{folder}/faiss", "distance_strategy": "cosine"}),
    "milvus-L2": ("milvus", {"url": "{folder}/milvus.db", "metric_type": "L2"}),
    "milvus-COSINE": ("milvus", {"url": "{folder}/milvus.db", "metric_type": "COSINE"}),
}
KINDS = ["pgvector", "pgvector-pooled", *EMBEDDED]


@pytest.fixture(scope="session")
def stores_database(postgres_server: PostgresServer) -> Database:
    return postgres_server.create_database("stores")


@pytest.fixture(scope="session")
def pooled_database(postgres_server: PostgresServer) -> Iterator[Database]:
    """A database behind a pooler that gives every transaction another of two sessions."""
    with TransactionPooler(postgres_server.create_database("pooled")) as pooler:
        yield pooler.database


def pgvector_settings(database: Database, collection: str, **more: Any) -> pgvector_config.PgvectorConfig:
    block = {"connection_string": database.uri, "collection_name": collection, "minconn": 2, "maxconn": 8}
    return pgvector_config.read({**block, **more}, Where("local_vector_db_json_secret"))


def embedded_config(kind: str, folder: Path, **more: Any) -> tuple[str, dict[str, Any]]:
    provider, template = EMBEDDED[kind]
    config = {key: value.format(folder=folder) for key, value in template.items()}
    dims = {} if provider == "chroma" else {"embedding_model_dims": DIMS}
    return provider, {"collection_name": "memories", **dims, **config, **more}


def embedded_store(kind: str, folder: Path, **more: Any) -> Mem0Store:
    provider, config = embedded_config(kind, folder, **more)
    return Mem0Store(provider, config)


async def in_lane[T](work: Awaitable[T]) -> T:
    """What ``work`` gives when a lane runs it; its workers are seen by nobody else."""

    async def task() -> T:
        workers = ThreadPool("lane", 4)
        use_pool(workers)
        try:
            return await work
        finally:
            workers.close()

    return await asyncio.create_task(task())


@asynccontextmanager
async def opened[S: Store](store: S) -> AsyncIterator[S]:
    await in_lane(store.open())
    try:
        yield store
    finally:
        await store.close()


def make_store(kind: str, folder: Path, database: Callable[[], Database]) -> Store:
    """A store over a new collection; nothing is opened yet."""
    if kind.startswith("pgvector"):
        return PgvectorStore(pgvector_settings(database(), "memories"), DIMS)
    return embedded_store(kind, folder)


@pytest.fixture(scope="session", params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def store(
    kind: str, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> AsyncIterator[Store]:
    folder = tmp_path_factory.mktemp(kind)
    database = "pooled_database" if kind == "pgvector-pooled" else "stores_database"
    async with opened(make_store(kind, folder, lambda: request.getfixturevalue(database))) as opened_store:
        yield opened_store


@pytest.fixture(autouse=True)
def _lane() -> Iterator[None]:
    """The workers that a lane gives its tasks."""
    workers = ThreadPool("lane", 8)
    token = use_pool(workers)
    yield
    token.var.reset(token)
    workers.close()
