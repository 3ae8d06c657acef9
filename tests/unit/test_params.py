"""Tool parameters: every odd value becomes a usable one or an error that names the parameter."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from utils import params
from utils.errors import InvalidInput

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
DECLARED = (
    params.Parameter("user", "text", required=True, blank=True),
    params.USER_ID,
    params.METADATA,
    params.FILTERS,
    params.Parameter("infer", "boolean", default=True),
    params.Parameter("top_k", "integer", default=5, low=1, high=100),
    params.Parameter("threshold", "number", low=0, high=1),
    params.RUN_ID,
    params.Parameter("user_ids", "id_list"),
    params.timeout(5),
)


def one(parameter: params.Parameter, value: Any) -> Any:
    return params.parse((parameter,), {parameter.name: value})[parameter.name]


@given(st.fixed_dictionaries({}, optional={parameter.name: ANYTHING for parameter in DECLARED}))
def test_any_input_is_parsed_or_refused_by_name(raw: dict[str, Any]) -> None:
    refusal, parsed = None, None
    try:
        parsed = params.parse(DECLARED, raw)
    except InvalidInput as exc:
        refusal = str(exc)
    if parsed is None:
        assert refusal is not None and any(parameter.name in refusal for parameter in DECLARED)
    else:
        assert parsed.keys() == {parameter.name for parameter in DECLARED}
        assert 1 <= parsed["top_k"] <= 100 and parsed["timeout"] > 0 and parsed["user_id"].strip()


@given(
    st.dictionaries(
        st.text(min_size=1), st.integers() | st.text(st.characters(codec="utf-8", exclude_characters="\x00"))
    )
)
def test_metadata_as_text_equals_metadata_as_object(metadata: dict[str, Any]) -> None:
    def outcome(value: Any) -> Any:
        try:
            return one(params.METADATA, value)
        except InvalidInput as exc:
            return exc.key

    assert outcome(json.dumps(metadata)) == outcome(metadata)


@pytest.mark.parametrize("bad", ["*", "a\nb", "a\n", "\na", "a\x00b", "a\u2028b", "\ud800", "x" * 513, " * "])
def test_ids_that_a_store_could_misread_are_refused(bad: str) -> None:
    with pytest.raises(InvalidInput, match="user_id"):
        one(params.USER_ID, bad)


@pytest.mark.parametrize("blank", ["", "   ", None])
def test_a_required_id_must_be_there(blank: str | None) -> None:
    with pytest.raises(InvalidInput, match="user_id"):
        one(params.USER_ID, blank)


def test_a_blank_user_message_is_no_error_but_a_missing_one_is() -> None:
    assert one(DECLARED[0], "  ") == ""
    with pytest.raises(InvalidInput, match="user"):
        one(DECLARED[0], None)


@given(
    st.dictionaries(
        st.text(st.characters(codec="utf-8", exclude_characters="\x00")),
        st.none() | st.booleans() | st.integers() | st.text(st.characters(codec="utf-8", exclude_characters="\x00")),
    )
)
def test_an_object_variable_of_dify_is_read(value: dict[str, Any]) -> None:
    assert one(params.FILTERS, str(value)) == value


@pytest.mark.parametrize(
    "value",
    ["{'a': {1}}", "{'a': 1j}", "{'a': b'x'}", "{'a': 1e999}", "{'a': f()}", "{'a': " + "(" * 5_000, "-" * 60_000],
)
def test_a_literal_that_json_cannot_say_is_refused(value: str) -> None:
    with pytest.raises(InvalidInput, match="filters"):
        one(params.FILTERS, value)


def test_bad_json_is_told_with_its_place() -> None:
    with pytest.raises(InvalidInput, match=r"metadata.*line 2, column 9"):
        one(params.METADATA, '{"a": 1,\n "b" : }'.replace('"b" :', '"b":  '))


@pytest.mark.parametrize("key", ["user_id", "agent_id", "run_id", "hash", "data", "created_at", "updated_at", "id"])
def test_metadata_cannot_set_the_plugins_own_keys(key: str) -> None:
    with pytest.raises(InvalidInput, match=key):
        one(params.METADATA, {key: "x"})


@pytest.mark.parametrize("value", ['{"a": NaN}', '{"a": 1e999}', "[1]", '"x"', '{"a": "\\u0000"}', "[" * 100_000])
def test_metadata_that_no_store_keeps_is_refused(value: str) -> None:
    with pytest.raises(InvalidInput, match="metadata"):
        one(params.METADATA, value)


@pytest.mark.parametrize(
    ("value", "seconds"), [("soon", 5.0), (-1, 5.0), (0, 5.0), (True, 5.0), ("7.5", 7.5), (12, 12.0)]
)
def test_an_unusable_timeout_becomes_the_default(value: Any, seconds: float) -> None:
    assert one(params.timeout(5), value) == seconds


def test_a_long_text_is_refused_by_name() -> None:
    with pytest.raises(InvalidInput, match="query"):
        one(params.Parameter("query", "text", required=True), "x" * 1_000_000)


def test_characters_no_store_keeps_are_dropped_from_texts() -> None:
    assert one(params.Parameter("text", "text"), "a\x00b\ud800c") == "abc"


def test_a_trace_is_one_printable_line() -> None:
    assert one(params.RUN_ID, "run\n1\x1b[31m") == "run1[31m"
