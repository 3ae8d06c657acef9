"""The forgetting curve's properties, whatever the numbers."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from utils.forgetting import curve

AGES = st.floats(0.0, 20_000.0)
QUALITIES = st.floats(0.0, 1.0)
COUNTS = st.integers(0, 6)
BASES = st.sampled_from([14.0, 30.0, 45.0, 90.0])


def left(age_days: float, base_days: float, count: int, quality: float) -> float:
    return curve.retention(age_days, curve.stability_days(base_days, curve.recall_strength(count, quality)))


@given(AGES, BASES, COUNTS, QUALITIES)
def test_retention_is_between_0_and_1(age_days: float, base_days: float, count: int, quality: float) -> None:
    assert 0.0 <= left(age_days, base_days, count, quality) <= 1.0


@given(AGES, AGES, BASES, COUNTS, QUALITIES)
def test_the_older_the_less(one: float, other: float, base_days: float, count: int, quality: float) -> None:
    younger, older = sorted((one, other))
    assert left(younger, base_days, count, quality) >= left(older, base_days, count, quality)


@given(AGES, BASES, COUNTS, QUALITIES, QUALITIES)
def test_the_better_the_recalls_the_more(age_days: float, base_days: float, count: int, a: float, b: float) -> None:
    worse, better = sorted((a, b))
    assert left(age_days, base_days, count, worse) <= left(age_days, base_days, count, better)


@given(AGES, BASES, COUNTS, COUNTS, QUALITIES)
def test_the_more_recalls_the_more(age_days: float, base_days: float, a: int, b: int, quality: float) -> None:
    fewer, more = sorted((a, b))
    assert left(age_days, base_days, fewer, quality) <= left(age_days, base_days, more, quality)


@given(st.floats(-1e6, 0.0), BASES)
def test_a_time_in_the_future_is_now(age_days: float, base_days: float) -> None:
    assert curve.retention(age_days, base_days) == 1.0


@given(st.floats(1e-6, 1.0), BASES, COUNTS, QUALITIES)
def test_the_time_until_a_level_is_the_inverse_of_retention(
    level: float, base_days: float, count: int, quality: float
) -> None:
    stability = curve.stability_days(base_days, curve.recall_strength(count, quality))
    assert math.isclose(curve.retention(curve.days_until(level, stability), stability), level, rel_tol=1e-9)


@pytest.mark.parametrize(
    ("subtype", "days"),
    [("semantic", 45), ("episodic", 14), ("procedural", 90), (None, 30), ("", 30), ("Semantic", 30), ("other", 30)],
)
def test_every_kind_of_memory_has_its_base(subtype: str | None, days: float) -> None:
    assert curve.base_stability_days(subtype) == days


def test_known_points() -> None:
    """By hand: S0 45, three recalls of quality 0.8 are 45 * 1.8^2.4 = 184.44 days."""
    stability = curve.stability_days(45, curve.recall_strength(3, 0.8))
    assert stability == pytest.approx(184.44, abs=0.01)
    assert curve.retention(stability, stability) == pytest.approx(1 / math.e)
    assert curve.days_until(curve.FORGOTTEN_BELOW, 30) == pytest.approx(89.87, abs=0.01)
