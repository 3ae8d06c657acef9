"""The limit of calls under way, on a clock that the test sets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from utils.aio.congestion import INTERVAL_S, LEAST_CALLS, TARGET_S, Congestion, Place
from utils.errors import Overloaded

_LONG_S = 10 * TARGET_S


class _Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def _entered(congestion: Congestion, most: int = 1_000, share: float = 1.0) -> list[Place]:
    """As many places as there are, up to ``most``."""
    places = []
    for _ in range(most):
        try:
            places.append(congestion.enter(share))
        except Overloaded:
            break
    return places


def _interval(clock: _Clock, congestion: Congestion, *delays_s: float) -> None:
    """One interval in which calls waited so long for their first step, and the look at its end."""
    for delay_s in delays_s:
        congestion.delayed(delay_s)
    clock.now_s += 1.5 * INTERVAL_S
    for place in _entered(congestion, 1):
        place.leave()


def test_a_burst_is_let_pass() -> None:
    """Hundreds at once: the last of them wait long, the first did not, so there is no standing queue."""
    clock = _Clock()
    congestion = Congestion(clock)
    places = _entered(congestion, 300)
    _interval(clock, congestion, *(number * TARGET_S / 10 for number in range(300)))
    assert len(places) == 300
    assert _entered(congestion, 1)


def test_a_standing_queue_lowers_the_limit_below_the_calls_under_way() -> None:
    clock = _Clock()
    congestion = Congestion(clock)
    places = _entered(congestion, 200)
    _interval(clock, congestion, _LONG_S)
    with pytest.raises(Overloaded):
        congestion.enter()
    for place in places[:41]:
        place.leave()
    assert _entered(congestion, 1)


def test_few_calls_are_never_refused_for_delay() -> None:
    clock = _Clock()
    congestion = Congestion(clock)
    for _ in range(100):
        _interval(clock, congestion, _LONG_S)
    assert len(_entered(congestion)) == LEAST_CALLS


def test_what_can_wait_is_refused_first() -> None:
    clock = _Clock()
    congestion = Congestion(clock)
    for _ in range(100):
        _interval(clock, congestion, _LONG_S)
    assert len(_entered(congestion, share=0.75)) == 0.75 * LEAST_CALLS
    assert len(_entered(congestion)) == 0.25 * LEAST_CALLS


def test_refusing_everybody_does_not_go_on_for_ever() -> None:
    """Calls that only wait, for a slow model, hold their places and cause no delay: others are soon let in."""
    clock = _Clock()
    congestion = Congestion(clock)
    waiting = _entered(congestion, 200)
    _interval(clock, congestion, _LONG_S)
    assert not _entered(congestion, 1)
    for _ in range(5):
        _interval(clock, congestion)
    assert _entered(congestion, 1)
    assert len(waiting) == 200


def test_a_place_is_left_once() -> None:
    clock = _Clock()
    congestion = Congestion(clock)
    for _ in range(100):
        _interval(clock, congestion, _LONG_S)
    first, *_ = _entered(congestion)
    first.leave()
    first.leave()
    assert len(_entered(congestion)) == 1


@given(
    st.lists(
        st.tuples(st.integers(0, 400), st.lists(st.floats(0, 1), max_size=5), st.floats(0, 1)),
        max_size=30,
    )
)
def test_the_limit_stays_between_its_ends_and_calm_brings_it_back(
    steps: list[tuple[int, list[float], float]],
) -> None:
    clock = _Clock()
    congestion = Congestion(clock)
    places: list[Place] = []
    for wanted, delays_s, leaving in steps:
        places += _entered(congestion, wanted)
        _interval(clock, congestion, *delays_s)
        for _ in range(int(len(places) * leaving)):
            places.pop().leave()
    for place in places:
        place.leave()
    let_in = _entered(congestion)
    assert len(let_in) >= LEAST_CALLS
    for place in let_in:
        place.leave()
    clock.now_s += 1.5 * INTERVAL_S
    for _ in range(60):
        _interval(clock, congestion)
    assert len(_entered(congestion, 500)) == 500


def test_a_standing_queue_ends_with_a_calm_interval() -> None:
    clock = _Clock()
    congestion = Congestion(clock)
    _interval(clock, congestion, _LONG_S)
    assert congestion.standing_queue()
    clock.now_s += 1.5 * INTERVAL_S
    assert not congestion.standing_queue()
