"""The byte budget of an answer: kept whatever the results hold, cut at the end, and said."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from utils.answer_size import BUDGET_BYTES, fit
from utils.results import Answer

# Memories of very different sizes; the alphabet has characters of one byte, of four, and one that JSON writes as six.
SIZES = st.lists(st.tuples(st.sampled_from("a\N{GRINNING FACE}\x01"), st.integers(0, 400_000)), max_size=12)


def answer(sizes: list[tuple[str, int]], **more: Any) -> Answer:
    memories = [
        {"id": str(place), "memory": char * length, "metadata": {}} for place, (char, length) in enumerate(sizes)
    ]
    lines = [f"- {memory['memory']}" for memory in memories]
    return Answer(memories, "result_search", {"count": len(memories)}, {"count": len(memories)}, lines, **more)


def sent_bytes(shown: Answer) -> int:
    """What the frame sends of it: the JSON message, the text, the variable."""
    results = json.dumps(shown.results, ensure_ascii=False)
    return 2 * len(results.encode()) + len(json.dumps("\n".join(shown.lines), ensure_ascii=False).encode())


@settings(max_examples=60)
@given(SIZES, st.none() | st.integers(0, 1_000))
def test_every_answer_is_within_the_budget(sizes: list[tuple[str, int]], offset: int | None) -> None:
    given_answer = answer(sizes, offset=offset)
    shown = fit(given_answer)
    assert sent_bytes(shown) <= BUDGET_BYTES
    kept = len(shown.results)
    assert kept == len(shown.lines) and kept >= min(1, len(sizes))
    assert [one["id"] for one in shown.results] == [str(place) for place in range(kept)]
    assert shown.extra["count"] == len(sizes)
    if "truncated" not in shown.extra:
        assert shown == given_answer
    elif kept < len(sizes) and offset is not None:
        assert shown.extra["next_offset"] == offset + kept


def test_a_single_memory_is_cut_and_emptied_of_what_is_too_large() -> None:
    whole = {"id": "1", "memory": "\x01" * 400_000, "metadata": {"k": "x" * 1_000_000}, "agent_id": None}
    shown = fit(Answer(whole, "result_get", lines=(whole["memory"],)))
    assert shown.results == {"id": "1", "memory": "\x01" * 20_000, "metadata": {}, "agent_id": None}
    assert shown.extra == {"truncated": True} and sent_bytes(shown) <= BUDGET_BYTES


def test_small_answers_are_left_as_they_are() -> None:
    small = answer([("a", 10)] * 5, offset=0)
    assert fit(small) is small
    accepted = Answer({"message": "x"}, "result_accepted")
    assert fit(accepted) is accepted
    nothing = Answer([], "result_search_none")
    assert fit(nothing) is nothing


@settings(max_examples=20)
@given(SIZES, st.integers(0, 200), st.integers(0, 20_000))
def test_relations_leave_most_of_the_answer_to_the_memories(
    sizes: list[tuple[str, int]], count: int, memory_chars: int
) -> None:
    relations = [{"source": str(place), "memory": "\x01" * memory_chars} for place in range(count)]
    given_answer = answer(sizes)
    given_answer = replace(given_answer, extra={**given_answer.extra, "relations": relations})
    shown = fit(given_answer)
    kept = shown.extra["relations"]
    assert kept == relations[: len(kept)]
    assert shown.extra.get("truncated", False) == (kept != relations or len(shown.results) < len(sizes))
    assert sent_bytes(shown) + 2 * len(json.dumps(kept)) <= BUDGET_BYTES
