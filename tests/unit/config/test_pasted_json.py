"""What people paste into a one-line box, and what is said when it is no JSON object."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from utils.config.pasted_json import read_object
from utils.config.values import Where
from utils.errors import CredentialError

WHERE = Where("local_llm_json_secret")
OBJECT = {"provider": "openai", "config": {"model": "gpt", "api_key": "sk"}}
TEXT = json.dumps(OBJECT)


@pytest.mark.parametrize(
    "pasted",
    [
        TEXT,
        f"  \n\t{TEXT}\r\n ",
        f"\ufeff{TEXT}",
        f"\u00a0\u200b{TEXT}\u3000",
        f"```json\n{TEXT}\n```",
        f"```\n{TEXT}```",
        f"```{TEXT}```",
        f"\ufeff ```JSON\r\n{TEXT}\r\n``` \n",
        json.dumps(TEXT),
        json.dumps(f"```json\n{TEXT}\n```"),
        json.dumps(json.dumps(TEXT)),
        OBJECT,
    ],
)
def test_the_wrapping_does_not_matter(pasted: object) -> None:
    assert read_object(pasted, WHERE) == OBJECT


def test_an_object_parsed_already_is_copied() -> None:
    result = read_object(OBJECT, WHERE)
    result["config"]["model"] = "other"
    assert OBJECT["config"] == {"model": "gpt", "api_key": "sk"}


@pytest.mark.parametrize(
    ("pasted", "line", "column"),
    [
        ("{'provider': openai}", 1, 2),
        ('  {"provider" "openai"}', 1, 15),
        ('{\n  "provider": openai\n}', 2, 15),
        ('```json\n{"provider": }\n```', 2, 14),
        ('{"a": 1} {"b": 2}', 1, 10),
        ('{"provider": "openai"', 1, 22),
    ],
)
def test_bad_json_is_told_with_line_and_column_of_the_pasted_text(pasted: str, line: int, column: int) -> None:
    with pytest.raises(CredentialError) as caught:
        read_object(pasted, WHERE)
    place = f"local_llm_json_secret is not valid JSON at line {line}, column {column}."
    assert str(caught.value) == f"{place} Check the quotes, commas and brackets there."


@pytest.mark.parametrize(
    ("pasted", "key", "line", "column"),
    [
        ('{"provider": "openai",}', "credentials_comma_too_many", 1, 22),
        ('{"provider": "openai", "config": {"a": [1, 2,\n ]}}', "credentials_comma_too_many", 1, 45),
        ('{\n  "a": ",}",\n}', "credentials_comma_too_many", 2, 12),
        ('{"a": ",}" 5}', "credentials_bad_json", 1, 12),
        ("{\u201cprovider\u201d: 1}", "credentials_typographic_quotes", 1, 2),
        ('{"provider": \u201eopenai\u201c}', "credentials_typographic_quotes", 1, 14),
        ('{"provider\u201d: "openai"}', "credentials_typographic_quotes", 1, 11),
    ],
)
def test_a_comma_too_many_and_typographic_quotes_are_told_as_such(
    pasted: str, key: str, line: int, column: int
) -> None:
    with pytest.raises(CredentialError) as caught:
        read_object(pasted, WHERE)
    assert (caught.value.key, caught.value.params["line"], caught.value.params["column"]) == (key, line, column)


def test_typographic_quotes_inside_a_text_are_part_of_it() -> None:
    assert read_object('{"a": "\u201cb\u201d"}', WHERE) == {"a": "\u201cb\u201d"}


@pytest.mark.parametrize(
    "pasted",
    [
        "{'provider': 'openai', 'config': {'stream': True, 'limit': None, 'sizes': (1, 2)}}",
        """{"provider": "openai", "config": {"stream": True, "limit": None, "sizes": [1, 2]}}""",
        "```python\n{'provider': 'openai',\n 'config': {'stream': True, 'limit': None, 'sizes': [1, 2]}}\n```",
        json.dumps("{'provider': 'openai', 'config': {'stream': True, 'limit': None, 'sizes': [1, 2]}}"),
    ],
)
def test_a_python_literal_is_read(pasted: str) -> None:
    config = {"stream": True, "limit": None, "sizes": [1, 2]}
    assert read_object(pasted, WHERE) == {"provider": "openai", "config": config}


@settings(deadline=None)
@given(st.dictionaries(st.text(), st.text() | st.integers(-(10**9), 10**9) | st.booleans() | st.none(), min_size=1))
def test_any_object_survives_pythons_notation(value: dict[str, object]) -> None:
    assert read_object(str(value), WHERE) == value


@pytest.mark.parametrize(
    "pasted", ["{'a': {1, 2}}", "{'a': 1e999}", "{'a': b'x'}", "{'a': open('x')}", "{'a':" + "(" * 10_000, "'" * 99_999]
)
def test_what_is_no_json_even_in_python_is_bad_json(pasted: str) -> None:
    with pytest.raises(CredentialError, match="is not valid JSON"):
        read_object(pasted, WHERE)


@pytest.mark.parametrize("pasted", ["NaN", '{"a": Infinity}', "[" * 100_000, '{"a": ' + "9" * 10_000 + "}"])
def test_what_only_python_reads_is_bad_json(pasted: str) -> None:
    with pytest.raises(CredentialError, match="is not valid JSON"):
        read_object(pasted, WHERE)


@pytest.mark.parametrize(
    ("pasted", "found"),
    [("[1]", "array"), ("5", "number"), ("true", "boolean"), ("null", "null"), ([], "array"), (7, "number")],
)
def test_another_json_type_is_named(pasted: object, found: str) -> None:
    with pytest.raises(CredentialError, match=rf"^local_llm_json_secret must be one JSON object .* found {found}\.$"):
        read_object(pasted, WHERE)


@pytest.mark.parametrize("pasted", ["", "   ", "\ufeff\n", "``````", "```json\n```", None])
def test_nothing_is_called_empty(pasted: object) -> None:
    with pytest.raises(CredentialError, match=r"^local_llm_json_secret is empty"):
        read_object(pasted, WHERE)


def test_what_is_no_json_value_is_refused() -> None:
    with pytest.raises(CredentialError, match="must be one JSON object"):
        read_object({"provider": object()}, WHERE)


@settings(deadline=None)
@given(
    st.dictionaries(st.text(), st.text() | st.integers(-(10**9), 10**9) | st.booleans() | st.none()),
    st.sampled_from(["", " \n", "\ufeff"]),
    st.booleans(),
    st.integers(0, 2),
)
def test_any_object_survives_its_wrapping(value: dict[str, object], blanks: str, fenced: bool, quoted: int) -> None:
    text = json.dumps(value)
    for _ in range(quoted):
        text = json.dumps(text)
    if fenced:
        text = f"```json\n{text}\n```"
    assert read_object(f"{blanks}{text}{blanks}", WHERE) == value
