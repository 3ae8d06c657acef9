"""Which users of a pgvector collection are large, remembered for a while so that a search need not count.

Being wrong for that while costs time and never an answer: a user taken for small is searched exactly, and one taken for
large is searched exactly when the approximate index does not fill ``top_k``.
"""

from __future__ import annotations

import time
from typing import Final

EXACT_ROWS: Final = 5000  # see benchmarks/search_scale.py: up to here an exact scan of one user is as fast as the index
_LARGE_FOR_S: Final = 300.0
_SMALL_FOR_S: Final = 60.0
_REMEMBERED: Final = 10_000  # users


class OwnerSizes:
    """What was counted lately, by user.

    Args:
        exact_rows: a user with more memories is large.
    """

    def __init__(self, exact_rows: int = EXACT_ROWS) -> None:
        self._exact_rows = exact_rows
        self._known: dict[str, tuple[bool, float]] = {}

    def is_large(self, user_id: str) -> bool | None:
        """Whether the user has more than ``exact_rows`` memories; None when that must be counted."""
        large, until = self._known.get(user_id, (False, 0.0))
        return large if time.monotonic() < until else None

    def counted(self, user_id: str, rows: int) -> None:
        """Remember a count, which may stop just above ``exact_rows``; one near it is counted again."""
        self._known.pop(user_id, None)
        if rows > self._exact_rows:
            self._known[user_id] = True, time.monotonic() + _LARGE_FOR_S
        elif rows <= self._exact_rows // 2:
            self._known[user_id] = False, time.monotonic() + _SMALL_FOR_S
        if len(self._known) > _REMEMBERED:
            del self._known[next(iter(self._known))]
