"""Halves of a conversation, and the plans of its parts as one."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from utils.memory.parts import as_planned, halves, joined
from utils.memory.plan import Change, Plan
from utils.memory.prompts import Turn
from utils.memory.reconcile import new_id
from utils.stores.protocol import Row
from utils.text import cost

AT = "2026-01-02T03:04:05+00:00"
TEXTS = st.sampled_from(["tea", "cake", "milk", "bread", "salt"])
WORDS = st.lists(st.sampled_from(["tea. ", "likes ", "咖啡。", "\n\n"]), max_size=3_000).map("".join)
TURNS = st.lists(st.builds(Turn, st.sampled_from(["user", "assistant"]), WORDS), min_size=1, max_size=6)


def change(event: Any, memory_id: str, text: str | None, old_text: str | None) -> Change:
    vector = None if text is None else (float(len(text)), 1.0)
    return Change(event, memory_id, text, old_text, {}, AT, AT, vector=vector)


@st.composite
def plans(draw: st.DrawFn, memories: dict[str, str]) -> Plan:
    """A plan for these memories by id, as a model may ask for one; at most one change of each."""
    changes = {}
    for memory_id, old_text in memories.items():
        event = draw(st.sampled_from([None, "UPDATE", "DELETE", "NONE"]))
        if event is not None:
            text = {"UPDATE": draw(TEXTS), "NONE": old_text}.get(event)
            changes[memory_id] = change(event, memory_id, text, old_text)
    for text in draw(st.sets(TEXTS, max_size=2)):
        if text not in memories.values():
            added = new_id("write", text)
            changes.setdefault(added, change("ADD", added, text, None))
    return Plan(tuple(changes.values()))


def applied(memories: dict[str, str], plan: Plan) -> dict[str, str]:
    left = dict(memories)
    for one in plan.changes:
        if one.event == "DELETE":
            assert left.pop(one.memory_id) == one.old_text
        elif one.event == "ADD":
            left.setdefault(one.memory_id, one.text or "")
        else:
            assert left[one.memory_id] == one.old_text
            left[one.memory_id] = one.text or ""
    return left


@given(st.data())
def test_plans_of_several_parts_do_as_one_what_they_do_one_after_the_other(data: st.DataObject) -> None:
    stored = {"1": "tea of old", "2": "cake of old"}
    memories, whole = stored, Plan()
    for _ in range(3):
        found = [Row(key, {"data": text}) for key, text in stored.items()]
        shown = {row.id: row.text for row in as_planned(found, (1.0, 1.0), whole)}
        assert shown == memories
        plan = data.draw(plans(shown))
        memories, whole = applied(memories, plan), joined(whole, plan)
        assert len({one.memory_id for one in whole.changes}) == len(whole.changes)
        assert all(one.text is None or one.vector == (float(len(one.text)), 1.0) for one in whole.changes)
    assert applied(stored, whole) == memories


def test_what_an_earlier_part_adds_is_not_added_again_in_other_letters() -> None:
    tea = change("ADD", "1", "Likes tea", None)
    assert joined(Plan((tea,)), Plan((change("ADD", "2", "likes tea.", None),))).changes == (tea,)


def test_counts_of_parts_are_added() -> None:
    whole = joined(
        Plan(newer=("1",), model_calls=1, refused={"secret": 1}),
        Plan(newer=("1", "2"), model_calls=2, refused={"secret": 1, "placeholder": 2}),
    )
    assert (whole.newer, whole.model_calls, whole.refused) == (("1", "2"), 3, {"secret": 2, "placeholder": 2})


@given(TURNS)
def test_halves_are_the_whole_in_order_and_each_of_them_is_shorter(turns: list[Turn]) -> None:
    parts = halves(turns)
    whole = sum(cost(turn.text) for turn in turns)
    assert (parts is None) == (whole < 8_000)
    if parts is not None:
        assert "".join(turn.text for part in parts for turn in part) == "".join(turn.text for turn in turns)
        assert all(0 < sum(cost(turn.text) for turn in part) < whole for part in parts)


def test_an_answer_stays_with_what_it_answers() -> None:
    turns = [
        Turn("user", "a" * 3_000),
        Turn("assistant", "b" * 3_000),
        Turn("user", "c" * 3_000),
        Turn("assistant", ""),
    ]
    assert halves([*turns, Turn("user", "d" * 3_000)]) == (turns[:2], [*turns[2:], Turn("user", "d" * 3_000)])


def test_one_long_message_is_cut_at_the_end_of_a_sentence() -> None:
    first, second = halves([Turn("user", "I like tea. " * 1_000), Turn("assistant", "Noted.")]) or ([], [])
    assert [turn.role for turn in (*first, *second)] == ["user", "user", "assistant"]
    assert first[0].text.strip().endswith("tea.") and second[0].text.strip().startswith("I like tea.")
