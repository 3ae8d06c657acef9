"""Work another process left: under other credentials, on a shared SQLite file, after a start in an outage."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from playground.credentials import Endpoint, credential_set, pgvector_block
from playground.dify_host import PluginProcess
from playground.postgres import PostgresServer
from playground.stand_in_model import StandInModel
from tests.faults.conftest import Site
from tests.faults.ledger import PostgresLedger, SqliteLedger, carried_out, wait_until
from tests.faults.test_model_faults import with_config
from tests.plugin import Plugin


def test_pending_writes_are_carried_out_under_new_credentials_of_the_same_store(
    postgres_site: Site[PostgresLedger], stand_in_model: StandInModel
) -> None:
    """The key was rotated while the plugin was down: nobody will ever come with the old one."""
    stand_in_model.control.set(verbatim=True, held_endpoints=["chat"])
    plugin = postgres_site.start()
    texts = [f"note number {number}" for number in range(5)]
    for text in texts:
        plugin.accept("alice", text)
    plugin.process.kill()
    stand_in_model.control.set(held_endpoints=[], accepted_key="rotated")
    rotated = {
        name: with_config(postgres_site.credentials[name], api_key="rotated")
        for name in ("local_llm_json_secret", "local_embedder_json_secret")
    }
    postgres_site.ledger.forget_workers()
    plugin = postgres_site.start(**rotated)
    plugin.drain("alice")
    assert plugin.texts("alice") == texts


def test_two_processes_share_a_sqlite_file(
    plugin_process: Callable[..., PluginProcess],
    pgvector_credentials: dict[str, Any],
    stand_in_model: StandInModel,
    state_folder: Path,
) -> None:
    """The promises between processes do not hang on PostgreSQL."""
    stand_in_model.control.set(verbatim=True)
    ledger = SqliteLedger(state_folder)
    credentials = {**pgvector_credentials, "state_db_url": str(state_folder / "mem0_dify.sqlite3")}
    plugins = [Plugin(plugin_process(), credentials) for _ in range(2)]
    accepted: dict[str, list[str]] = {f"user-{number}": [] for number in range(6)}

    def feed(user_id: str) -> None:
        for number in range(10):
            text = f"{user_id} remembers number {number}"
            plugins[number % 2].accept(user_id, text)
            accepted[user_id].append(text)

    threads = [threading.Thread(target=feed, args=(user_id,)) for user_id in accepted]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    plugins[0].drain(*accepted)
    for user_id, texts in accepted.items():
        assert plugins[1].texts(user_id) == texts
        assert carried_out(ledger, user_id) == texts


def test_a_plugin_started_during_an_outage_goes_on_when_it_is_over(
    own_postgres: PostgresServer, stand_in_model: StandInModel, plugin_process: Callable[..., PluginProcess]
) -> None:
    stand_in_model.control.set(verbatim=True, held_endpoints=["chat"])
    database = own_postgres.create_database("outage")
    credentials = credential_set(Endpoint(stand_in_model.base_url), pgvector_block(database))
    plugin = Plugin(plugin_process(), credentials)
    texts = [f"note number {number}" for number in range(3)]
    for text in texts:
        plugin.accept("alice", text)
    plugin.process.kill()
    own_postgres.stop("immediate")
    stand_in_model.control.set(held_endpoints=[])
    plugin = Plugin(plugin_process(), credentials)
    refused = plugin.call_in_time("search_memory", 5, user_id="alice", query="note")
    assert refused.status in {"ERROR", "TIMEOUT"} and refused.results == []
    assert plugin.process.validate(credentials).error is not None
    own_postgres.start()
    wait_until(lambda: plugin.pending("alice") == 0)
    assert plugin.texts("alice") == texts
