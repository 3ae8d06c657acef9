"""Reading the rows of earlier plugins: what they say, and that nothing they may hold stops anybody."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from utils.extraction.intervals import Intervals
from utils.legacy import internal_rows
from utils.stores.protocol import Row

MEMORY = "5f0c2c8e-0d7b-4a94-8b2a-111111111111"
CONVERSATION = {
    "last_processed_message_id": "m-9",
    "processed_range_start": "2026-02-06T00:00:00+00:00",
    "processed_range_end": "2026-02-07T00:00:00+00:00",
}
START, END = 1770336000, 1770422400


def row(content: Any) -> Row:
    return Row("id", {"data": content if isinstance(content, str) else json.dumps(content), "user_id": "alice"})


def test_a_range_that_was_read_is_done_and_the_message_at_its_end_is_known() -> None:
    one = internal_rows.conversations(row({"conversations": {"c": CONVERSATION}}))["c"]
    assert one.done == Intervals.between(START, END)
    assert one.is_done((START, "any")) and one.is_done((END, "m-9"))
    assert not one.is_done((END, "another")) and not one.is_done((START - 1, "any"))
    assert one.last_processed_message_id == "m-9" and not one.pending


def test_what_a_limit_left_is_wanted() -> None:
    times = {"resume_run_at": "2026-02-07T00:00:00Z", "resume_start_time": "2026-02-06T00:00:00Z"}
    user = internal_rows.user_checkpoint(row({"resume_conversation_cursor": "c-3", **times}))
    assert user.wanted == Intervals.between(START, END)
    assert user.resume is not None and user.resume.conversation_id == "c-3"
    assert not internal_rows.user_checkpoint(row({"resume_conversation_cursor": None, **times})).wanted


def test_recalls_are_within_their_bounds() -> None:
    kept = {"last_recalled_at": "2026-02-07T00:00:00Z", "recall_count": 90, "quality_ema": 1.7}
    (one,) = internal_rows.recalls(row({MEMORY: kept, "not an id": kept})).values()
    assert (one.quality_ema, one.recall_count, one.last_recalled_at) == (1.0, 6, END)


@pytest.mark.parametrize(
    "broken", ["", "no JSON", "[]", "5", {"conversations": []}, {"conversations": {"c": 5}}, {MEMORY: None}]
)
def test_what_cannot_be_read_is_nothing(broken: Any) -> None:
    assert internal_rows.conversations(row(broken)) == {}
    assert internal_rows.recalls(row(broken)) == {}
    assert not internal_rows.user_checkpoint(row(broken)).wanted


_anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just("2026-02-07T00:00:00Z"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
_KEYS = (*CONVERSATION, "last_recalled_at", "recall_count", "quality_ema", "resume_conversation_cursor")


@given(st.dictionaries(st.sampled_from(_KEYS), _anything), _anything)
def test_no_content_raises(fields: dict[str, Any], other: Any) -> None:
    for content in ({"conversations": {"c": fields}, **fields}, {MEMORY: fields}, other):
        internal_rows.conversations(row(content))
        internal_rows.recalls(row(content))
        internal_rows.user_checkpoint(row(content))
