"""Work that begins once the answer to a call has been written.

An operation leaves such work with :func:`after_answer`; the frame around the tools starts it when the last message of
the answer is out. Started any sooner it would compete with the answer for the process's one thread.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable


class AfterAnswer:
    """What one call leaves to do after its answer. Used on the loop only."""

    def __init__(self) -> None:
        self._waiting: list[Callable[[], object]] = []
        self._answered = False

    def add(self, callback: Callable[[], object]) -> None:
        """Keep ``callback`` for :meth:`start`; it is started at once when the answer is out already."""
        self._waiting.append(callback)
        if self._answered:
            self.start()

    def start(self) -> None:
        """The answer is out: start what waits, each on its own, so that one failure does not stop the others."""
        self._answered = True
        waiting, self._waiting = self._waiting, []
        for callback in waiting:
            asyncio.get_running_loop().call_soon(callback)


# The call in progress. Tasks started by a call inherit it and may outlive the call: then the answer is long out.
current: contextvars.ContextVar[AfterAnswer | None] = contextvars.ContextVar("after_answer", default=None)


def after_answer(callback: Callable[[], object]) -> None:
    """Call ``callback`` on the loop when the answer to the call in progress has been written, or at once outside of a
    call.
    """
    call = current.get()
    if call is None:
        asyncio.get_running_loop().call_soon(callback)
    else:
        call.add(callback)
