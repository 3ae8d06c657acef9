"""A JSON object as people paste it into a one-line box.

Forgiving about the wrapping: surrounding blanks, a byte order mark, a Markdown code fence, JSON that was turned into
a JSON string once more, an object that is parsed already, a Python literal (single quotes, ``True``, ``None``). Exact
about the rest: an error names the line and column of the text as pasted.
"""

from __future__ import annotations

import ast
import json
import re
import warnings
from typing import Any, Final

from utils.config.values import Where, found
from utils.errors import CredentialError

_BLANKS: Final = " \t\r\n\v\f\u00a0\u200b\u2060\u3000\ufeff"  # what copying from chats, wikis and editors leaves around
_FENCE: Final = re.compile(r"```[A-Za-z0-9_-]*(?P<body>.*?)```", re.DOTALL)
_PYTHONS_OWN: Final = re.compile(r"'|\b(True|False|None)\b")
_COMMA_TOO_MANY: Final = re.compile(r",[ \t\r\n]*[}\]]")
_TYPOGRAPHIC_QUOTE: Final = re.compile("[\u201c\u201d\u201e\u201f\u2018\u2019\u201a\u00ab\u00bb\uff02]")
_MAX_WRAPPINGS: Final = 3  # a JSON string of JSON; more than one level comes from scripts that quote twice
_EXAMPLE: Final = '{"provider": "...", "config": {...}}'


def read_object(pasted: object, where: Where) -> dict[str, Any]:
    """The JSON object in ``pasted``, as a fresh structure of plain JSON values.

    Raises:
        CredentialError: there is nothing, no JSON, or no object.
    """
    value = _parse(pasted, where) if isinstance(pasted, str) else _plain(pasted, where)
    if not isinstance(value, dict):
        raise where.error("credentials_not_object", example=_EXAMPLE, found=found(value))
    return value


def _parse(pasted: str, where: Where) -> object:
    value: object = pasted
    for _ in range(_MAX_WRAPPINGS):
        if not isinstance(value, str):
            break
        value = _parse_once(value, where)
    return value


def _parse_once(pasted: str, where: Where) -> object:
    start, end = _body(pasted)
    if start == end:
        raise where.error("credentials_empty", example=_EXAMPLE)
    try:
        # the text before the body becomes blanks, so that positions are those of the pasted text
        return json.loads(re.sub(r"[^\n]", " ", pasted[:start]) + pasted[start:end], parse_constant=_no_constant)
    except json.JSONDecodeError as exc:
        literal = _python_literal(pasted[start:end])
        if literal is None:
            raise _bad_json(exc, where) from None
        return literal
    except (ValueError, RecursionError):  # NaN, an endless integer, a thousand brackets
        raise where.error("credentials_bad_json", line=1, column=1) from None


def _bad_json(exc: json.JSONDecodeError, where: Where) -> CredentialError:
    """What a person would see at the place where reading stopped, or just before it."""
    for comma in _COMMA_TOO_MANY.finditer(exc.doc):
        if comma.start() <= exc.pos < comma.end():  # at the comma, or at the bracket behind it
            return _at("credentials_comma_too_many", exc.doc, comma.start(), where)
    if quote := _TYPOGRAPHIC_QUOTE.search(exc.doc):
        return _at("credentials_typographic_quotes", exc.doc, quote.start(), where)
    return _at("credentials_bad_json", exc.doc, exc.pos, where)


def _at(sentence: str, text: str, position: int, where: Where) -> CredentialError:
    line, column = text.count("\n", 0, position) + 1, position - text.rfind("\n", 0, position)
    return where.error(sentence, line=line, column=column)


def _python_literal(text: str) -> dict[str, Any] | None:
    """The object ``text`` is in Python's notation, as plain JSON values; None if it is none."""
    if not _PYTHONS_OWN.search(text):
        return None  # Python reads more that is no JSON, such as a comma too many: not ours to forgive
    try:
        with warnings.catch_warnings(action="ignore"):  # of escapes Python does not know
            value = ast.literal_eval(text)
        plain = json.loads(json.dumps(value, allow_nan=False))
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return None
    return plain if isinstance(plain, dict) else None


def _body(pasted: str) -> tuple[int, int]:
    """Where the JSON starts and ends in the pasted text."""
    start = len(pasted) - len(pasted.lstrip(_BLANKS))
    end = len(pasted.rstrip(_BLANKS))
    if fence := _FENCE.fullmatch(pasted, start, end):
        start, end = fence.span("body")
        inner = pasted[start:end]
        start, end = start + len(inner) - len(inner.lstrip(_BLANKS)), end - len(inner) + len(inner.rstrip(_BLANKS))
    return min(start, end), end


def _no_constant(name: str) -> object:
    raise ValueError(name)  # NaN and Infinity are no JSON


def _plain(value: object, where: Where) -> object:
    """A copy of an already parsed value that holds nothing but JSON."""
    if value is None:
        raise where.error("credentials_empty", example=_EXAMPLE)
    try:
        return json.loads(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError, RecursionError):
        raise where.error("credentials_not_object", example=_EXAMPLE, found=found(value)) from None
