"""When a memory was said, and which changes come too late for it."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from utils.memory.observed import is_later, observed, time_of_change
from utils.stores.protocol import Row

EARLY, LATE = "2026-01-01T00:00:00+00:00", "2026-01-02T00:00:00+00:00"
TIMES = st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC))


def row(**payload: Any) -> Row:
    return Row(str(uuid.uuid4()), {"data": "likes tea", "user_id": "alice", **payload})


@pytest.mark.parametrize(
    ("payload", "when"),
    [
        ({"observed_at": EARLY, "created_at": LATE, "updated_at": LATE}, EARLY),
        ({"created_at": EARLY, "updated_at": LATE}, LATE),
        ({"created_at": LATE, "updated_at": EARLY}, LATE),
        ({"created_at": "2026-01-01T17:00:00-07:00"}, LATE),
        ({"observed_at": "last week", "created_at": EARLY}, EARLY),
        ({"observed_at": 7, "updated_at": None}, None),
    ],
)
def test_a_memory_without_the_time_counts_with_the_later_of_the_times_it_has(
    payload: dict[str, Any], when: str | None
) -> None:
    assert observed(row(**payload)) == (when and datetime.fromisoformat(when))


@pytest.mark.parametrize("edge", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
def test_the_ends_of_the_calendar_are_times_too(edge: str) -> None:
    time = observed(row(observed_at=edge))
    assert time is not None and time.tzinfo is UTC


@given(TIMES, TIMES, TIMES)
def test_a_change_comes_too_late_exactly_for_what_was_said_after_it(
    said: datetime, changed: datetime, now: datetime
) -> None:
    stored = row(observed_at=said.isoformat())
    time = time_of_change(stored, changed.isoformat(), now)
    assert (time is None) == (changed < said <= now)
    assert time is None or not is_later(stored, time), "its change, applied, would be too late for itself"


def test_a_clock_that_was_set_back_stops_nothing() -> None:
    now = datetime.fromisoformat(LATE)
    ahead = (now + timedelta(hours=1)).isoformat()
    assert time_of_change(row(observed_at=ahead), LATE, now) == ahead
