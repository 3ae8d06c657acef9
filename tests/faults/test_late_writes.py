"""A write that was parked does not overwrite what was said after it, and says so."""

from __future__ import annotations

import json

from playground.stand_in_model import StandInModel
from tests.faults.conftest import Site
from tests.faults.ledger import Ledger
from tests.plugin import Plugin

RESULT = "SELECT result, plan FROM mem0_dify_writes WHERE id = ?"


def parked(plugin: Plugin, model: StandInModel, user: str) -> str:
    """An add that failed for its credentials: its id."""
    model.control.set(unauthorised=True)
    write_id = plugin.accept("alice", user, infer=True)
    plugin.drain("alice")
    model.control.set(unauthorised=False)
    return write_id


def taken_up(plugin: Plugin) -> None:
    """Have what failed tried again."""
    assert plugin.process.validate(plugin.credentials).error is None
    plugin.drain("alice")


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
