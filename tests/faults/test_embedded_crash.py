"""The crash loop of ``test_crash`` over every embedded store that the README recommends."""

from __future__ import annotations

import json
import uuid
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from playground.credentials import Endpoint, block, credential_set
from playground.dify_host import PluginProcess
from playground.stand_in_model import StandInModel
from tests.faults.conftest import Site
from tests.faults.ledger import SqliteLedger, wait_until
from tests.faults.test_crash import UNTIL_KILLED, Feeder, moves_through_kills, notes_through_kills
from utils.mem0.building import build_vector_store

STORES: dict[str, dict[str, Any]] = {
    "qdrant": {"path": "{folder}/qdrant", "on_disk": True},
    "chroma": {"path": "{folder}/chroma"},
    "faiss": {"path": "{folder}/faiss", "distance_strategy": "cosine"},
    "milvus": {"url": "{folder}/milvus.db", "metric_type": "COSINE"},
}


@pytest.fixture
def embedded_site(
    request: pytest.FixtureRequest,
    plugin_process: Callable[..., PluginProcess],
    endpoint: Endpoint,
    state_folder: Path,
    tmp_path: Path,
) -> Site[SqliteLedger]:
    """Memories in the embedded store the test names, state in SQLite."""
    template = STORES[request.param]
    config = {
        key: value.format(folder=tmp_path) if isinstance(value, str) else value for key, value in template.items()
    }
    dims = {} if request.param == "chroma" else {"embedding_model_dims": endpoint.dimensions}
    credentials = credential_set(endpoint, block(request.param, **config, **dims))
    return Site(plugin_process, credentials, SqliteLedger(state_folder))


@pytest.mark.parametrize("embedded_site", ["milvus"], indirect=True)
def test_notes_through_kills_on_every_engine(embedded_site: Site[SqliteLedger], stand_in_model: StandInModel) -> None:
    notes_through_kills(embedded_site, stand_in_model, kills=2, writes_per_user=8, seed=11)


@pytest.mark.parametrize("embedded_site", ["faiss"], indirect=True)
def test_killed_in_the_middle_of_writing_faiss_files(
    embedded_site: Site[SqliteLedger], stand_in_model: StandInModel, endpoint: Endpoint, tmp_path: Path
) -> None:
    stand_in_model.control.set(verbatim=True)
    stored = 3_000
    config = json.loads(embedded_site.credentials["local_vector_db_json_secret"])["config"]
    build_vector_store("faiss", config).insert(
        vectors=[[1.0] + [0.0] * (endpoint.dimensions - 1)] * stored,
        payloads=[{"data": f"long known {number}", "user_id": "bystander"} for number in range(stored)],
        ids=[str(uuid.UUID(int=number)) for number in range(stored)],
    )
    folder = tmp_path / "faiss"
    whole = (folder / "mem0.json").stat().st_size

    def is_being_written() -> bool:
        """In place, as mem0 does it, or beside it."""
        return (folder / "mem0.json").stat().st_size < whole or any(folder.glob("*.next"))

    feeder = Feeder(users=2, text="note number {number}")
    for _ in range(3):
        plugin = embedded_site.start()
        plugin.pending("user-0")
        threads = feeder.run(plugin, UNTIL_KILLED)
        wait_until(is_being_written, every_s=0.001)
        plugin.process.kill()
        for thread in threads:
            thread.join()
    plugin = embedded_site.start()
    plugin.drain(*feeder.accepted)
    for user_id, accepted in feeder.accepted.items():
        assert Counter(accepted) - Counter(plugin.texts(user_id)) == Counter()
    assert plugin.call("get_all_memories", user_id="bystander", limit=1).envelope["total"] == stored


@pytest.mark.long
@pytest.mark.parametrize("embedded_site", ["faiss"], indirect=True)
def test_moves_through_kills_on_faiss(embedded_site: Site[SqliteLedger], stand_in_model: StandInModel) -> None:
    moves_through_kills(embedded_site, stand_in_model, kills=2, writes_per_user=8, seed=12)


@pytest.mark.long
@pytest.mark.parametrize("embedded_site", STORES, indirect=True)
def test_three_hundred_notes_through_thirty_kills_on_every_engine(
    embedded_site: Site[SqliteLedger], stand_in_model: StandInModel
) -> None:
    notes_through_kills(embedded_site, stand_in_model, kills=30, writes_per_user=75, seed=13)


@pytest.mark.long
@pytest.mark.parametrize("embedded_site", STORES, indirect=True)
def test_three_hundred_moves_through_thirty_kills_on_every_engine(
    embedded_site: Site[SqliteLedger], stand_in_model: StandInModel
) -> None:
    moves_through_kills(embedded_site, stand_in_model, kills=30, writes_per_user=75, seed=14)
