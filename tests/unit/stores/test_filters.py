"""What filters mean, and what is refused: the reference every store is compared with."""

from __future__ import annotations

import json
from typing import Any

import pytest

from utils.errors import InvalidInput
from utils.stores import filters
from utils.stores.values import case_variants, fold, instant

ROW: dict[str, Any] = {
    "data": "Likes green tea",
    "user_id": "alice",
    "agent_id": "a1",
    "created_at": "2026-01-31T08:00:00+09:00",
    "n": 5,
    "real": 0.1,
    "yes": True,
    "city": "Zürich",
    "tags": ["red", "Blue", 3],
    "null": None,
    "": "nameless",
    "a.b'\"%s": "odd",
}


def holds(asked: dict[str, Any], row: dict[str, Any] = ROW) -> bool:
    condition = filters.parse(asked)
    assert condition is not None
    return condition.matches(row)


def test_an_empty_filter_is_no_condition() -> None:
    assert filters.parse({}) is None


@pytest.mark.parametrize(
    "asked",
    [
        {"user_id": "alice"},
        {"memory": {"contains": "green"}},
        {"n": 5.0},
        {"n": {"eq": 5, "gt": 4, "lt": 6}},
        {"real": 0.1},
        {"yes": True},
        {"tags": "red"},
        {"tags": 3.0},
        {"tags": ["green", "red"]},
        {"tags": {"contains": "red"}},
        {"tags": {"icontains": "blue"}},
        {"city": {"icontains": "zÜR"}},
        {"memory": {"contains": ""}},
        {"n": "*"},
        {"missing": None},
        {"null": None},
        {"n": {"ne": None}},
        {"missing": [None, "x"]},
        {"missing": {"ne": "x"}},
        {"missing": {"nin": ["x"]}},
        {"n": {"nin": []}},
        {"city": {"gt": "Z", "lte": "Zürich"}},
        {"": "nameless"},
        {"a.b'\"%s": "odd"},
        {"user_id": "alice", "n": 5},
        {"AND": [{"n": 5}, {"yes": True}]},
        {"AND": {"n": 5}},
        {"OR": [{"n": 6}, {"n": 5}]},
        {"OR": {"n": 5}},
        {"NOT": [{"n": 6}, {"n": 7}]},
        {"NOT": {"missing": "x"}},
        {"NOT": [{"AND": [{"n": 5}, {"OR": [{"yes": False}, {"city": "Bern"}]}]}]},
    ],
    ids=json.dumps,
)
def test_matches(asked: dict[str, Any]) -> None:
    assert holds(asked)


@pytest.mark.parametrize(
    "asked",
    [
        {"user_id": "bob"},
        {"n": "5"},
        {"n": True},
        {"yes": 1},
        {"yes": "true"},
        {"yes": {"gt": 0}},
        {"n": {"gt": 4, "lt": 5}},
        {"n": {"gt": "4"}},
        {"city": {"contains": "zür"}},
        {"n": {"contains": 5}},
        {"n": {"icontains": "5"}},
        {"tags": {"contains": "re"}},
        {"tags": {"gt": "a"}},
        {"missing": "*"},
        {"null": "*"},
        {"missing": {"gt": 0}},
        {"missing": {"contains": ""}},
        {"n": []},
        {"n": {"in": []}},
        {"n": {"ne": 5}},
        {"tags": {"nin": ["red"]}},
        {"NOT": [{"n": 6}, {"n": 5}]},
        {"NOT": {"NOT": {"missing": "x"}}},
        {"AND": [{"n": 5}, {"n": 6}]},
    ],
    ids=json.dumps,
)
def test_does_not_match(asked: dict[str, Any]) -> None:
    assert not holds(asked)


@pytest.mark.parametrize(
    ("stored", "op", "wanted", "expected"),
    [
        ("2026-01-31T08:00:00+09:00", "gte", "2026-01-30T23:00:00Z", True),
        ("2026-01-31T08:00:00+09:00", "gt", "2026-01-30T23:00:00", False),
        ("2026-01-31T08:00:00", "lt", "2026-01-31T08:00:00.000001", True),
        ("2026-01-31", "lte", "2026-01-31T00:00+00:00", True),
        ("2026-01-31 00:00", "gte", "2026-01-31", True),
        ("2026-01-31T00:00:00.1234567Z", "lte", "2026-01-31T00:00:00.123456Z", True),
        ("9999-12-31T23:59:59-14:00", "gt", "9999-12-31T23:59:59Z", True),
        ("2024-02-29", "gt", "2024-02-28", True),
        ("2023-02-29", "gt", "2023-03-01T00:00:00Z", False),
        ("abc", "gt", "2026-01-31", True),
    ],
)
def test_dates_are_compared_as_instants(stored: str, op: str, wanted: str, expected: bool) -> None:
    assert holds({"at": {op: wanted}}, {"at": stored}) is expected


