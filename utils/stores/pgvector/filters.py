"""A filter condition as parametrised SQL over a ``payload`` column, with exactly the meaning of
``filters.Condition.matches``.

Keys and values are parameters, never text of the statement. No expression can raise: numbers and booleans are compared
as ``jsonb`` (which compares numbers by value), texts are cast to timestamps only when the pattern says that the date
exists, and everything a locale could colour is done by code point. Every leaf is TRUE or FALSE and never NULL, so AND,
OR and NOT mean what they mean in Python.
"""

from __future__ import annotations

import json
from typing import Any, Final

from utils.stores.filters import And, Compare, Condition, Exists, Not, Or
from utils.stores.values import INSTANT_PATTERN, OFFSET_PATTERN, Scalar, case_variants, fold, instant

type Fragment = tuple[str, list[Any]]

_ORDER: Final = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}
_VALUE: Final = "(payload -> %s::text)"
_TEXT: Final = '((payload ->> %s::text) COLLATE "C")'
_TYPE: Final = f"COALESCE(jsonb_typeof({_VALUE}), 'null')"
_IS_INSTANT: Final = f"^({INSTANT_PATTERN})$"
# Nearly every time there is, in UTC and before the 29th: told four times faster than by the pattern that knows all.
_COMMON_INSTANT: Final = (
    "^[1-9][0-9]{3}-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])"
    "T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]([.][0-9]{1,6})?([+]00:00|Z)$"
)
_HAS_OFFSET: Final = f":[0-9.]*{OFFSET_PATTERN}$"  # a colon first: the month of a bare date looks like an offset


def instant_sql(text: str) -> str:
    """An expression for the moment that ``text``, an SQL expression, stands for; NULL when it is no ISO date.

    The counterpart of ``store_values.instant``; ``text`` must be free of side effects, it is repeated.
    """
    # PostgreSQL rounds what is below a microsecond; the definition drops it.
    exact = f"regexp_replace({text}, '([.][0-9]{{6}})[0-9]+', '\\1')"
    return (
        f"CASE WHEN {text} ~ '{_COMMON_INSTANT}' THEN {text}::timestamptz WHEN {text} ~ '{_IS_INSTANT}' THEN"
        f" CASE WHEN {text} ~ '{_HAS_OFFSET}' THEN {exact}::timestamptz"
        f" ELSE {exact}::timestamp AT TIME ZONE 'UTC' END END"
    )


def compile_condition(condition: Condition) -> Fragment:
    """A boolean SQL expression with ``%s`` placeholders, and its parameters in order."""
    match condition:
        case And(parts):
            return _joined(" AND ", parts)
        case Or(parts):
            return _joined(" OR ", parts)
        case Not(part):
            inner, params = compile_condition(part)
            return f"(NOT {inner})", params
        case Exists(key):
            return f"({_TYPE} <> 'null')", [key]
        case Compare():
            return _comparison(condition)


def _joined(operator: str, parts: tuple[Condition, ...]) -> Fragment:
    compiled = [compile_condition(part) for part in parts]
    return f"({operator.join(sql for sql, _ in compiled)})", [param for _, params in compiled for param in params]


def _comparison(condition: Compare) -> Fragment:
    key, value = condition.key, condition.value
    if isinstance(value, tuple):
        return f"COALESCE({_VALUE} @> ANY(%s::jsonb[]), FALSE)", [key, [_json(one) for one in value]]
    if condition.op == "eq":
        return f"COALESCE({_VALUE} @> %s::jsonb, FALSE)", [key, _json(value)]
    if condition.op == "contains":
        return _contains(key, value)
    if condition.op == "icontains":
        return _icontains(key, str(value))
    if isinstance(value, str):
        return _text_order(key, _ORDER[condition.op], value)
    order = f"({_TYPE} = 'number' AND {_VALUE} {_ORDER[condition.op]} %s::jsonb)"
    return order, [key, key, _json(value)]


def _json(value: Scalar) -> str:
    """A single value as JSON. ``@>`` finds it in a list as well as by itself, and compares numbers by value."""
    return json.dumps(value, allow_nan=False)


def _text_order(key: str, operator: str, value: str) -> Fragment:
    by_code_point = f'{_TEXT} {operator} (%s::text COLLATE "C")'
    if instant(value) is None:
        return f"({_TYPE} = 'string' AND {by_code_point})", [key, key, value]
    moment = instant_sql(_TEXT)
    both = (
        f"CASE WHEN ({moment}) IS NULL THEN {by_code_point} ELSE ({moment}) {operator} ({instant_sql('%s::text')}) END"
    )
    keys, wanted = [key] * moment.count("%s"), [value] * instant_sql("%s::text").count("%s")
    return f"({_TYPE} = 'string' AND {both})", [key, *keys, key, value, *keys, *wanted]


def _contains(key: str, value: Scalar) -> Fragment:
    in_list = f"({_TYPE} = 'array' AND COALESCE({_VALUE} @> %s::jsonb, FALSE))"
    if not isinstance(value, str):
        return in_list, [key, key, _json(value)]
    in_text = f"({_TYPE} = 'string' AND strpos({_TEXT}, %s::text) > 0)"
    return f"({in_text} OR {in_list})", [key, key, value, key, key, _json(value)]


def _icontains(key: str, value: str) -> Fragment:
    needle = fold(value)
    variants = case_variants(needle)
    in_text = f"({_TYPE} = 'string' AND strpos(translate({_TEXT}, %s::text, %s::text), %s::text) > 0)"
    items = f"jsonb_array_elements(CASE WHEN {_TYPE} = 'array' THEN {_VALUE} ELSE '[]' END)"
    item = "translate((item #>> '{}') COLLATE \"C\", %s::text, %s::text)"
    in_list = f"EXISTS (SELECT FROM {items} AS item WHERE jsonb_typeof(item) = 'string' AND {item} = %s::text)"
    return f"({in_text} OR {in_list})", [key, key, *variants, needle, key, key, *variants, needle]
