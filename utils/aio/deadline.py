"""When the running operation is given up, for those who can tell somebody else: a database ends its statement then."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class _Deadline:
    timeout_s: float
    at: float  # on the loop's clock


_deadline: ContextVar[_Deadline | None] = ContextVar("deadline", default=None)


@asynccontextmanager
async def deadline(timeout_s: float | None) -> AsyncIterator[None]:
    """``asyncio.timeout``, which :func:`operation_timeout_s` knows of.

    Raises:
        TimeoutError: the body took longer than ``timeout_s`` seconds; None: it may take for ever.
    """
    set_to = None if timeout_s is None else _Deadline(timeout_s, asyncio.get_running_loop().time() + timeout_s)
    before = _deadline.set(set_to)
    try:
        async with asyncio.timeout(timeout_s):
            yield
    finally:
        _deadline.reset(before)


def time_left_s() -> float | None:
    """Seconds until the running operation is given up; None when it may take for ever."""
    current = _deadline.get()
    return None if current is None else max(0.0, current.at - asyncio.get_running_loop().time())


def operation_timeout_s() -> float | None:
    """How many seconds the running operation was given in all; None when it may take for ever.

    A background task began in the context of the operation that started it. Once that one's time is up, its time-out no
    longer concerns the task.
    """
    current = _deadline.get()
    if current is None or asyncio.get_running_loop().time() > current.at:
        return None
    return current.timeout_s
