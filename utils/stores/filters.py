"""What a caller's ``filters`` mean, once for every vector store.

:func:`parse` turns the JSON object of a tool's ``filters`` parameter into a :class:`Condition`; ``Condition.matches``
is the reference meaning. A store that can express a condition in its own query language must give exactly the same rows
(a property test compares), and one that cannot lets ``matches`` decide.

The language::

    filter    = { key: ..., key: ... }                    every entry must hold
    "AND"     : [filter, ...]                             all hold     (a single object instead of the list will do)
    "OR"      : [filter, ...]                             at least one holds
    "NOT"     : [filter, ...]                             none holds
    field     : value                                     eq for a single value, in for a list
    field     : "*"                                       the field is there
    field     : {operator: value, ...}                    every operator holds

Fields are ``memory`` (the text), ``user_id``, ``agent_id``, ``run_id``, ``created_at``, ``updated_at``, and any
metadata key, which may hold any character. A field that is stored as null counts as not there. A filter on ``user_id``
is one condition more beside the owner a call is bound to, so it can only narrow.

=========================  =========================================================================================
``eq``                     same type and equal; a stored list: one of its items is. ``null``: the field is not there
``in``                     ``eq`` for one of the values
``ne``, ``nin``            ``eq``, ``in`` does not hold, so they also select memories without the field
``gt gte lt lte``          numbers by value; two ISO dates as instants; other texts by code point. Different types,
                           booleans, lists and missing fields never match
``contains``               a stored text: it has the value as a part; a stored list: it has the value as an item
``icontains``              the same without regard to letter case (texts only)
=========================  =========================================================================================

``OR`` is true as soon as one part is and ``NOT`` is plain negation: there is no third truth value. How single values
compare is defined in ``store_values``. Nesting goes ten deep, a filter holds at most a hundred conditions and a list a
thousand values.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from utils.errors import InvalidInput
from utils.stores.values import Scalar, compare, fold, is_encodable, is_number, isfinite_number, same

MAX_DEPTH: Final = 10
MAX_CONDITIONS: Final = 100
MAX_LIST_VALUES: Final = 1000
_MAX_INTEGER_BITS: Final = 1024  # as far as a float reaches; longer ones are mistakes and cost quadratic time to print
_SHOWN_CHARS: Final = 60  # of a field's name in a sentence
_PAYLOAD_KEYS: Final = {"memory": "data"}

type Condition = And | Or | Not | Compare | Exists


@dataclass(frozen=True, slots=True)
class And:
    """Every part holds."""

    parts: tuple[Condition, ...]

    def matches(self, payload: Mapping[str, Any]) -> bool:
        """Whether a stored payload satisfies the condition."""
        return all(part.matches(payload) for part in self.parts)


@dataclass(frozen=True, slots=True)
class Or:
    """At least one part holds."""

    parts: tuple[Condition, ...]

    def matches(self, payload: Mapping[str, Any]) -> bool:
        """Whether a stored payload satisfies the condition."""
        return any(part.matches(payload) for part in self.parts)


@dataclass(frozen=True, slots=True)
class Not:
    """The part does not hold."""

    part: Condition

    def matches(self, payload: Mapping[str, Any]) -> bool:
        """Whether a stored payload satisfies the condition."""
        return not self.part.matches(payload)


@dataclass(frozen=True, slots=True)
class Exists:
    """The payload has this key, and not as null."""

    key: str

    def matches(self, payload: Mapping[str, Any]) -> bool:
        """Whether a stored payload satisfies the condition."""
        return payload.get(self.key) is not None


@dataclass(frozen=True, slots=True)
class Compare:
    """One operator between the payload's value under ``key`` and ``value``.

    Attributes:
        key: top-level key of the payload.
        op: ``eq``, ``in``, ``gt``, ``gte``, ``lt``, ``lte``, ``contains`` or ``icontains`` (``ne`` and ``nin`` are
        :class:`Not` of the first two).
        value: what to compare with; a tuple for ``in``. Never null: that is :class:`Not` of :class:`Exists`.
    """

    key: str
    op: str
    value: Scalar | tuple[Scalar, ...]

    def matches(self, payload: Mapping[str, Any]) -> bool:
        """Whether a stored payload satisfies the condition."""
        return _MEANINGS[self.op](payload.get(self.key), self.value)


def _equal(stored: object, wanted: Any) -> bool:
    return any(same(item, wanted) for item in stored) if isinstance(stored, list) else same(stored, wanted)


def _among(stored: object, wanted: Any) -> bool:
    return any(_equal(stored, one) for one in wanted)


def _ordered(test: Callable[[int], bool]) -> Callable[[object, Any], bool]:
    def holds(stored: object, wanted: Any) -> bool:
        order = compare(stored, wanted)
        return order is not None and test(order)

    return holds


def _contains(stored: object, wanted: Any) -> bool:
    if isinstance(stored, str):
        return isinstance(wanted, str) and wanted in stored
    return isinstance(stored, list) and _equal(stored, wanted)


def _contains_folded(stored: object, wanted: Any) -> bool:
    if isinstance(stored, str):
        return fold(wanted) in fold(stored)
    return isinstance(stored, list) and any(isinstance(item, str) and fold(item) == fold(wanted) for item in stored)


_MEANINGS: Final[Mapping[str, Callable[[object, Any], bool]]] = {
    "eq": _equal,
    "in": _among,
    "gt": _ordered(lambda order: order > 0),
    "gte": _ordered(lambda order: order >= 0),
    "lt": _ordered(lambda order: order < 0),
    "lte": _ordered(lambda order: order <= 0),
    "contains": _contains,
    "icontains": _contains_folded,
}
OPERATORS: Final = ("eq", "ne", "in", "nin", "gt", "gte", "lt", "lte", "contains", "icontains")


def parse(filters: Mapping[str, Any]) -> Condition | None:
    """The condition that ``filters``, a decoded JSON object, stands for; None when it is empty.

    Raises:
        InvalidInput: it is not of the language above; the sentence names the place and what is accepted.
    """
    return _Parser().filter(filters, depth=1) if filters else None


class _Parser:
    """One reading of one filter; counts its conditions."""

    def __init__(self) -> None:
        self._conditions = 0

    def filter(self, filters: object, depth: int) -> Condition:
        if not isinstance(filters, Mapping) or not filters:
            raise InvalidInput("filters_not_object")
        if depth > MAX_DEPTH:
            raise InvalidInput("filters_too_deep", limit=MAX_DEPTH)
        return _all_of([self._entry(key, value, depth) for key, value in filters.items()])

    def _entry(self, key: object, value: object, depth: int) -> Condition:
        if not isinstance(key, str):
            raise InvalidInput("filters_not_object")
        if key in ("AND", "OR", "NOT"):
            return self._logic(key, value, depth)
        _check_text(key, key)
        return self._field(key, value)

    def _logic(self, key: str, value: object, depth: int) -> Condition:
        listed = [value] if isinstance(value, Mapping) else value
        if not isinstance(listed, list | tuple) or not listed:
            raise InvalidInput("filters_logic_needs_list", operator=key)
        parts = tuple(self.filter(part, depth + 1) for part in listed)
        if key == "AND":
            return _all_of(parts)
        either = parts[0] if len(parts) == 1 else Or(parts)
        return either if key == "OR" else Not(either)

    def _field(self, field: str, value: object) -> Condition:
        if isinstance(value, Mapping):
            if not value:
                raise InvalidInput("filters_no_operator", field=_shown(field), known=", ".join(OPERATORS))
            return _all_of([self._comparison(field, op, operand) for op, operand in value.items()])
        if value == "*":
            self._count()
            return Exists(_payload_key(field))
        return self._comparison(field, "in" if isinstance(value, list | tuple) else "eq", value)

    def _comparison(self, field: str, op: object, operand: object) -> Condition:
        self._count()
        if op not in OPERATORS:
            raise InvalidInput(
                "filters_unknown_operator", field=_shown(field), operator=_shown(op), known=", ".join(OPERATORS)
            )
        if op in ("ne", "nin"):
            return Not(_positive(field, "eq" if op == "ne" else "in", operand))
        return _positive(field, str(op), operand)

    def _count(self) -> None:
        self._conditions += 1
        if self._conditions > MAX_CONDITIONS:
            raise InvalidInput("filters_too_many", limit=MAX_CONDITIONS)


def _positive(field: str, op: str, operand: object) -> Condition:
    key = _payload_key(field)
    if op == "in":
        return _one_of(key, _list(field, operand))
    value = _scalar(field, op, operand)
    if op in ("gt", "gte", "lt", "lte") and not (isinstance(value, str) or is_number(value)):
        raise InvalidInput("filters_needs_order", field=_shown(field), operator=op)
    if op == "icontains" and not isinstance(value, str):
        raise InvalidInput("filters_needs_text", field=_shown(field), operator=op)
    if value is None:
        if op == "contains":
            raise InvalidInput("filters_needs_value", field=_shown(field), operator=op)
        return Not(Exists(key))
    return Compare(key, op, value)


def _one_of(key: str, values: tuple[Scalar, ...]) -> Condition:
    """``in``: nulls among the values stand for a field that is not there."""
    present = Compare(key, "in", tuple(value for value in values if value is not None))
    return Or((present, Not(Exists(key)))) if None in values else present


def _list(field: str, operand: object) -> tuple[Scalar, ...]:
    if not isinstance(operand, list | tuple):
        raise InvalidInput("filters_needs_list", field=_shown(field))
    if len(operand) > MAX_LIST_VALUES:
        raise InvalidInput("filters_list_too_long", field=_shown(field), limit=MAX_LIST_VALUES)
    return tuple(_scalar(field, "in", value) for value in operand)


def _scalar(field: str, op: str, value: object) -> Scalar:
    if isinstance(value, str):
        _check_text(field, value)
        return value
    if value is None or isinstance(value, bool):
        return value
    if not isinstance(value, int | float):
        raise InvalidInput("filters_needs_value", field=_shown(field), operator=op)
    if not isfinite_number(value) or (isinstance(value, int) and value.bit_length() > _MAX_INTEGER_BITS):
        raise InvalidInput("filters_bad_number", field=_shown(field))
    return value


def _check_text(field: str, text: str) -> None:
    """Refuse what no database can be asked for: NUL and halves of surrogate pairs."""
    if not is_encodable(text):
        raise InvalidInput("filters_bad_text", field=_shown(field))


def _all_of(parts: tuple[Condition, ...] | list[Condition]) -> Condition:
    return parts[0] if len(parts) == 1 else And(tuple(parts))


def _payload_key(field: str) -> str:
    return _PAYLOAD_KEYS.get(field, field)


def _shown(name: object) -> str:
    """A caller's own name for a sentence: printable and not long."""
    text = "".join(char if char.isprintable() else "?" for char in str(name))
    return text if len(text) <= _SHOWN_CHARS else text[: _SHOWN_CHARS - 1] + "…"
