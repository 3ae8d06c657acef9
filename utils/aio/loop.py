"""The one asyncio loop of the process, running beside the SDK's request greenlets.

Tools are called in greenlets (threads, outside Dify) and hand coroutines over with :meth:`BackgroundLoop.submit`. The
loop is started once, by whoever needs it first; an exception that nobody awaits is logged and the loop goes on;
:meth:`stop` lets what is under way finish for a moment, cancels the rest and closes.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import threading
from collections.abc import Callable, Coroutine
from typing import Any

from utils.errors import ShuttingDown

_log = logging.getLogger(__name__)


class BackgroundLoop:
    """An asyncio loop in a thread of its own (a greenlet, under gevent). Constructing it starts nothing."""

    def __init__(self) -> None:
        self._starting = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._stopping = False

    def submit[T](self, coroutine: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        """Start ``coroutine`` on the loop; the future has its outcome, and cancelling it cancels the coroutine.

        Raises:
            ShuttingDown: :meth:`stop` has been called.
        """
        if self._stopping:
            coroutine.close()
            raise ShuttingDown("error_shutting_down")
        return asyncio.run_coroutine_threadsafe(coroutine, self._running_loop())

    def call_soon(self, callback: Callable[[], object]) -> None:
        """Call ``callback`` on the loop; never, when the loop was not started or is stopping."""
        if self._loop is not None and not self._stopping:
            self._loop.call_soon_threadsafe(callback)

    def stop(self, drain: Coroutine[Any, Any, None], timeout_s: float) -> None:
        """Take no new coroutine, run ``drain`` for at most ``timeout_s`` seconds, cancel what is left and close.
        Idempotent.
        """
        if self._stopping or self._loop is None or self._thread is None:
            self._stopping = True
            drain.close()
            return
        draining = asyncio.run_coroutine_threadsafe(drain, self._loop)
        self._stopping = True
        try:
            draining.result(timeout_s)
        except TimeoutError:
            draining.cancel()
            _log.warning("stopped before everything was drained (limit %.0f s)", timeout_s)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout_s)

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        with self._starting:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._loop.set_exception_handler(_report)
                self._thread = threading.Thread(target=_run, args=(self._loop,), name="mem0-loop", daemon=True)
                self._thread.start()
            return self._loop


def _run(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
    finally:
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        loop.close()


def _report(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log what no task awaited. The exception's class and place only: its text may hold a user's words."""
    error = context.get("exception")
    _log.error("unhandled on the loop: %s (%s)", context.get("message"), type(error).__name__)
