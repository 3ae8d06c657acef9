"""What PRIVACY.md says of keys and texts, looked for in everything the plugin writes: answers, log and state store."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from playground.dify_host import PluginProcess
from playground.postgres import Database
from playground.stand_in_model import StandInModel
from tests.faults.test_model_faults import with_config
from tests.plugin import Plugin

KEY = "sk-canary-of-the-model"
SAID = "My password is hunter2"
TABLES = "SELECT table_name FROM information_schema.tables WHERE table_schema = 'mem0_dify'"


def state_of(database: Database) -> str:
    """Every row of the plugin's own tables, as text."""
    with psycopg.connect(database.uri) as session:
        names = [name for (name,) in session.execute(TABLES)]
        assert len(names) >= 5
        rows = [session.execute(f'SELECT t::text FROM mem0_dify."{name}" AS t').fetchall() for name in names]
    return str(rows)


@pytest.fixture(params=["INFO", "DEBUG"])
def level(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_keys_are_nowhere_and_texts_only_where_they_belong(
    plugin_process: Callable[..., PluginProcess],
    pgvector_credentials: dict[str, Any],
    database: Database,
    stand_in_model: StandInModel,
    level: str,
) -> None:
    keys = {
        name: with_config(pgvector_credentials[name], api_key=KEY)
        for name in ("local_llm_json_secret", "local_embedder_json_secret")
    }
    plugin = Plugin(plugin_process(), {**pgvector_credentials, **keys, "log_level": level})
    assert plugin.process.validate(plugin.credentials).error is None
    plugin.accept("alice", SAID)
    plugin.drain("alice")
    plugin.call("search_memory", user_id="alice", query=SAID)
    stand_in_model.control.set(unauthorised=True)
    plugin.accept("bob", "I like tea.")
    plugin.drain("bob")
    assert plugin.call("search_memory", user_id="alice", query="something else").status == "ERROR"

    logged = "\n".join([*(line.message for line in plugin.process.logs), *plugin.process.stderr_lines])
    written = "\n".join(plugin.process.raw_lines)
    kept = state_of(database)
    for everything in (logged, written, kept):
        assert KEY not in everything
    if level != "DEBUG":
        assert "hunter2" not in logged
    with psycopg.connect(database.uri) as session:
        erased = session.execute("SELECT payload, plan FROM mem0_dify.writes WHERE user_id = 'alice'").fetchall()
    assert erased == [(None, None)]

    stand_in_model.control.set(unauthorised=False)
    wiped = plugin.call("delete_all_memories", user_id="alice", purge_history=True)
    assert wiped.status == "SUCCESS"
    plugin.drain("alice")
    assert "hunter2" not in state_of(database)


def test_without_inference_no_model_is_asked_what_to_remember(
    plugin_process: Callable[..., PluginProcess], pgvector_credentials: dict[str, Any], stand_in_model: StandInModel
) -> None:
    plugin = Plugin(plugin_process(), pgvector_credentials)
    plugin.accept("alice", SAID, infer=False)
    plugin.drain("alice")
    assert plugin.texts("alice") == [SAID]
    assert stand_in_model.control.counts["chat"] == 0 and stand_in_model.control.counts["embedded_texts"] >= 1
