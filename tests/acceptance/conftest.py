"""One plugin process for a whole module, where its start is not what the tests are about.

Each test has a collection, and so memories, history and writes, of its own in it.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from playground.credentials import Endpoint, credential_set, pgvector_block
from playground.dify_host import PluginProcess
from playground.postgres import Database
from playground.stand_in_model import StandInModel
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
