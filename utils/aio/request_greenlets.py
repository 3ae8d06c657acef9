"""The executor of the SDK's requests: a greenlet for each, which ends with it.

The SDK's own is a ``ThreadPoolExecutor`` of up to 1,000 workers. In Python 3.12 a busy worker may take the item that an
idle one was counted for; the idle one is then forgotten, never used again and never ended, and another is made in its
place. Under a steady load of 20 calls a second that was some 15 greenlets and 0.6 MiB a minute (``benchmarks.soak``).
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any

import gevent.pool


class RequestGreenlets(Executor):
    """Runs each call in a greenlet of its own. For a patched process only.

    Args:
        most: calls that run at once; whoever submits another waits until one of them has ended.
    """

    def __init__(self, most: int) -> None:
        self._running = gevent.pool.Pool(most)

    def submit[**P, T](self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Start ``fn(*args, **kwargs)``; the future has its outcome."""
        future: Future[T] = Future()
        self._running.spawn(_run, future, fn, args, kwargs)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Wait for the calls that run, or do not; there are no others."""
        if wait:
            self._running.join()


def _run(future: Future[Any], fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    future.set_running_or_notify_cancel()
    try:
        value = fn(*args, **kwargs)
    except BaseException as exc:  # noqa: BLE001 - carried to whoever has the future, as an executor does
        future.set_exception(exc)
    else:
        future.set_result(value)
