"""A model endpoint that fails: what passes is tried again, what lasts is told at once and taken up when it is cured."""

from __future__ import annotations

import json
from typing import Any

import pytest

from playground.stand_in_model import StandInModel
from tests.faults.conftest import Site
from tests.faults.ledger import PostgresLedger, wait_until
from tests.plugin import Plugin


def with_config(block: str, **config: Any) -> str:
    """A credential block with further configuration."""
    parsed = json.loads(block)
    return json.dumps({**parsed, "config": {**parsed["config"], **config}})


def failed(plugin: Plugin, user_id: str = "alice") -> int:
    return int(plugin.call("get_all_memories", user_id=user_id).envelope["failed_writes"])


def half_of_all_requests_fail(
    site: Site[PostgresLedger], model: StandInModel, users: int, notes_per_user: int, *, most_failures: int
) -> None:
    """Every kind of failure in turn; the hanging ones cost a second each. The model recovers when a write has failed
    ``most_failures`` times, or when all are done.

    A try needs three requests and fails one time in four, so one write in some 3,000 is given up after six tries. It is
    kept with its reason, and carried out when the credentials are next validated.
    """
    names = ("local_llm_json_secret", "local_embedder_json_secret")
    plugin = site.start(**{name: with_config(site.credentials[name], timeout=1) for name in names})
    plugin.drain("user-0")
    model.control.set(verbatim=True, failure_share=0.5, failure_seed=5, retry_after_s=0.2)
    notes = {
        f"user-{user}": [f"note {number} of user {user}" for number in range(notes_per_user)] for user in range(users)
    }
    for user_id, texts in notes.items():
        for text in texts:
            plugin.accept(user_id, text)
    state = "SELECT max(attempts) >= ? OR bool_and(status <> 'pending') FROM mem0_dify_writes"
    wait_until(lambda: site.ledger.rows(state, most_failures) == [(True,)], timeout_s=3600)  # six tries: ten minutes
    model.control.set(failure_share=0.0)
    plugin.drain(*notes)
    if any(failed(plugin, user_id) for user_id in notes):
        assert plugin.process.validate(plugin.credentials).error is None
        plugin.drain(*notes)
    for user_id, texts in notes.items():
        assert plugin.texts(user_id) == texts
        assert failed(plugin, user_id) == 0


def test_half_of_all_requests_fail(postgres_site: Site[PostgresLedger], stand_in_model: StandInModel) -> None:
    half_of_all_requests_fail(postgres_site, stand_in_model, users=8, notes_per_user=1, most_failures=2)


@pytest.mark.long
def test_half_of_very_many_requests_fail(postgres_site: Site[PostgresLedger], stand_in_model: StandInModel) -> None:
    half_of_all_requests_fail(postgres_site, stand_in_model, users=20, notes_per_user=3, most_failures=7)


def test_a_refused_key_is_told_at_once_and_cured_by_another(
    postgres_site: Site[PostgresLedger], stand_in_model: StandInModel
) -> None:
    stand_in_model.control.set(accepted_key="stand-in", verbatim=True)
    wrong = with_config(postgres_site.credentials["local_llm_json_secret"], api_key="sk-canary-wrong")
    plugin = postgres_site.start(local_llm_json_secret=wrong)
    plugin.accept("alice", "I like tea")
    plugin.drain("alice")
    assert failed(plugin) == 1 and plugin.texts("alice") == []
    [(reason, attempts)] = postgres_site.ledger.rows("SELECT error, attempts FROM mem0_dify_writes")
    assert "401" in reason and "canary" not in reason and attempts == 0

    cured = Plugin(plugin.process, postgres_site.credentials)
    assert failed(cured) == 1, "the wrong key may be another tenant's, who is still there"
    plugin.process.kill()
    postgres_site.ledger.forget_workers()
    cured = postgres_site.start()
    wait_until(lambda: cured.texts("alice") == ["I like tea"])
    assert failed(cured) == 0
    assert not any("canary" in line.message for line in plugin.process.logs)


def test_saving_the_credentials_again_takes_up_what_they_failed_at(
    postgres_site: Site[PostgresLedger], stand_in_model: StandInModel
) -> None:
    plugin = postgres_site.start()
    plugin.drain("alice")
    stand_in_model.control.set(unauthorised=True, verbatim=True)
    plugin.accept("alice", "I like tea")
    wait_until(lambda: failed(plugin) == 1)
    stand_in_model.control.set(unauthorised=False)
    assert plugin.process.validate(plugin.credentials).error is None
    wait_until(lambda: plugin.texts("alice") == ["I like tea"])


def test_an_unusable_answer_is_asked_for_once_more(
    postgres_site: Site[PostgresLedger], stand_in_model: StandInModel
) -> None:
    plugin = postgres_site.start(async_mode=False)
    stand_in_model.control.script(
        "Certainly! I will remember that.", {"memory": [{"event": "ADD", "text": "likes tea"}]}
    )
    [added] = plugin.call("add_memory", user_id="alice", user="I like tea.").results
    assert added["memory"] == "likes tea" and stand_in_model.control.counts["chat"] == 2


def test_a_request_the_model_rejects_fails_at_once_with_its_reason(
    postgres_site: Site[PostgresLedger], stand_in_model: StandInModel
) -> None:
    wrong = with_config(postgres_site.credentials["local_embedder_json_secret"], embedding_dims=128)
    store = with_config(postgres_site.credentials["local_vector_db_json_secret"], embedding_model_dims=128)
    right = postgres_site.start()
    right.accept("alice", "I like tea")
    right.drain("alice")
    other = right.with_credentials(local_embedder_json_secret=wrong, local_vector_db_json_secret=store)
    answer = other.call("search_memory", user_id="alice", query="tea")
    assert answer.status == "ERROR"
    assert "128" in answer.envelope["messages"] and "256" in answer.envelope["messages"]
