"""A store under another address: its history and the writes that wait for it are the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from playground.credentials import Endpoint, credential_set, pgvector_block, qdrant_block
from playground.dify_host import PluginProcess
from playground.postgres import Database, PostgresServer
from playground.stand_in_model import StandInModel
from tests.faults.ledger import PostgresLedger
from tests.faults.test_model_faults import with_config
from tests.plugin import Plugin
from tests.silent_proxy import SilentProxy


def one_memory_and_a_waiting_write(plugin: Plugin, model: StandInModel) -> str:
    """A memory with a history, and behind it a write that is not carried out yet; the memory's id."""
    plugin.accept("alice", "Alice likes tea.", infer=False)
    plugin.drain("alice")
    [memory] = plugin.memories("alice")
    model.control.set(verbatim=True, held_endpoints=["chat"])
    plugin.accept("alice", "Alice likes cake.")
    plugin.process.kill()
    model.control.set(held_endpoints=[])
    return str(memory["id"])


def all_is_there(plugin: Plugin, memory_id: str, age_workers: Callable[[], object]) -> None:
    [entry] = plugin.call("get_memory_history", memory_id=memory_id).results
    assert entry["new_memory"] == "Alice likes tea."
    age_workers()  # other credentials than before, although only the address has changed
    plugin.drain("alice")
    assert plugin.texts("alice") == ["Alice likes tea.", "Alice likes cake."]


@pytest.mark.parametrize("beside", [True, False], ids=["state beside the memories", "state elsewhere"])
def test_a_renamed_database_host(
    plugin_process: Callable[..., PluginProcess],
    endpoint: Endpoint,
    database: Database,
    postgres_server: PostgresServer,
    stand_in_model: StandInModel,
    beside: bool,
) -> None:
    elsewhere = database if beside else postgres_server.create_database(f"state_of_{database.dbname}")
    ledger = PostgresLedger(elsewhere)
    with SilentProxy(database.host, database.port) as renamed:
        sets = []
        for where in (database, replace(database, port=renamed.port)):
            block = pgvector_block(where)
            state = {} if beside else {"state_db_url": elsewhere.uri}
            sets.append(credential_set(endpoint, block, **state))
        memory_id = one_memory_and_a_waiting_write(Plugin(plugin_process(), sets[0]), stand_in_model)
        plugin = Plugin(plugin_process(), sets[1])
        all_is_there(plugin, memory_id, ledger.forget_workers)
        plugin.process.kill()


def test_a_moved_folder(
    plugin_process: Callable[..., PluginProcess],
    endpoint: Endpoint,
    database: Database,
    stand_in_model: StandInModel,
    tmp_path: Path,
) -> None:
    def credentials(folder: str) -> dict[str, Any]:
        return credential_set(endpoint, qdrant_block(tmp_path / folder), state_db_url=database.uri)

    memory_id = one_memory_and_a_waiting_write(Plugin(plugin_process(), credentials("here")), stand_in_model)
    (tmp_path / "here").rename(tmp_path / "there")
    plugin = Plugin(plugin_process(), credentials("there"))
    all_is_there(plugin, memory_id, PostgresLedger(database).forget_workers)


def test_collections_beside_each_other_keep_their_own_history(
    plugin_process: Callable[..., PluginProcess], pgvector_credentials: dict[str, Any]
) -> None:
    """Both live beside the state: only the collection's name tells them apart."""
    block = pgvector_credentials["local_vector_db_json_secret"]
    one = Plugin(plugin_process(), pgvector_credentials)
    other = one.with_credentials(local_vector_db_json_secret=with_config(block, collection_name="other"))
    one.accept("alice", "Alice likes tea.", infer=False)
    one.drain("alice")
    [memory] = one.memories("alice")
    assert other.memories("alice") == [] and other.pending("alice") == 0
    assert other.call("get_memory_history", memory_id=memory["id"]).status == "NOT_FOUND"
