"""Recalls folded before they are recorded come to the same as recalls recorded one after the other."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from utils.state.recalls import MOST_COUNTED, WEIGHT, Folded, Recall

QUALITIES = st.lists(st.floats(0.5, 1.0), min_size=1, max_size=12)
OLD = st.none() | st.builds(Recall, st.floats(0.0, 1.0), st.integers(1, MOST_COUNTED), st.floats(0.0, 50.0))


def one_after_the_other(old: Recall | None, qualities: list[float]) -> Recall:
    """SPEC 6, word for word; the recalls are at the seconds 100, 101 ..."""
    for number, quality in enumerate(qualities):
        ema = quality if old is None else WEIGHT * quality + (1 - WEIGHT) * old.quality_ema
        old = Recall(ema, min((old.recall_count if old else 0) + 1, MOST_COUNTED), 100.0 + number)
    assert old is not None
    return old


def folded(qualities: list[float], first_at: float = 100.0) -> Folded:
    first, *others = qualities
    all_of_them = Folded.first(first, first_at)
    for number, quality in enumerate(others, 1):
        all_of_them.add(quality, first_at + number)
    return all_of_them


def recorded(old: Recall | None, recalls: Folded) -> Recall:
    """What the upsert makes of a row."""
    if old is None:
        return Recall(recalls.quality_ema, min(recalls.times, MOST_COUNTED), recalls.at)
    ema = recalls.quality_ema + recalls.kept * (old.quality_ema - recalls.first_quality)
    return Recall(ema, min(old.recall_count + recalls.times, MOST_COUNTED), max(old.last_recalled_at, recalls.at))


def same(one: Recall, other: Recall) -> bool:
    return one.quality_ema == pytest.approx(other.quality_ema, abs=1e-9) and (
        (one.recall_count, one.last_recalled_at) == (other.recall_count, other.last_recalled_at)
    )


@given(OLD, QUALITIES)
def test_a_batch_is_its_recalls_one_after_the_other(old: Recall | None, qualities: list[float]) -> None:
    assert same(recorded(old, folded(qualities)), one_after_the_other(old, qualities))


@given(OLD, QUALITIES, QUALITIES)
def test_a_batch_that_was_not_recorded_joins_the_next(
    old: Recall | None, earlier: list[float], later: list[float]
) -> None:
    joined = folded(earlier).then(folded(later, 100.0 + len(earlier)))
    assert same(recorded(old, joined), one_after_the_other(old, earlier + later))


@given(QUALITIES)
def test_the_average_stays_within_the_qualities(qualities: list[float]) -> None:
    assert min(qualities) - 1e-9 <= folded(qualities).quality_ema <= max(qualities) + 1e-9
