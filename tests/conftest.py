"""The real parts every suite may use: PostgreSQL, the plugin as a process, and the stand-in for the model endpoint.

``tests/README.md`` says what each fixture gives.
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from playground.credentials import Endpoint, credential_set, pgvector_block, qdrant_block
from playground.dify_host import PluginProcess
from playground.neo4j_server import Graph, Neo4jServer, missing_program
from playground.postgres import Database, PostgresServer
from playground.stand_in_model import StandInModel
from tests.shared_neo4j import SharedNeo4j, shared_graph

PROJECT_ROOT = Path(__file__).resolve().parent.parent
# Milvus Lite leaves gRPC's threads in the tests' process. Its handlers at fork() crash a child before it has become the
# program it is started as: a PostgreSQL that did not start (seen once in 3,700 tests).
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"
_NEO4J = pytest.StashKey[SharedNeo4j]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--servers", action="store_true", help="run the store suite against the servers of tests/servers")


def pytest_configure(config: pytest.Config) -> None:
    """SIGTERM ends a run as Ctrl-C does: with its fixtures torn down, so that no server stays behind.

    The ordinary run tries the same generated examples each time, so that it fails for a change and not by chance; the
    long one (``-m long``) new ones, and more of them.
    """
    os.environ["TIKTOKEN_CACHE_DIR"] = str(PROJECT_ROOT / "_assets" / "tiktoken")  # as main.py has it
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # How fast examples are made depends on what else the machine does.
    settings.register_profile("ordinary", derandomize=True, suppress_health_check=[HealthCheck.too_slow], deadline=None)
    settings.load_profile("default" if config.option.markexpr == "long" else "ordinary")
    if not hasattr(config, "workerinput"):
        config.stash[_NEO4J] = SharedNeo4j()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell a worker where the run's Neo4j is, or will be."""
    node.workerinput["neo4j_folder"] = str(node.config.stash[_NEO4J].folder)


def pytest_unconfigure(config: pytest.Config) -> None:
    """End the run's Neo4j after the last worker."""
    if _NEO4J in config.stash:
        config.stash[_NEO4J].end()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """One embedded PostgreSQL for the whole run. A test that stops it starts it again, or uses ``own_postgres``."""
    yield from _server()


@pytest.fixture
def own_postgres() -> Iterator[PostgresServer]:
    """A server of the test's own, to be stopped and started at will."""
    yield from _server()


def _server() -> Iterator[PostgresServer]:
    # Not tmp_path: pytest closes that folder to others, and as root the server runs as somebody else.
    folder = Path(tempfile.mkdtemp(prefix="postgres-"))
    try:
        with PostgresServer(folder, durable=False) as server:
            yield server
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def database(postgres_server: PostgresServer) -> Iterator[Database]:
    """A fresh database for one test."""
    yield from _database(postgres_server)


@pytest.fixture(scope="module")
def module_database(postgres_server: PostgresServer) -> Iterator[Database]:
    """A fresh database for the tests of one module."""
    yield from _database(postgres_server)


def _database(server: PostgresServer) -> Iterator[Database]:
    name = f"test_{uuid.uuid4().hex[:12]}"
    yield server.create_database(name)
    server.drop_database(name)


@pytest.fixture(scope="session")
def neo4j_graph(request: pytest.FixtureRequest) -> Graph:
    """Where the one Neo4j of the whole run is, of all workers: use a scope or users of your own, never stop it."""
    _skip_without_java()
    workerinput: dict[str, str] | None = getattr(request.config, "workerinput", None)
    folder = Path(workerinput["neo4j_folder"]) if workerinput else request.config.stash[_NEO4J].folder
    return shared_graph(folder)


@pytest.fixture
def own_neo4j(tmp_path: Path) -> Iterator[Neo4jServer]:
    """A server of the test's own, started, to be stopped and started at will on the same address."""
    _skip_without_java()
    with Neo4jServer(tmp_path / "neo4j", throwaway=True) as server:
        yield server


def _skip_without_java() -> None:
    if (missing := missing_program()) is not None:
        pytest.skip(f"The graph tests need a JDK (17 or newer) and Maven to run a real Neo4j; {missing} is not here.")


@pytest.fixture(scope="session")
def _stand_in_model() -> Iterator[StandInModel]:
    with StandInModel() as model:
        yield model


@pytest.fixture
def stand_in_model(_stand_in_model: StandInModel) -> StandInModel:
    """The model endpoint, in this process, with its knobs and counters reset for each test."""
    _stand_in_model.control.reset()
    return _stand_in_model


@pytest.fixture
def endpoint(stand_in_model: StandInModel) -> Endpoint:
    """The stand-in as ``playground.credentials`` wants it."""
    return Endpoint(stand_in_model.base_url)


@pytest.fixture
def pgvector_credentials(endpoint: Endpoint, database: Database) -> dict[str, Any]:
    """A credential set on the test's own database, in async mode; change it with ``{**pgvector_credentials, ...}``."""
    return credential_set(endpoint, pgvector_block(database))


@pytest.fixture
def qdrant_credentials(endpoint: Endpoint, tmp_path: Path) -> dict[str, Any]:
    """A credential set on an embedded Qdrant of the test's own; the state is then SQLite, in the state folder."""
    return credential_set(endpoint, qdrant_block(tmp_path / "qdrant"))


@pytest.fixture
def state_folder(tmp_path: Path) -> Path:
    """Where the test's plugin processes keep SQLite state; the same for all of them."""
    return tmp_path / "state"


@pytest.fixture
def plugin_process(tmp_path: Path, state_folder: Path) -> Iterator[Callable[..., PluginProcess]]:
    """Starts plugin processes: ``plugin_process()``, or with ``env``; whatever still runs is killed at the end.

    The process has a home of its own, so that nothing is read from or left in the developer's.
    """
    started: list[PluginProcess] = []
    home = tmp_path / "home"
    home.mkdir()

    def start(env: dict[str, str] | None = None) -> PluginProcess:
        surroundings = {"HOME": str(home), "MEM0_DIFY_STATE_DIR": str(state_folder), **(env or {})}
        started.append(PluginProcess(surroundings, PROJECT_ROOT))
        return started[-1].start()

    yield start
    for process in started:
        process.kill()
