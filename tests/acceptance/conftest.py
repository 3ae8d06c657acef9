"""One plugin process for a whole module, where its start is not what the tests are about.

Each test has a collection, and so memories, history and writes, of its own in it.
"""

from __future__ import annotations

import socket
import socketserver
import threading
import uuid
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from playground.credentials import Endpoint, credential_set, pgvector_block
from playground.dify_host import PluginProcess
from playground.postgres import Database
from playground.stand_in_model import StandInModel
from tests.acceptance.refusals import refusal_in_every_language
from tests.plugin import Plugin


@pytest.fixture(scope="module")
def module_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PluginProcess]:
    """A plugin process shared by the tests of one module."""
    home: Path = tmp_path_factory.mktemp("home")
    with PluginProcess({"HOME": str(home), "MEM0_DIFY_STATE_DIR": str(home / "state")}) as process:
        yield process


@pytest.fixture(scope="module")
def module_plugin(module_process: PluginProcess, module_database: Database) -> Iterator[Plugin]:
    """A plugin on PostgreSQL with pgvector, for modules whose tests share their memories, too."""
    with StandInModel() as model:
        yield Plugin(module_process, credential_set(Endpoint(model.base_url), pgvector_block(module_database)))


@pytest.fixture
def collection_credentials(endpoint: Endpoint, module_database: Database) -> dict[str, Any]:
    """A credential set on a collection of the test's own in the module's database."""
    return credential_set(endpoint, own_collection(module_database))


def own_collection(database: Database) -> str:
    """The vector-store block for a collection that nobody else uses."""
    return pgvector_block(database, collection_name=f"memories_{uuid.uuid4().hex[:12]}")


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PluginProcess]:
    """One process for the whole module: a refusal leaves nothing behind."""
    home = tmp_path_factory.mktemp("home")
    with PluginProcess({"HOME": str(home)}) as started:
        yield started


@pytest.fixture
def refusal(process: PluginProcess) -> Callable[[dict[str, Any]], str]:
    """The sentence with which credentials are refused; it is looked at in all four languages."""
    return partial(refusal_in_every_language, process)


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port of this machine that nobody listens on, and nobody takes while the test runs."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        yield port


@pytest.fixture
def other_server() -> Iterator[int]:
    """A server that hangs up on whoever does not speak its protocol."""

    class Refuse(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(8)
            self.request.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Refuse) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()
