"""Names that merge, and steps as the state store keeps them."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from utils.graph.relations import Edge, Relation, entity_key, entity_names, owner_key, relation
from utils.graph.steps import ChangeEdges, DeleteAllEdges, RepairEdges, step_id, steps_scope
from utils.stores.protocol import Owner

ALICE = Owner("alice")


@pytest.mark.parametrize("spelled", ["ada lovelace", "ＡＤＡ　lovelace", "Ada  Lovelace.", " Ada Lovelace "])
def test_spellings_of_a_name_are_one_entity(spelled: str) -> None:
    assert entity_key("s", ALICE, spelled) == entity_key("s", ALICE, "Ada Lovelace")


def test_entities_are_a_users_and_an_agents_own() -> None:
    owners = [ALICE, Owner("bob"), Owner("alice", "a"), Owner("alice", "b"), Owner("alicea", "")]
    keys = {entity_key(scope, owner, "Ada") for scope in ("s", "t") for owner in owners}
    assert len(keys) == 2 * len(owners)
    assert owner_key("s", Owner("alice", "a")) == owner_key("s", ALICE) != owner_key("t", ALICE)


def test_the_spelling_used_last_counts() -> None:
    assert entity_names([Relation("Ada", "is", "tall"), Relation("ADA", "is", "Tall.")]) == ["ADA", "Tall."]


@given(st.text() | st.none() | st.integers(), st.text(), st.text())
def test_a_relation_has_three_names_or_is_none(source: object, said: str, destination: str) -> None:
    found = relation(source, said, destination)
    if found is not None:
        assert relation(*found) == found  # nothing is left to be cleaned
        entity_key("s", ALICE, found.source).encode("ascii")


def test_steps_come_back_as_they_were_accepted() -> None:
    edges = (Edge("Ada", "is", "tall", "m1", "agent", "hash"), Edge("Ada", "likes", "tea", "m2"))
    change = ChangeEdges("w", "2026-03-05", "agent", {"m1": "hash"}, ["m3"], edges, {"Ada": (0.5, -1.0)})
    back = ChangeEdges.from_json(json.loads(json.dumps(change.to_json())))
    assert (back.stored, list(back.removed), back.edges, dict(back.vectors)) == (
        change.stored, change.removed, edges, {"Ada": (0.5, -1.0)},
    )  # fmt: skip
    everything, repair = DeleteAllEdges("w", "2026-03-05", "agent", purge=True), RepairEdges("w", "2026-03-05")
    assert DeleteAllEdges.from_json(everything.to_json()) == everything
    assert RepairEdges.from_json(repair.to_json()) == repair


def test_a_writes_step_has_one_id_in_a_queue_of_its_own() -> None:
    assert step_id("w") == step_id("w") != step_id("v")
    assert steps_scope("s") == steps_scope("s") not in (steps_scope("t"), "s")
