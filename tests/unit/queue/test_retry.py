"""Which failures are tried again, and when."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from utils.errors import (
    NotFound,
    PluginError,
    ServiceRefused,
    ServiceRejected,
    ServiceUnavailable,
    TimedOut,
    UnusableAnswer,
)
from utils.queue import retry

DOWN = ServiceUnavailable("service_unavailable", part="llm", reason="APIConnectionError")


@given(st.integers(1, 20), st.floats(0, 1))
def test_a_passing_fault_is_tried_six_times_in_growing_steps(failures: int, chance: float) -> None:
    delay_s = retry.delay_s(DOWN, failures, chance)
    if failures >= 6:
        assert delay_s is None
    else:
        assert delay_s == pytest.approx(retry.DELAYS_S[failures - 1], rel=retry.JITTER + 1e-9)


def test_the_tries_take_some_ten_minutes() -> None:
    assert sum(retry.DELAYS_S) == pytest.approx(600)


def test_the_service_may_ask_for_more_patience() -> None:
    busy = ServiceUnavailable("service_unavailable", part="llm", reason="RateLimitError 429", retry_after_s=90.0)
    assert retry.delay_s(busy, 1, 0.5) == 90.0


@pytest.mark.parametrize("kind", [ServiceRefused, ServiceRejected])
def test_a_lasting_failure_is_final_at_once(kind: type[ServiceRefused | ServiceRejected]) -> None:
    assert retry.delay_s(kind("service_refused", part="llm", reason="401"), 1, 0.5) is None


@pytest.mark.parametrize(
    "error",
    [
        UnusableAnswer("service_unusable", part="llm", reason="no JSON"),
        PluginError("error_internal", error_id="x"),
        NotFound("error_not_found", memory_id="x"),
    ],
)
def test_everything_else_gets_its_tries(error: PluginError) -> None:
    assert retry.delay_s(error, 1, 0.5) is not None


@given(st.integers(1, 20), st.floats(0, 1))
def test_with_a_caller_waiting_there_are_two_tries_within_a_minute(failures: int, chance: float) -> None:
    delay_s = retry.delay_s(DOWN, failures, chance, waited_for=True)
    assert delay_s is None if failures >= 2 else 0 < delay_s < 60  # type: ignore[operator]  # a number by then


def test_with_a_caller_waiting_a_service_that_asks_for_long_has_failed() -> None:
    busy = ServiceUnavailable("service_unavailable", part="llm", reason="RateLimitError 429", retry_after_s=90.0)
    assert retry.delay_s(busy, 1, 0.5, waited_for=True) is None


def test_a_caller_who_has_waited_for_a_whole_try_is_told() -> None:
    late = TimedOut("error_timeout", seconds="60")
    assert retry.delay_s(late, 1, 0.5, waited_for=True) is None
    assert retry.delay_s(late, 1, 0.5) is not None


@given(st.integers(1, 1000), st.floats(0, 1))
def test_what_must_not_be_given_up_is_tried_for_ever_and_every_few_minutes(failures: int, chance: float) -> None:
    delay_s = retry.delay_s(DOWN, failures, chance, until_it_works=True)
    assert delay_s is not None and 0 < delay_s <= 150
    refused = ServiceRefused("service_refused", part="graph_store", reason="AuthError")
    assert retry.delay_s(refused, failures, chance, until_it_works=True) is None
