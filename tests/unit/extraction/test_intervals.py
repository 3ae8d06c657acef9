"""Sets of seconds as intervals mean what sets mean."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from utils.extraction.intervals import Intervals

SECONDS = st.integers(0, 30)
SPANS = st.lists(st.tuples(SECONDS, SECONDS), max_size=6)


def members(intervals: Intervals) -> set[int]:
    return {second for second in range(-1, 40) if second in intervals}


@given(SPANS)
def test_any_pairs_become_merged_ones(spans: list[tuple[int, int]]) -> None:
    merged = Intervals.of(spans)
    assert members(merged) == {second for start, end in spans for second in range(start, end)}
    assert all(start < end for start, end in merged.spans)
    assert all(left[1] < right[0] for left, right in zip(merged.spans, merged.spans[1:], strict=False))
    assert Intervals.of(merged.to_json()) == merged
    assert bool(merged) == bool(members(merged))
    if merged:
        assert (merged.start, merged.end - 1) == (min(members(merged)), max(members(merged)))


@given(SPANS, SPANS, SECONDS)
def test_operations_are_those_of_sets(left: list[tuple[int, int]], right: list[tuple[int, int]], second: int) -> None:
    a, b = Intervals.of(left), Intervals.of(right)
    assert members(a | b) == members(a) | members(b)
    assert members(a & b) == members(a) & members(b)
    assert members(a - b) == members(a) - members(b)
    assert members(a.before(second)) == {one for one in members(a) if one < second}
    assert members(a.since(second)) == {one for one in members(a) if one >= second}
    assert Intervals.of((a - b).spans) == a - b  # merged, whichever way it was made
