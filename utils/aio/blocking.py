"""Where code that blocks may block, in a process that gevent has patched.

``import dify_plugin`` turns every Python thread into a greenlet of one OS thread. Two kinds of blocking code follow:

* code that waits on Python sockets (the model SDKs, HTTP vector stores) yields by itself: it needs a greenlet of its
  own, not an OS thread. :class:`ThreadPool` gives each lane its own bounded set of them, so that reads never queue
  behind writes;
* code that blocks inside C (SQLite, FAISS, Qdrant and Chroma on a folder, Milvus Lite) stops every greenlet while it
  runs. :class:`NativeThread` runs it on one real OS thread, one call after the other, which also serialises engines
  that break under concurrency; :func:`run_blocking` uses a few shared ones.

The module promises that the event loop keeps ticking while such code runs, with and without the patch. A cancelled
caller stops waiting at once; a call that waited for a free place is not made any more, one that has begun runs to its
own end and its result is dropped.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Final

import gevent.monkey
import gevent.threadpool

_SHARED_NATIVE_THREADS: Final = 4  # for rare, short C calls: token counts, charts


def _native_executor(threads: int, name: str) -> Executor:
    """An executor of real OS threads, whether or not the process is patched."""
    if gevent.monkey.is_module_patched("threading"):
        executor: Executor = gevent.threadpool.ThreadPoolExecutor(threads)
        return executor
    return ThreadPoolExecutor(threads, thread_name_prefix=name)


class ThreadPool:
    """A bounded pool for code that yields by itself: greenlets in the patched process, threads elsewhere.

    Args:
        name: shows in thread names.
        slots: how many calls run at once; further ones wait in order.
    """

    def __init__(self, name: str, slots: int) -> None:
        self._executor = ThreadPoolExecutor(slots, thread_name_prefix=name)

    async def run[**P, T](self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """What ``fn(*args, **kwargs)`` returns or raises, computed in the pool."""
        return await _submit(self._executor, functools.partial(fn, *args, **kwargs))

    def close(self) -> None:
        """Take no further call; running ones end by themselves. Idempotent."""
        self._executor.shutdown(wait=False, cancel_futures=True)


class NativeThread:
    """One OS thread for code that blocks inside C; calls run one at a time, in the order they came.

    Args:
        name: shows in the thread's name where the platform has one.
    """

    def __init__(self, name: str) -> None:
        self._executor = _native_executor(1, name)

    async def run[**P, T](self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """What ``fn(*args, **kwargs)`` returns or raises, computed on the thread."""
        return await _submit(self._executor, functools.partial(fn, *args, **kwargs))

    def close(self) -> None:
        """Take no further call. Idempotent."""
        self._executor.shutdown(wait=False)


_pool: contextvars.ContextVar[ThreadPool | None] = contextvars.ContextVar("pool", default=None)


def use_pool(pool: ThreadPool) -> contextvars.Token[ThreadPool | None]:
    """Make :func:`run_in_executor` use ``pool`` in the current task and the tasks it starts (the lanes call this)."""
    return _pool.set(pool)


async def run_in_executor[**P, T](fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Run ``fn`` on the pool of the lane the current task belongs to.

    Raises:
        LookupError: outside of any lane; nothing may fall back to the loop's default executor unnoticed.
    """
    pool = _pool.get()
    if pool is None:
        raise LookupError("run_in_executor() outside of a lane")
    return await pool.run(fn, *args, **kwargs)


@functools.cache
def _shared() -> Executor:
    return _native_executor(_SHARED_NATIVE_THREADS, "mem0-native")


async def run_blocking[**P, T](fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a C-bound ``fn`` on a shared OS thread; for calls that need neither order nor a thread of their own."""
    return await _submit(_shared(), functools.partial(fn, *args, **kwargs))


async def _submit[T](executor: Executor, call: Callable[[], T]) -> T:
    """Await ``call`` on ``executor``. Its outcome reaches the loop by ``call_soon_threadsafe`` alone.

    ``asyncio.wrap_future`` would do, but it hands cancellation to the executor's future, and cancelling a gevent pool
    future from the loop greenlet waits for the pool.
    """
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[T] = loop.create_future()

    context = contextvars.copy_context()  # whose log lines are these?

    def work() -> None:
        if outcome.cancelled():  # nobody waits any more: what has not begun does not begin
            return
        try:
            value = context.run(call)
        except BaseException as exc:  # noqa: BLE001 - carried to the awaiting task, not swallowed
            _deliver(loop, functools.partial(_settle, outcome, None, exc))
        else:
            _deliver(loop, functools.partial(_settle, outcome, value, None))

    executor.submit(work)
    return await outcome


def _deliver(loop: asyncio.AbstractEventLoop, settle: Callable[[], None]) -> None:
    if not loop.is_closed():  # nobody waits any more once the loop has stopped
        loop.call_soon_threadsafe(settle)


def _settle[T](outcome: asyncio.Future[T], value: T | None, error: BaseException | None) -> None:
    if outcome.cancelled():
        return
    if error is not None:
        outcome.set_exception(error)
    else:
        outcome.set_result(value)  # type: ignore[arg-type]  # value is call()'s own T whenever error is None
