"""The stores that run here without a server of their own, opened once per test module and shared by its tests.

Sharing is the point: every test uses users of its own among the rows of all others.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from playground.postgres import Database, PostgresServer
from tests.contract.stores.rows import DIMS
from utils import mem0_parts
from utils.config import pgvector as pgvector_config
from utils.config.values import Where
from utils.memory.mem0_store import Mem0Store
from utils.memory.pgvector import PgvectorStore
from utils.memory.store import Store
from utils.runtime.blocking import Workers, use_workers

EMBEDDED: dict[str, tuple[str, dict[str, Any]]] = {
    "qdrant": ("qdrant", {"path": "{folder}"}),
    "chroma": ("chroma", {"path": "{folder}"}),
    "faiss-euclidean": ("faiss", {"path": "{folder}/faiss", "distance_strategy": "euclidean"}),
    "faiss-cosine": ("faiss", {"path": "{folder}/faiss", "distance_strategy": "cosine"}),
    "milvus-L2": ("milvus", {"url": "{folder}/milvus.db", "metric_type": "L2"}),
    "milvus-COSINE": ("milvus", {"url": "{folder}/milvus.db", "metric_type": "COSINE"}),
}
KINDS = ["pgvector", *EMBEDDED]


@pytest.fixture(scope="session")
def database_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    with PostgresServer(tmp_path_factory.mktemp("postgres"), durable=False) as server:
        yield server


@pytest.fixture(scope="session")
def database(database_server: PostgresServer) -> Database:
    return database_server.create_database(f"stores_{uuid.uuid4().hex[:8]}")


def pgvector_settings(database: Database, collection: str, **more: Any) -> pgvector_config.PgvectorConfig:
    block = {"connection_string": database.uri, "collection_name": collection, "minconn": 2, "maxconn": 8}
    return pgvector_config.read({**block, "pool_max_waiting": 1000, **more}, Where("local_vector_db_json_secret"))


def embedded_config(kind: str, folder: Path, **more: Any) -> tuple[str, dict[str, Any]]:
    provider, template = EMBEDDED[kind]
    config = {key: value.format(folder=folder) for key, value in template.items()}
    dims = {} if provider == "chroma" else {"embedding_model_dims": DIMS}
    return provider, {"collection_name": "memories", **dims, **config, **more}


def embedded_store(kind: str, folder: Path, **more: Any) -> Mem0Store:
    provider, config = embedded_config(kind, folder, **more)
    return Mem0Store(provider, config, lambda: mem0_parts.build_vector_store(provider, config))


@asynccontextmanager
async def opened(store: Store) -> AsyncIterator[Store]:
    await store.open()
    try:
        yield store
    finally:
        await store.close()


def make_store(kind: str, folder: Path, database: Callable[[], Database]) -> Store:
    """A store over a new collection; nothing is opened yet."""
    if kind == "pgvector":
        return PgvectorStore(pgvector_settings(database(), f"memories_{uuid.uuid4().hex[:8]}"), DIMS)
    return embedded_store(kind, folder)


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def store(
    kind: str, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> AsyncIterator[Store]:
    folder = tmp_path_factory.mktemp(kind)
    async with opened(make_store(kind, folder, lambda: request.getfixturevalue("database"))) as opened_store:
        yield opened_store


@pytest.fixture(autouse=True)
def _lane() -> Iterator[None]:
    """The workers that a lane gives its tasks."""
    workers = Workers("lane", 8)
    use_workers(workers)
    yield
    workers.close()


type Opener = Callable[[Store], Awaitable[Store]]
