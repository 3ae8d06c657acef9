"""The stores of the tests of this folder, opened once and shared: those that run here without a server of their own, or
with ``--servers`` (``make test-servers``) those that ``tests/servers`` has fetched.

Sharing is the point: every test uses users of its own among the rows of all others.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from playground.postgres import Database, PostgresServer
from tests.contract.stores.rows import DIMS
from tests.servers.engines import ENGINES, startable
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


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    of_its_own = any("kind" in mark.args[0] for mark in metafunc.definition.iter_markers("parametrize"))
    if "kind" in metafunc.fixturenames and not of_its_own:
        kinds = startable() if metafunc.config.getoption("--servers") else KINDS
        metafunc.parametrize("kind", kinds, indirect=True, scope="session")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Without ``--servers`` there are none."""
    return True if collection_path.name == "test_servers.py" and not config.getoption("--servers") else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With ``--servers`` only what runs against them."""
    if config.getoption("--servers"):
        items[:] = [item for item in items if engine_of(item.nodeid) is not None]


def engine_of(nodeid: str) -> str | None:
    """The server a test runs against, by its id, which begins with the store's kind."""
    given = nodeid.partition("[")[2]
    return next((name for name in ENGINES if given.startswith((f"{name}-", f"{name}]"))), None)


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Which servers the suite has run against, and how it went."""
    if not config.getoption("--servers"):
        return
    counts: Counter[tuple[str, str]] = Counter()
    for outcome in ("passed", "failed", "error"):
        reports = terminalreporter.stats.get(outcome, [])
        counts.update((name, outcome) for report in reports if (name := engine_of(report.nodeid)) is not None)
    terminalreporter.section("servers")
    for name, engine in ENGINES.items():
        tally = ", ".join(
            f"{counts[name, each]} {each}" for each in ("passed", "failed", "error") if counts[name, each]
        )
        why = "not fetched: needs Java 17 or newer, and Maven" if name not in startable() else "not run"
        terminalreporter.write_line(f"{name:22} {engine.server:32} {tally or why}")


@pytest.fixture(scope="session")
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session")
def server_config(kind: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, dict[str, Any]]]:
    """The provider and the configuration of the server ``kind``, which runs for as long as its tests do."""
    engine = ENGINES[kind]
    with engine.start(tmp_path_factory.mktemp(kind)) as config:
        dims = {"embedding_model_dims": DIMS} if engine.takes_dims else {}
        yield engine.provider, {"collection_name": "memories", **dims, **config}


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def store(
    kind: str, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> AsyncIterator[Store]:
    if kind in ENGINES:
        provider, config = request.getfixturevalue("server_config")
        made: Store = Mem0Store(provider, config)
    else:
        database = "pooled_database" if kind == "pgvector-pooled" else "stores_database"
        made = make_store(kind, tmp_path_factory.mktemp(kind), lambda: request.getfixturevalue(database))
    async with opened(made) as opened_store:
        yield opened_store


@pytest.fixture(autouse=True)
def _lane() -> Iterator[None]:
    """The workers that a lane gives its tasks."""
    workers = ThreadPool("lane", 8)
    token = use_pool(workers)
    yield
    token.var.reset(token)
    workers.close()
