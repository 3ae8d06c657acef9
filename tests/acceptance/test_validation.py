"""Saving credentials: what is asked, what is let pass, what is left alone. Of mistakes: ``test_validation_*``."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from playground.credentials import Endpoint, block
from playground.dify_host import PluginProcess
from playground.postgres import Database
from playground.stand_in_model import StandInModel
from tests.acceptance.refusals import EMBEDDER, LLM, RERANKER, STORE, dead
from tests.acceptance.refusals import refusal as refused
from tests.plugin import Plugin


@pytest.mark.parametrize(("endpoint_name", "credential"), [("chat", LLM), ("embeddings", EMBEDDER)])
def test_a_model_that_is_only_slow_is_let_pass(
    process: PluginProcess,
    pgvector_credentials: dict[str, Any],
    stand_in_model: StandInModel,
    endpoint_name: str,
    credential: str,
) -> None:
    stand_in_model.control.set(failure_share=1.0, failure_kinds=["hang"], failing_endpoints=[endpoint_name])
    assert process.validate(pgvector_credentials).error is None
    process.wait_for_log(f"{credential}: no answer within .* let pass")


def test_a_model_that_has_too_much_to_do_is_let_pass(
    process: PluginProcess, pgvector_credentials: dict[str, Any], stand_in_model: StandInModel
) -> None:
    stand_in_model.control.set(failure_share=1.0, failure_kinds=["429"], failing_endpoints=["chat"], retry_after_s=0.1)
    assert process.validate(pgvector_credentials).error is None
    process.wait_for_log(f"{LLM}: the service was busy")


def test_every_part_that_is_filled_in_is_asked_once(
    process: PluginProcess, pgvector_credentials: dict[str, Any], endpoint: Endpoint, stand_in_model: StandInModel
) -> None:
    llm = {"provider": "openai", "config": {"model": "m", "api_key": "k", "openai_base_url": endpoint.base_url}}
    stand_in_model.control.script({"0": 1.0}, {"0": 1.0})
    credentials = {**pgvector_credentials, RERANKER: block("llm_reranker", llm=llm)}
    assert process.validate(credentials).error is None
    counts = stand_in_model.control.counts
    assert (counts["chat"], counts["embedded_texts"]) == (2, 1)


def test_credentials_that_are_never_saved_carry_nothing_out(
    plugin_process: Callable[..., PluginProcess], pgvector_credentials: dict[str, Any], stand_in_model: StandInModel
) -> None:
    """A write waits for a worker that died; validating other credentials of the same store leaves it alone."""
    stand_in_model.control.set(verbatim=True, held_endpoints=["chat"])
    first = Plugin(plugin_process(), pgvector_credentials)
    first.accept("alice", "I like tea.")
    first.process.kill()
    stand_in_model.control.set(held_endpoints=[])
    asked = stand_in_model.control.counts["chat"]
    trial = {**pgvector_credentials, LLM: json.dumps(_other_key(pgvector_credentials[LLM]))}
    second = plugin_process()
    assert second.validate(trial).error is None
    assert refused(second, {**trial, LLM: json.dumps(dead(1))})
    assert stand_in_model.control.counts["chat"] == asked + 1, "the completion of the check"
    plugin = Plugin(second, pgvector_credentials)
    plugin.drain("alice")
    assert plugin.texts("alice") == ["I like tea."]


def test_a_write_that_failed_waits_for_credentials_that_are_used(
    plugin_process: Callable[..., PluginProcess],
    pgvector_credentials: dict[str, Any],
    database: Database,
    stand_in_model: StandInModel,
) -> None:
    """Neither other credentials on trial nor its own take it up; the next call with its own does."""
    stand_in_model.control.set(unauthorised=True, verbatim=True)
    plugin = Plugin(plugin_process(), pgvector_credentials)
    plugin.accept("alice", "I like tea.")
    plugin.drain("alice")
    stand_in_model.control.set(unauthorised=False)
    before = _recorded_writes(database)
    trial = {**pgvector_credentials, LLM: json.dumps(_other_key(pgvector_credentials[LLM]))}
    for credentials in (trial, pgvector_credentials):
        assert plugin.process.validate(credentials).error is None
        assert _recorded_writes(database) == before
    assert plugin.call("search_memory", user_id="alice", query="tea").status == "SUCCESS"
    plugin.drain("alice")
    assert plugin.texts("alice") == ["I like tea."]


def _recorded_writes(database: Database) -> list[tuple[Any, ...]]:
    with psycopg.connect(database.uri) as session:
        return session.execute("SELECT * FROM mem0_dify.writes").fetchall()


def _other_key(pasted: str) -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(pasted)
    parsed["config"]["api_key"] = "another"
    return parsed


def test_a_folder_that_an_open_set_uses_can_be_validated(
    plugin_process: Callable[..., PluginProcess], qdrant_credentials: dict[str, Any]
) -> None:
    plugin = Plugin(plugin_process(), qdrant_credentials)
    plugin.call("add_memory", user_id="alice", user="I like tea.", infer=False)
    plugin.drain("alice")
    assert plugin.process.validate(qdrant_credentials).error is None
    changed = json.loads(qdrant_credentials[STORE])
    changed["config"] |= {"on_disk": False, "collection_name": "another"}
    assert plugin.process.validate({**qdrant_credentials, STORE: json.dumps(changed)}).error is None
    assert plugin.texts("alice") == ["I like tea."]


# --- settings


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("max_concurrent_memory_operations", "many", "must be a whole number from 1 to 10000"),
        ("heartbeat_interval", "5", "must be a whole number from 30 to 86400"),
        ("log_level", "LOUD", "must be one of INFO, DEBUG, WARNING, ERROR"),
        ("async_mode", "perhaps", "must be true or false"),
        ("memory_ttl_days", "soon", "must be a whole number from 1 to 36500"),
    ],
)
def test_a_setting_that_cannot_be_used_is_refused_with_its_range(
    refusal: Callable[..., str], pgvector_credentials: dict[str, Any], name: str, value: str, says: str
) -> None:
    said = refusal({**pgvector_credentials, name: value})
    assert said.startswith(name) and says in said


def test_a_setting_that_was_saved_before_is_replaced_with_a_warning(
    process: PluginProcess, pgvector_credentials: dict[str, Any]
) -> None:
    plugin = Plugin(process, {**pgvector_credentials, "heartbeat_interval": "5"})
    assert plugin.call("search_memory", user_id="alice", query="tea").status == "SUCCESS"
    process.wait_for_log("heartbeat_interval must be a whole number .* The default 120 is used.")
