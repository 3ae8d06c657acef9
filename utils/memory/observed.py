"""When what a memory says was said, and whether a change comes too late for it.

A memory keeps ``observed_at``, the time of the message it stems from. Writes do not always arrive in the order in
which things were said: one is parked until its credentials work again, a conversation is read a day later. What was
said later stays, whatever order the writes come in: a change that is older than the memory it would change is left
out (SPEC 5). Pure.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from utils.stores.values import instant

if TYPE_CHECKING:
    from utils.stores.protocol import Row

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def observed(row: Row) -> datetime | None:
    """When what ``row`` says was said, in UTC; of a memory that others wrote, the later of its two times.

    None when no time of it can be read: then anything is newer.
    """
    said = instant(row.payload.get("observed_at"))
    if said is None:
        times = [time for time in (instant(row.created_at), instant(row.updated_at)) if time is not None]
        said = max(times, default=None)
    return None if said is None else _moment(said)


def is_later(row: Row, said_at: str) -> bool:
    """Whether ``row`` holds what was said after the ISO 8601 time ``said_at``."""
    time = observed(row)
    return time is not None and time > datetime.fromisoformat(said_at)


def is_earlier(row: Row, said_at: str) -> bool:
    """Whether ``row`` was said before the ISO 8601 time ``said_at``, or nobody knows when."""
    time = observed(row)
    return time is None or time < datetime.fromisoformat(said_at)


def is_new_since(row: Row, at: str) -> bool:
    """Whether what ``row`` says was said, or stored, after the ISO 8601 time ``at``."""
    times = [instant(row.payload.get(key)) for key in ("observed_at", "created_at", "updated_at")]
    latest = max((time for time in times if time is not None), default=None)
    return latest is not None and _moment(latest) > datetime.fromisoformat(at)


def time_of_change(row: Row, said_at: str, now: datetime) -> str | None:
    """The time that a change of ``row`` counts with; None when the change comes too late.

    Args:
        row: the memory as it is.
        said_at: ISO 8601 time of what would change it.
        now: aware. Nobody has said anything later than that: a memory that claims so was stored before a clock was set
            back, or by a machine whose clock is ahead. A change takes over its time then, and is not too late.
    """
    if not is_later(row, said_at):
        return said_at
    time = observed(row)
    return time.isoformat() if time is not None and time > now else None


def _moment(since_epoch: timedelta) -> datetime:
    try:
        return _EPOCH + since_epoch
    except OverflowError:  # a local time on the calendar's first or last day
        return datetime.min.replace(tzinfo=UTC) if since_epoch < timedelta() else datetime.max.replace(tzinfo=UTC)
