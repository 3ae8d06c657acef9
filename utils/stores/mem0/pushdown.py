"""What of a filter a store of mem0 may be asked for beside the owner, so that it answers fewer rows that do not count.

The plugin decides which rows match (``filters``); a store may only leave out rows that cannot. So nothing is handed
over but what every matching row satisfies and the store is known to compare as the plugin does.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from utils.stores.filters import And, Compare, Condition

_PLAIN_KEY: Final = re.compile(r"[A-Za-z0-9_]+", re.ASCII)  # others are paths to some stores


def equalities(condition: Condition) -> dict[str, Any]:
    """Texts and booleans that must be equal, by key, as mem0's filters say it: a value, or a list of possible texts.

    Numbers are not among them: stores that tell 1 from 1.0 would leave out rows that match.
    """
    return {
        part.key: list(part.value) if isinstance(part.value, tuple) else part.value
        for part in _all_needed(condition)
        if _PLAIN_KEY.fullmatch(part.key) and _is_exact(part)
    }


def _all_needed(condition: Condition) -> Iterator[Compare]:
    """The comparisons that every matching row passes."""
    if isinstance(condition, And):
        for part in condition.parts:
            yield from _all_needed(part)
    elif isinstance(condition, Compare):
        yield condition


def _is_exact(part: Compare) -> bool:
    if part.op == "in":
        return isinstance(part.value, tuple) and bool(part.value) and all(isinstance(one, str) for one in part.value)
    return part.op == "eq" and isinstance(part.value, str | bool)
