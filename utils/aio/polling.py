"""``select.poll`` for a patched process, where asking whether a socket is ready now costs what it costs elsewhere.

gevent's own makes watchers and a timer and goes through its hub even for a time-out of 0, which cannot block. HTTP
pools ask so of every idle connection for every request, and psycopg before every wait: with 20 searches in flight it
was a fifth of all the time they took (measured). A poll that may wait is left to gevent.
"""

from __future__ import annotations

import select
from typing import Any, Final

import gevent.monkey
import gevent.select

_NATIVE: Final = gevent.monkey.get_original("select", "poll")
_ANY_EVENT: Final = select.POLLIN | select.POLLPRI | select.POLLOUT


def install() -> None:
    """Replace ``select.poll``, if gevent has. Idempotent."""
    if select.poll is gevent.select.poll:
        select.poll = _Poll  # type: ignore[misc]  # a class in a patched process, a function elsewhere


class _Poll(gevent.select.poll):  # type: ignore[misc]  # gevent is untyped
    """As ``select.poll()``."""

    def __init__(self) -> None:
        super().__init__()
        self._native = _NATIVE()

    def register(self, fd: Any, eventmask: int = _ANY_EVENT) -> None:
        super().register(fd, eventmask)
        self._native.register(fd, eventmask)

    def unregister(self, fd: Any) -> None:
        super().unregister(fd)
        self._native.unregister(fd)

    def poll(self, timeout: float | None = None) -> list[tuple[int, int]]:
        ready: list[tuple[int, int]] = self._native.poll(0) if timeout == 0 else super().poll(timeout)
        return ready
