"""Which rows of a collection are memories that can be shown.

Beside memories a collection may hold what earlier plugins for Dify kept there for themselves: rows marked
``__internal``, whose text is JSON (checkpoints, access logs, tasks, locks). No read of a memory ever meets one.

mem0 2.x knows memories that expire: behind the day in ``expiration_date`` they are neither found nor listed, and are
still there for who names them, deletes them or forgets them.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any, Final

INTERNAL_KEY: Final = "__internal"
EXPIRATION_KEY: Final = "expiration_date"
_TRUE: Final = "true"  # or JSON's true: earlier plugins wrote both


def is_memory(payload: Mapping[str, Any]) -> bool:
    """Whether a stored payload is a memory's, and not an earlier plugin's own."""
    return str(payload.get(INTERNAL_KEY)).lower() != _TRUE


def is_expired(payload: Mapping[str, Any]) -> bool:
    """Whether a memory's last day is over, in UTC. As in mem0 (``_payload_is_expired``) what is no date never is."""
    last_day = payload.get(EXPIRATION_KEY)
    if not last_day:
        return False
    try:
        return date.fromisoformat(str(last_day)) < datetime.now(UTC).date()
    except ValueError:
        return False
