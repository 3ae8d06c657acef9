"""Plans: to JSON and back, and what a model's answer becomes."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from utils.graph.relations import Relation
from utils.memory.answers import ProposedChange
from utils.memory.handlers import edges_of
from utils.memory.plan import Change, Plan, to_embed, with_vectors
from utils.memory.reconcile import Candidate, reconcile
from utils.memory.requests import Add, Chunk, Delete, DeleteAll, Said, Update, WriteRequest, read
from utils.state.writes import Write
from utils.stores.protocol import Row, text_hash

AT = "2026-01-02T03:04:05+00:00"
BEFORE, AFTER = "2026-01-01T00:00:00+00:00", "2026-01-03T00:00:00+00:00"
NOW = datetime.fromisoformat("2026-01-04T00:00:00+00:00")
TEXTS = st.text(st.characters(codec="utf-8"), min_size=1)
FLOAT32 = st.floats(width=32, allow_nan=False, allow_infinity=False)
CHANGES = st.builds(
    Change,
    event=st.sampled_from(["ADD", "UPDATE", "DELETE", "NONE"]),
    memory_id=st.uuids().map(str),
    text=st.none() | TEXTS,
    old_text=st.none() | TEXTS,
    metadata=st.dictionaries(st.text(st.characters(codec="utf-8")), st.integers() | st.booleans()),
    created_at=st.just(AT),
    changed_at=st.just(AT),
    agent_id=st.none() | TEXTS,
    observed_at=st.none() | st.just(BEFORE),
    vector=st.none() | st.lists(FLOAT32, min_size=1, max_size=8).map(tuple),
)


@given(st.builds(Plan, st.lists(CHANGES, max_size=4).map(tuple), newer=st.lists(TEXTS, max_size=2).map(tuple)))
def test_a_plan_survives_the_state_store(plan: Plan) -> None:
    assert Plan.from_json(json.loads(json.dumps(plan.to_json()))) == plan


def related_plan() -> Plan:
    """One memory more, which two things stem from, one replaced and one deleted."""
    said = (Relation("Ada", "likes", "tea"), Relation("ada", "is", "tall"))
    added = Change("ADD", "m1", "Ada likes tea", None, {}, AT, AT, "app", (0.5,), relations=said)
    replaced = Change("UPDATE", "m2", "Has a cat", "Has a dog", {}, AT, AT, None, (0.25,))
    deleted = Change("DELETE", "m3", None, "Is tired", {}, AT, AT)
    vectors = {"ada": (1.0,), "tea": (2.0,), "tall": (4.0,)}
    return Plan((added, replaced, deleted), entities=vectors)


def test_relations_survive_it_where_an_older_process_does_not_look() -> None:
    plain = related_plan().to_json()
    assert Plan.from_json(json.loads(json.dumps(plain))) == related_plan()
    assert all("relations" not in change for change in plain["changes"])
    assert "relations" not in Plan(related_plan().changes[1:]).to_json()


def test_new_texts_and_entities_are_embedded_at_once_each_entity_once() -> None:
    plan = replace(related_plan(), entities={})
    assert to_embed(plan) == ["Ada likes tea", "Has a cat", "ada", "tea", "tall"]
    embedded = with_vectors(plan, [[0.5], [0.25], [1.0], [2.0], [4.0]])
    assert [change.vector for change in embedded.changes] == [(0.5,), (0.25,), None]
    assert embedded.entities == {"ada": [1.0], "tea": [2.0], "tall": [4.0]}


def test_what_the_graph_has_to_learn_of_a_plan() -> None:
    write = Write("w", 1, "alice", "add", 1, {"agent_id": "app"}, None, 0, False, False)
    step = edges_of(related_plan(), write)
    assert step is not None and (step.agent_id, step.at) == ("app", AT)
    stored = {"m1": text_hash("Ada likes tea"), "m2": text_hash("Has a cat")}
    assert (step.stored, step.removed, step.vectors) == (stored, ["m3"], related_plan().entities)
    assert [(edge.source, edge.memory_id, edge.agent_id, edge.text_hash) for edge in step.edges] == [
        ("Ada", "m1", "app", stored["m1"]),
        ("ada", "m1", "app", stored["m1"]),
    ]
    added = Change("ADD", "m1", "Ada likes tea", None, {}, AT, AT)
    assert edges_of(Plan((added,)), write) is None and edges_of(Plan(), write) is None
    assert edges_of(Plan((replace(added, event="UPDATE"),)), write) is not None  # it may have had edges


@pytest.mark.parametrize(
    "request_",
    [
        Add(at=AT, trace="t", user="hi", metadata={"k": [1]}, infer=False, agent_id="app", instructions="only food"),
        Update(at=AT, memory_id="m", text="x", metadata={"k": 1}),
        Delete(at=AT, memory_id="m"),
        DeleteAll(at=AT, agent_id="app", purge_history=True),
    ],
)
def test_a_request_survives_the_state_store(request_: WriteRequest) -> None:
    assert read(request_.kind, json.loads(json.dumps(request_.to_json()))) == request_


def stored(text: str, **payload: Any) -> Row:
    return Row(
        str(uuid.uuid4()), {"data": text, "user_id": "alice", "created_at": "2025-01-01T00:00:00+00:00", **payload}
    )


def answered(event: Literal["ADD", "UPDATE", "DELETE"], text: str = "", memory: str | None = None) -> ProposedChange:
    return ProposedChange(event=event, text=text, memory=memory, type=None, date=None, steps=())


def reconciled(*answers: ProposedChange, offered: Mapping[str, Row | Candidate] | None = None) -> Sequence[Change]:
    return planned(*answers, offered=offered).changes


def planned(
    *answers: ProposedChange,
    offered: Mapping[str, Row | Candidate] | None = None,
    at: str = AT,
    write_id: str = "write-1",
) -> Plan:
    candidates = {key: one if isinstance(one, Candidate) else Candidate(one) for key, one in (offered or {}).items()}
    return reconcile(answers, candidates, Add(at=at, metadata={"k": 1}), write_id, NOW)


def test_an_update_replaces_the_offered_memory_and_keeps_its_birthday() -> None:
    row = stored("lives in Oslo", agent_id="app")
    [change] = reconciled(answered("UPDATE", "lives in Rome", "0"), offered={"0": row})
    assert (change.event, change.memory_id, change.old_text, change.text) == (
        "UPDATE",
        row.id,
        "lives in Oslo",
        "lives in Rome",
    )
    assert (change.created_at, change.changed_at, change.agent_id) == ("2025-01-01T00:00:00+00:00", AT, "app")


def test_a_memory_the_model_saw_the_beginning_of_is_not_replaced() -> None:
    offered = {"0": Candidate(stored("lives in Oslo"), cut=True), "1": stored("likes tea")}
    replaced = (answered("UPDATE", "lives in Rome", "0"), answered("UPDATE", "likes coffee", "1"))
    changes = reconciled(*replaced, offered=offered)
    assert [(change.event, change.text) for change in changes] == [("ADD", "lives in Rome"), ("UPDATE", "likes coffee")]


def test_what_a_conversation_adds_has_a_type_also_where_the_model_meant_to_update() -> None:
    chunk = Chunk(at=AT, agent_id="app", conversation_id="c", said=[Said("m", int(NOW.timestamp()), "I moved", "")])
    offered = {"0": Candidate(stored("lives in Oslo"), cut=True)}
    plan = reconcile([answered("UPDATE", "lives in Rome", "0")], offered, chunk, "write-1", NOW)
    [change] = plan.changes
    assert (change.event, change.metadata["memory_subtype"]) == ("ADD", "semantic")


def test_of_a_text_that_is_stored_already_only_the_time_is_kept() -> None:
    offered = {"0": stored("Likes tea."), "1": stored("lives in Oslo")}
    [change] = reconciled(answered("ADD", "likes  TEA"), answered("UPDATE", "likes tea", "1"), offered=offered)
    assert (change.event, change.memory_id, change.text) == ("NONE", offered["0"].id, "Likes tea.")
    assert change.said_at == AT


def test_what_the_messages_say_again_counts_as_said_then_though_the_model_leaves_it_out() -> None:
    offered = {"0": Candidate(stored("likes tea"), repeated=True), "1": stored("lives in Oslo")}
    [change] = reconciled(offered=offered)
    assert (change.event, change.text, change.said_at) == ("NONE", "likes tea", AT)


@pytest.mark.parametrize("said_at", [AT, AFTER])
def test_what_was_said_then_or_later_is_not_said_again(said_at: str) -> None:
    offered = {"0": stored("likes tea", observed_at=said_at)}
    assert reconciled(answered("ADD", "likes tea"), offered=offered) == ()


def test_a_memory_that_is_changed_is_not_said_again_beside_that() -> None:
    offered = {"0": stored("lives in Oslo")}
    answers = answered("ADD", "lives in Oslo"), answered("UPDATE", "lives in Rome", "0")
    assert [change.event for change in reconciled(*answers, offered=offered)] == ["UPDATE"]


def test_a_text_added_twice_is_added_once() -> None:
    [change] = reconciled(answered("ADD", "likes tea"), answered("ADD", "likes tea"))
    assert change.text == "likes tea"


TOWNS = st.tuples(st.sampled_from(["Oslo", "Rome", "Bonn"]), st.integers(0, 1439))


@given(st.lists(TOWNS, min_size=1, max_size=8, unique_by=lambda said: said[1]))
def test_facts_said_again_and_contradicted_end_as_the_newest_in_any_order(said: list[tuple[str, int]]) -> None:
    row: Row | None = None
    for number, (town, minute) in enumerate(said):
        time = f"2026-01-02T{minute // 60:02}:{minute % 60:02}:00+00:00"
        answer = answered("ADD", f"lives in {town}") if row is None else answered("UPDATE", f"lives in {town}", "0")
        plan = planned(answer, offered={} if row is None else {"0": row}, at=time, write_id=str(number))
        for change in plan.changes:
            row = stored(change.text or "", observed_at=change.said_at)
    newest = max(said, key=lambda one: one[1])
    assert row is not None and row.text == f"lives in {newest[0]}"


def test_a_deletion_of_an_offered_memory_is_planned_with_its_old_text() -> None:
    row = stored("likes tea")
    [change] = reconciled(answered("DELETE", memory="0"), offered={"0": row})
    assert (change.event, change.memory_id, change.old_text, change.text) == ("DELETE", row.id, "likes tea", None)
    assert change.entry().is_deleted


def test_an_addition_carries_the_callers_metadata_and_time() -> None:
    [change] = reconciled(answered("ADD", "likes tea"))
    assert (change.metadata, change.created_at, change.said_at) == ({"k": 1}, AT, AT)


def test_planned_anew_a_write_adds_a_text_under_the_same_id_and_another_text_under_another() -> None:
    """Of a plan that was applied in part a new one may be made (a parked write is planned anew)."""
    tea, cake = answered("ADD", "likes tea"), answered("ADD", "likes cake")
    first, second = reconciled(tea, cake)
    assert [change.memory_id for change in reconciled(cake, tea)] == [second.memory_id, first.memory_id]
    assert first.memory_id != second.memory_id


@pytest.mark.parametrize("event", ["UPDATE", "DELETE"])
def test_what_was_said_later_is_not_changed_and_named(event: Literal["UPDATE", "DELETE"]) -> None:
    row = stored("lives in Porto", observed_at=AFTER)
    late = answered(event, "lives in Oslo" if event == "UPDATE" else "", "0")
    plan = planned(late, offered={"0": Candidate(row, cut=True)})
    assert (plan.changes, plan.newer) == ((), (row.id,))


@pytest.mark.parametrize("said_at", [BEFORE, AFTER])
def test_what_has_nothing_to_do_with_a_memory_is_added_beside_it_whenever_that_was_said(said_at: str) -> None:
    row = stored("lives in Porto", observed_at=said_at)
    plan = planned(answered("UPDATE", "plays the violin", "0"), offered={"0": Candidate(row, unrelated=True)})
    assert [(change.event, change.text) for change in plan.changes] == [("ADD", "plays the violin")]
    assert plan.newer == ()


def test_an_update_of_one_memory_of_which_another_is_newer_is_done() -> None:
    newer, older = stored("lives in Porto", observed_at=AFTER), stored("likes tea", observed_at=BEFORE)
    answers = answered("UPDATE", "lives in Oslo", "0"), answered("UPDATE", "likes coffee", "1")
    plan = planned(*answers, offered={"0": newer, "1": older})
    assert [change.memory_id for change in plan.changes] == [older.id]
    assert plan.newer == (newer.id,)
