"""One plugin process for a whole module, for suites whose cases must not disturb each other anyway."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from playground.credentials import Endpoint, credential_set, pgvector_block
from playground.dify_host import PluginProcess
from playground.postgres import Database
from playground.stand_in_model import StandInModel
from tests.plugin import PATIENT_S, Plugin


@pytest.fixture(scope="module")
def module_plugin(module_database: Database, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plugin]:
    """A plugin on PostgreSQL with pgvector, shared by the tests of one module."""
    home: Path = tmp_path_factory.mktemp("home")
    with StandInModel() as model, PluginProcess({"HOME": str(home)}) as process:
        plugin = Plugin(process, credential_set(Endpoint(model.base_url), pgvector_block(module_database)))
        # What a first search takes is not what these modules are about (``test_first_search``).
        assert plugin.call("search_memory", user_id="alice", query="anything", timeout=PATIENT_S).status == "SUCCESS"
        yield plugin