@pytest.mark.parametrize(
    "text",
    ["2023-02-29", "2026-13-01", "0000-01-01", "2026-01-31T24:00", "2026-01-31T08:00:60", "2026-01-31T08:00+15:00",
     "2026-1-1", "20260131", "2026-W05", "2026-01-31\n", " 2026-01-31", "2026-01-31T", "", "２０２６-01-31", None, 5],
)  # fmt: skip
def test_what_is_no_instant(text: object) -> None:
    assert instant(text) is None


@pytest.mark.parametrize(
    ("left", "right", "equal"),
    [(0.1, 0.1, True), (1e23, 10**23, True), (2**53 + 1, float(2**53), False), (-0.0, 0, True), (2**70, 2**70, True)],
)
def test_numbers_are_compared_as_they_are_written(left: float, right: float, equal: bool) -> None:
    assert holds({"n": right}, {"n": left}) is equal


@pytest.mark.parametrize("stored", [float("nan"), float("inf"), float("-inf")])
def test_a_stored_number_that_is_none_matches_nothing(stored: float) -> None:
    for operator in ("eq", "gt", "gte", "lt", "lte"):
        assert not holds({"n": {operator: 0}}, {"n": stored})


def test_letter_case_is_folded_one_character_at_a_time() -> None:
    kelvin, dotted_i, sharp_s = "\u212a", "\u0130", "\u1e9e"
    assert fold(f"ÉCOLE {kelvin}{sharp_s}") == "école kß"
    assert fold(dotted_i) == dotted_i  # its lower case is two characters
    assert fold("ΑΣ") == "ασ"  # by itself, not as the end of a word


def test_case_variants_are_all_there_are() -> None:
    assert case_variants("kß1") == ("K\u212a\u1e9e", "kkß")


@pytest.mark.parametrize(
    ("asked", "key"),
    [
        ([], "filters_not_object"),
        ({"AND": []}, "filters_logic_needs_list"),
        ({"AND": "x"}, "filters_logic_needs_list"),
        ({"OR": [1]}, "filters_not_object"),
        ({"OR": [{}]}, "filters_not_object"),
        ({"NOT": {}}, "filters_not_object"),
        ({"n": {}}, "filters_no_operator"),
        ({"n": {"like": 1}}, "filters_unknown_operator"),
        ({"n": {"GT": 1}}, "filters_unknown_operator"),
        ({"n": {"in": 1}}, "filters_needs_list"),
        ({"n": {"nin": "ab"}}, "filters_needs_list"),
        ({"n": {"eq": {}}}, "filters_needs_value"),
        ({"n": {"eq": [1]}}, "filters_needs_value"),
        ({"n": [[1]]}, "filters_needs_value"),
        ({"n": {"contains": None}}, "filters_needs_value"),
        ({"n": {"gt": None}}, "filters_needs_order"),
        ({"n": {"gt": True}}, "filters_needs_order"),
        ({"n": {"icontains": 1}}, "filters_needs_text"),
        ({"n": float("nan")}, "filters_bad_number"),
        ({"n": 10**400}, "filters_bad_number"),
        ({"n": "a\0"}, "filters_bad_text"),
        ({"n\0": 1}, "filters_bad_text"),
        ({"n": "\ud800"}, "filters_bad_text"),
        ({"n": ["\udfff"]}, "filters_bad_text"),
        ({"n": [0] * 1001}, "filters_list_too_long"),
        ({f"n{number}": 1 for number in range(101)}, "filters_too_many"),
        ({1: 1}, "filters_not_object"),
    ],
)
def test_what_is_refused(asked: Any, key: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        filters.parse(asked or {"AND": asked})
    assert refusal.value.key == key or (asked == [] and refusal.value.key == "filters_logic_needs_list")


def test_an_unknown_operator_is_told_with_the_known_ones() -> None:
    with pytest.raises(InvalidInput, match=r"regex.*eq, ne, in, nin, gt, gte, lt, lte, contains, icontains"):
        filters.parse({"n": {"regex": "x"}})


def test_nesting_is_bounded() -> None:
    nested: dict[str, Any] = {"n": 5}
    for _ in range(9):
        nested = {"AND": [nested]}
    assert holds(nested)
    with pytest.raises(InvalidInput) as refusal:
        filters.parse({"AND": [nested]})
    assert refusal.value.key == "filters_too_deep"


def test_a_sentence_shows_a_caller_no_more_than_a_line_of_their_field() -> None:
    with pytest.raises(InvalidInput) as refusal:
        filters.parse({"x\n" * 1000: {"like": 1}})
    assert len(str(refusal.value)) < 300
    assert "\n" not in str(refusal.value)
