"""How two stored values compare, whatever the engine: equality, order, instants, letter case.

Filters, the order of pages and the compiler to SQL all stand on these few definitions, so that a memory found on one
store is found on every other. They are written to be exact in PostgreSQL as well (``pgvector_filters``), which is why
they avoid what differs between languages: binary floats, locales, lenient date readers.

* **Numbers** are compared as the decimals they are written as, so ``5``, ``5.0`` and ``1e0 * 5`` are one number and
  ``0.1`` is a tenth. A boolean is not a number. NaN and infinities equal nothing and have no order.
* **Texts** are compared by code point, with letter case, never by a locale's rules.
* **Instants**: a text that is an ISO 8601 date, or date and time (``2026-01-31``, ``2026-01-31T08:00``,
  ``2026-01-31 08:00:00.5+09:00``, ``…Z``), stands for that moment; without an offset it is read as UTC. Digits after
  the microsecond are dropped. Week dates, ordinal dates and the undelimited form are texts like any other.
* **Folding** lower-cases each character by itself, where its lower case is one character.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache
from math import isfinite
from typing import Any, Final

type Scalar = str | int | float | bool | None

# Every date that matches exists, so neither Python nor PostgreSQL can fail on one: the pattern knows the lengths of the
# months and the leap years. Years 0001-9999; offsets up to 14:59, the most that both accept. Both engines read the
# syntax.
_YEAR: Final = "(?!0000)[0-9]{4}"
_LEAP_YEAR: Final = "(?!0000)([0-9]{2}(0[48]|[2468][048]|[13579][26])|([02468][048]|[13579][26])00)"
_LONG_MONTH: Final = "(0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])"
_SHORT_MONTH: Final = "(0[469]|11)-(0[1-9]|[12][0-9]|30)"
_FEBRUARY: Final = "02-(0[1-9]|1[0-9]|2[0-8])"
_DATE: Final = f"({_YEAR}-({_LONG_MONTH}|{_SHORT_MONTH}|{_FEBRUARY})|{_LEAP_YEAR}-02-29)"
OFFSET_PATTERN: Final = "(Z|[+-](0[0-9]|1[0-4])(:?[0-5][0-9])?)"
_TIME: Final = "([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9]([.][0-9]{1,9})?)?"
INSTANT_PATTERN: Final = f"{_DATE}([T ]{_TIME}{OFFSET_PATTERN}?)?"
_INSTANT: Final = re.compile(INSTANT_PATTERN)
_LONGEST_INSTANT: Final = len("2026-01-31T08:00:00.123456789+09:00")
_BELOW_MICROSECOND: Final = re.compile("([.][0-9]{6})[0-9]+")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MEMORY_ID: Final = re.compile("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_CASED_PLANES: Final = 0x20000  # no character beyond the first two planes has letter case


def is_memory_id(text: str) -> bool:
    """Whether ``text`` is a UUID as memories have them: lower case, with dashes. No store holds another id."""
    return _MEMORY_ID.fullmatch(text) is not None


def is_encodable(text: str) -> bool:
    """Whether a database can be given ``text`` at all: no NUL, no half of a surrogate pair."""
    return "\0" not in text and not any("\ud800" <= char <= "\udfff" for char in text)


def is_number(value: object) -> bool:
    """Whether ``value`` is an integer or a finite float (a boolean is neither)."""
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite_number(value)


def isfinite_number(value: float) -> bool:
    """Whether a number is finite; unlike ``math.isfinite`` also for integers beyond a float's range."""
    return isinstance(value, int) or isfinite(value)


def decimal(value: float) -> Decimal:
    """The decimal a finite number is written as: ``0.1`` is a tenth, not the binary fraction next to it."""
    return Decimal(value) if isinstance(value, int) else Decimal(repr(float(value)))


def same(stored: object, wanted: Scalar) -> bool:
    """Whether two single values are of one type and equal. None equals nothing, here and in a database."""
    if isinstance(wanted, bool) or isinstance(stored, bool):
        return isinstance(stored, bool) and isinstance(wanted, bool) and stored == wanted
    if isinstance(wanted, str):
        return isinstance(stored, str) and stored == wanted
    if is_number(wanted) and is_number(stored):
        return decimal(stored) == decimal(wanted)  # type: ignore[arg-type]  # is_number() of both holds
    return False


def compare(stored: object, wanted: str | float) -> int | None:
    """Negative, zero or positive as ``stored`` sorts before, with or after ``wanted``; None when they have no order.

    Two texts that are both instants are compared as instants.
    """
    if isinstance(wanted, str) and isinstance(stored, str):
        moments = instant(stored), instant(wanted)
        if moments[0] is not None and moments[1] is not None:
            return (moments[0] > moments[1]) - (moments[0] < moments[1])
        return (stored > wanted) - (stored < wanted)
    if is_number(wanted) and is_number(stored):
        left, right = decimal(stored), decimal(wanted)  # type: ignore[arg-type]  # is_number() of both holds
        return (left > right) - (left < right)
    return None


def instant(text: object) -> timedelta | None:
    """The moment an ISO 8601 text stands for, as time since 1970 in UTC; None when it is not such a text."""
    if not isinstance(text, str) or len(text) > _LONGEST_INSTANT or _INSTANT.fullmatch(text) is None:
        return None
    moment = datetime.fromisoformat(_BELOW_MICROSECOND.sub(r"\1", text))
    offset = moment.utcoffset() or timedelta()
    return moment.replace(tzinfo=UTC) - _EPOCH - offset  # the difference alone: 9999-12-31 west of UTC has no datetime


def newest_first(payload: Mapping[str, Any], memory_id: str) -> tuple[bool, timedelta, str]:
    """Sort key that puts memories in the order of pages: newest ``created_at`` first, undated last, then by id."""
    moment = instant(payload.get("created_at"))
    return moment is None, -(moment or timedelta()), memory_id


def fold(text: str) -> str:
    """``text`` without letter case: each character lower-cased by itself, if that is one character."""
    if text.isascii():
        return text.lower()
    return "".join(low if len(low := char.lower()) == 1 else char for char in text)


def case_variants(folded: str) -> tuple[str, str]:
    """The characters that fold to a character of ``folded`` without being it, and beside each what it folds to.

    With these two, ``translate(text, variants, targets)`` contains ``folded`` exactly when ``fold(text)`` does, which
    is how a database that has only its own locale's idea of case answers ``icontains``.
    """
    pairs = [(variant, char) for char in sorted(set(folded)) for variant in _variants().get(char, ())]
    return "".join(variant for variant, _ in pairs), "".join(char for _, char in pairs)


@cache
def _variants() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for char in map(chr, range(_CASED_PLANES)):
        folded = fold(char)
        if folded != char:
            found.setdefault(folded, []).append(char)
    return found
