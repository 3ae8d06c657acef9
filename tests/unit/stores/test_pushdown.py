"""What a mem0 store is asked for beside the owner: never anything that a matching row lacks."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings

from tests.contract.stores import strategies
from utils.stores import filters
from utils.stores.mem0.pushdown import equalities


@pytest.mark.parametrize(
    ("given_filters", "asked"),
    [
        ({"topic": "tea", "done": True}, {"topic": "tea", "done": True}),
        ({"AND": [{"topic": ["tea", "chess"]}, {"AND": [{"memory": "x"}]}]}, {"topic": ["tea", "chess"], "data": "x"}),
        ({"rating": 1, "topic": {"contains": "t"}, "at": {"gt": "2026-01-01"}}, {}),
        ({"OR": [{"topic": "tea"}, {"topic": "chess"}]}, {}),
        ({"NOT": [{"topic": "tea"}], "kind": {"ne": "a"}, "gone": None}, {}),
        ({"topic": ["tea", None], "rating": [1, "1"], "none": {"in": []}}, {}),
        ({"a.b": "c", "k[0]": "c", "$or": "c", "": "c", "é": "c"}, {}),
    ],
)
def test_what_every_match_has_is_asked_for_where_stores_agree(
    given_filters: dict[str, Any], asked: dict[str, Any]
) -> None:
    condition = filters.parse(given_filters)
    assert condition is not None
    assert equalities(condition) == asked


@settings(max_examples=300, deadline=None)
@given(strategies.payloads, strategies.filters())
def test_a_row_that_matches_has_what_was_asked_for(payload: dict[str, Any], given_filters: dict[str, Any]) -> None:
    condition = filters.parse(given_filters)
    if condition is None or not condition.matches(payload):
        return
    for key, wanted in equalities(condition).items():
        stored = payload[key] if isinstance(payload[key], list) else [payload[key]]
        possible = wanted if isinstance(wanted, list) else [wanted]
        assert any(type(one) is type(each) and one == each for one in stored for each in possible)
