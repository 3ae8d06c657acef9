"""A write that was parked does not overwrite what was said after it, and says so."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest

from playground.stand_in_model import StandInModel
from tests.faults.conftest import Site
from tests.faults.ledger import Ledger, PostgresLedger, wait_until
from tests.plugin import Plugin

RESULT = "SELECT result, plan FROM mem0_dify_writes WHERE id = ?"


def parked(plugin: Plugin, model: StandInModel, user: str) -> str:
    """An add that failed for its credentials: its id."""
    model.control.set(unauthorised=True)
    write_id = plugin.accept("alice", user, infer=True)
    plugin.drain("alice")
    model.control.set(unauthorised=False)
    return write_id


def taken_up(plugin: Plugin, user_id: str = "alice") -> None:
    """Have what failed tried again."""
    assert plugin.process.validate(plugin.credentials).error is None
    plugin.drain(user_id)


def test_an_add_that_is_taken_up_late_leaves_what_was_said_after_it(
    site: Site[Ledger], stand_in_model: StandInModel
) -> None:
    plugin = site.start()
    late = parked(plugin, stand_in_model, "I live in Lisbon.")
    plugin.accept("alice", "I live in Porto.")
    plugin.drain("alice")
    [newer] = plugin.memories("alice")
    taken_up(plugin)
    assert plugin.memories("alice") == [newer]
    [(result, _)] = site.ledger.rows(RESULT, late)
    assert (result if isinstance(result, dict) else json.loads(result))["newer"] == [newer["id"]]
    plugin.process.wait_for_log(f"write {late} is older than memories it would change.*{newer['id']}")
    assert '"date": ' in stand_in_model.control.prompts[-1][-1]["content"]
    assert "later than the messages" in stand_in_model.control.prompts[-1][-1]["content"]


def test_an_add_that_is_taken_up_late_still_adds_what_nobody_has_said_since(
    site: Site[Ledger], stand_in_model: StandInModel
) -> None:
    plugin = site.start()
    parked(plugin, stand_in_model, "I live in Lisbon. I work as a nurse.")
    plugin.accept("alice", "I live in Porto.")
    plugin.drain("alice")
    taken_up(plugin)
    assert sorted(plugin.texts("alice")) == ["I live in Porto", "I work as a nurse"]


@pytest.mark.parametrize("infer", [True, False])
def test_what_was_said_again_is_as_new_as_that(site: Site[Ledger], stand_in_model: StandInModel, infer: bool) -> None:
    plugin = site.start()
    plugin.accept("alice", "I live in Porto", infer=infer)
    plugin.drain("alice")
    parked(plugin, stand_in_model, "I live in Lisbon.")
    plugin.accept("alice", "I live in Porto", infer=infer)
    plugin.drain("alice")
    taken_up(plugin)
    [memory] = plugin.memories("alice")
    assert memory["memory"] == "I live in Porto"
    history = plugin.call("get_memory_history", memory_id=memory["id"], user_id="alice").results
    assert [entry["event"] for entry in history] == ["ADD"]


def test_what_has_nothing_to_do_with_a_newer_memory_is_added_beside_it(
    site: Site[Ledger], stand_in_model: StandInModel
) -> None:
    plugin = site.start()
    parked(plugin, stand_in_model, "I play the violin.")
    plugin.accept("alice", "I live in Porto.")
    plugin.drain("alice")
    wrong = {"event": "UPDATE", "id": "0", "text": "Plays the violin"}
    stand_in_model.control.script("yes", {"memory": [wrong]})  # the first is for the validation
    taken_up(plugin)
    assert sorted(plugin.texts("alice")) == ["I live in Porto", "Plays the violin"]


@contextmanager
def deleting_refused(ledger: PostgresLedger) -> Iterator[None]:
    """Let the database refuse every deletion of a memory while the block runs."""
    with psycopg.connect(ledger.uri, autocommit=True) as conn:
        conn.execute(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE 'not now' USING ERRCODE = 'insufficient_privilege'; END $$"
        )
        conn.execute("CREATE TRIGGER refusing BEFORE DELETE ON mem0 FOR EACH ROW EXECUTE FUNCTION refuse()")
        yield
        conn.execute("DROP TRIGGER refusing ON mem0")


@pytest.mark.parametrize("purge_history", [False, True])
def test_a_deletion_of_all_that_is_taken_up_late_leaves_what_came_after_it(
    postgres_site: Site[PostgresLedger], stand_in_model: StandInModel, purge_history: bool
) -> None:
    plugin = postgres_site.start()
    for text in ("I live in Lisbon.", "I like tea.", "I work as a nurse."):
        plugin.accept("alice", text)
    plugin.drain("alice")
    with deleting_refused(postgres_site.ledger):
        late = plugin.call("delete_all_memories", user_id="alice", purge_history=purge_history).envelope["write_id"]
        wait_until(lambda: plugin.call("check_extraction_status", task_id=late).variables["task_status"] == "failed")
    plugin.accept("alice", "I live in Porto.")  # replaces what was there when everything was to go
    plugin.accept("alice", "I like coffee.")
    plugin.drain("alice")
    recalls = "SELECT memory_id, recall_count FROM mem0_dify_recalls WHERE user_id = ?"
    [coffee] = plugin.call("search_memory", user_id="alice", query="I like coffee", top_k=1).results
    wait_until(lambda: postgres_site.ledger.rows(recalls, "alice"))
    taken_up(plugin)
    assert sorted(plugin.texts("alice")) == ["I like coffee", "I live in Porto"]
    plugin.process.wait_for_log(f"write {late} is older than 2 memories")
    state = plugin.call("check_extraction_status", task_id=late).variables
    assert state["task_status"] == "completed", state
    assert postgres_site.ledger.rows(recalls, "alice") == [(coffee["id"], 1)]
