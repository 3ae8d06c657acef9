"""Reading what Dify's API answers: times, turns, pages, and what is none of these."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from utils.errors import UnusableAnswer
from utils.extraction.history import Conversation, epoch_second, read_conversations, read_turns

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["id", "data", "limit"]), inner),
    max_leaves=8,
)


@pytest.mark.parametrize(
    "value",
    [
        1795522056,
        1795522056.9,
        "1795522056",
        "1795522056.25",
        "2026-11-24T12:07:36Z",
        "2026-11-24T12:07:36",
        "2026-11-24 20:07:36.5+08:00",
    ],
)
def test_a_time_in_any_form(value: Any) -> None:
    assert epoch_second(value) == 1795522056


@pytest.mark.parametrize("value", [None, "", "yesterday", True, [], {}, float("nan"), -1, 1e300, "9" * 400])
def test_what_is_no_time(value: Any) -> None:
    with pytest.raises(UnusableAnswer):
        epoch_second(value)


def turn(**fields: Any) -> Any:
    row = {"id": "m", "created_at": 100, "query": "q", "answer": "a", "status": "normal", **fields}
    return read_turns({"limit": 1, "has_more": False, "data": [row]}).rows[0]


def test_a_turn_without_an_answer_may_run_until_the_longest_turn_is_over() -> None:
    running = turn(answer="")
    assert running.may_still_run(100 + 1199)
    assert not running.may_still_run(100 + 1200)
    assert not turn(answer="", status="error", error="Run failed").may_still_run(100)
    assert not turn().may_still_run(100)


@pytest.mark.parametrize(
    ("answer", "assistant"),
    [
        ("<think>lunch?</think>\nDone", "Done"),
        ("  <think>a</think><think>b</think> Done <think>as said</think>", "Done <think>as said</think>"),
        ("<think>never closed", ""),
        ("plain", "plain"),
        ("nul\0and\ud800half", "nulandhalf"),
        (None, ""),
        (5, ""),
    ],
)
def test_what_an_assistant_said(answer: Any, assistant: str) -> None:
    assert turn(answer=answer).assistant == assistant


def test_what_was_recalled_into_a_message_is_no_part_of_it() -> None:
    block = "<recalled_memories>\nLikes tea.\n</recalled_memories>\n"
    said = turn(query=f"{block}I moved to Porto.", answer=block)
    assert (said.user, said.assistant, said.running) == ("I moved to Porto.", "", False)


def test_a_failed_turn_was_said_but_not_answered() -> None:
    failed = turn(query="BOOM now", answer="half an answer", status="error")
    assert (failed.user, failed.assistant) == ("BOOM now", "")


def test_conversations_of_older_versions_have_no_updated_at() -> None:
    page = read_conversations({"data": [{"id": "c", "created_at": 5}], "has_more": False, "limit": 20})
    assert page.rows == (Conversation("c", 5, 5),)
    assert not page.may_go_on


def test_a_full_page_may_go_on_whatever_it_says() -> None:
    row = {"id": "m", "created_at": 1}
    assert read_turns({"limit": 1, "has_more": False, "data": [row]}).may_go_on
    assert read_turns({"limit": 2, "has_more": True, "data": [row]}).may_go_on
    assert not read_turns({"limit": 2, "has_more": False, "data": [row]}).may_go_on
    assert not read_turns({"limit": 2, "has_more": True, "data": []}).may_go_on


@given(JSON)
def test_anything_else_is_unusable(body: Any) -> None:
    for read in (read_conversations, read_turns):
        with contextlib.suppress(UnusableAnswer):
            assert isinstance(read(body).rows, tuple)
