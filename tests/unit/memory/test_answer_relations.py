"""Relations in a model's answer: each with its fact, and nothing of them can cost a memory or a second request."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from utils.graph.relations import MAX_RELATIONS, Relation
from utils.memory.answers import ModelAnswer, ProposedChange, read
from utils.memory.prompts import Offered, Turn, added_message, conversation
from utils.memory.refusals import checked

NOW = datetime(2026, 3, 5, tzinfo=UTC)
OFFERED = ["0", "1"]
ADA = {"source": "Ada", "relation": "lives in", "destination": "Oslo"}
FACTS = [{"event": "ADD", "text": "Ada lives in Oslo"}, {"event": "UPDATE", "id": "1", "text": "Likes tea"}]
SAID = [Turn("user", "Ada lives in Oslo, and I like tea")]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from([*ADA, "memory", "x"]), inner),
    max_leaves=10,
)


def related(value: Any) -> list[tuple[Relation, ...]]:
    """The relations of each change that ``value`` asks for."""
    return [change.relations for change in read(json.dumps(value), OFFERED, with_relations=True).changes]


def test_a_relation_goes_with_the_fact_it_points_at() -> None:
    tea = {"source": " user ", "relation": "likes", "destination": "tea\n", "memory": 1}
    answer = {"memory": FACTS, "relations": [tea, {**ADA, "memory": "0"}, {**ADA, "memory": 0}]}
    assert related(answer) == [(Relation("Ada", "lives in", "Oslo"),), (Relation("user", "likes", "tea"),)]


def test_the_place_is_that_in_the_models_list_whatever_is_dropped_of_it() -> None:
    facts = [
        {"event": "DELETE", "id": "7"},  # was not offered
        {"event": "NONE"},
        {"event": "ADD", "text": "Ada lives in Oslo"},
        {"event": "ADD", "text": "ada lives in oslo."},  # says the same
    ]
    answer = {"memory": facts, "relations": [{**ADA, "memory": place} for place in range(-1, 6)]}
    assert related(answer) == [(Relation("Ada", "lives in", "Oslo"),)]


def test_one_answer_in_several_objects_counts_for_each_its_own_places() -> None:
    raw = "\n".join(json.dumps({"memory": [fact], "relations": [{**ADA, "memory": 0}]}) for fact in FACTS)
    answer = read(raw, OFFERED, with_relations=True)
    assert [change.relations for change in answer.changes] == [(Relation("Ada", "lives in", "Oslo"),)] * 2


def test_relations_are_read_only_where_there_is_a_graph() -> None:
    answer = read({"memory": FACTS, "relations": [{**ADA, "memory": 0}]}, OFFERED)
    assert [change.relations for change in answer.changes] == [(), ()]


def test_a_model_that_runs_away_fills_no_graph() -> None:
    many = [{**ADA, "destination": f"place {number}", "memory": 0} for number in range(3 * MAX_RELATIONS)]
    assert len(related({"memory": FACTS, "relations": many})[0]) == MAX_RELATIONS


@pytest.mark.parametrize("memory", [0, "0", None, "x"])
def test_a_relation_among_the_memories_is_no_memory_and_no_fault(memory: Any) -> None:
    answer = read(json.dumps({"memory": [*FACTS, {**ADA, "memory": memory}]}), OFFERED, with_relations=True)
    assert [change.text for change in answer.changes] == ["Ada lives in Oslo", "Likes tea"]
    assert answer.left_out == ""


@given(JSON)
def test_no_relations_of_any_form_change_what_is_remembered(relations: Any) -> None:
    without = read({"memory": FACTS}, OFFERED)
    answer = read(json.dumps({"memory": FACTS, "relations": relations}), OFFERED, with_relations=True)
    assert _without_relations(answer) == _without_relations(without)
    for change in answer.changes:
        for part in (part for relation in change.relations for part in relation):
            part.encode()
            assert part == part.strip() and "\0" not in part and 0 < len(part) <= 200


def _without_relations(answer: ModelAnswer) -> tuple[Any, ...]:
    return [(one.event, one.text, one.memory) for one in answer.changes], answer.left_out, answer.refused


@pytest.mark.parametrize("build", [added_message, conversation])
def test_they_are_asked_for_briefly_and_with_placeholders_alone(build: Any) -> None:
    offered = [Offered("0", "Likes tea"), Offered("1", "Has a dog")]
    without, data = (message["content"] for message in build(SAID, offered, NOW, None))
    system, same = (message["content"] for message in build(SAID, offered, NOW, None, True))
    assert data == same and '"relations"' not in without
    assert 0 < len(system.split()) - len(without.split()) <= 100
    [example] = [line for line in system.splitlines() if line.startswith("{")]
    [shown] = json.loads(example)["relations"]
    assert shown.pop("memory") == 0
    assert all(value.startswith("<") and value.endswith(">") for value in shown.values())
    # Sent back word for word, with and without the brackets, it relates nothing.
    for raw in (example, example.replace("<", "").replace(">", "")):
        told = read(raw, OFFERED, with_relations=True).changes
        fact = ProposedChange("ADD", "Ada lives in Oslo", relations=told[0].relations)
        assert fact.relations
        [kept], _ = checked([fact], SAID, offered)
        assert kept.relations == ()


def test_a_relation_with_a_secret_is_left_out_and_its_fact_stays() -> None:
    secret = Relation("user", "has the key", "sk-abcdefghijklmnopqrstuvwx")
    fact = ProposedChange("ADD", "Ada lives in Oslo", relations=(secret, Relation("Ada", "lives in", "Oslo")))
    [kept], refused = checked([fact], SAID, [])
    assert kept.relations == (Relation("Ada", "lives in", "Oslo"),) and not refused
