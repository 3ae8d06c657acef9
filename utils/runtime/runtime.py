"""The process-wide runtime: one loop, and one :class:`~utils.memory.memory.Memory` per credential set in use.

Tools know credentials and coroutines; what is opened, shared, swapped and closed is decided here. Changed credentials
are simply another set: new calls use the new one, running calls finish on the old one, which is closed when nobody
has used it for a while. Everything is opened by the first call that needs it, so that a plugin that is installed but
idle holds no connection.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import functools
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Final

from utils import log
from utils.aio.loop import BackgroundLoop
from utils.config.state_location import state_location
from utils.errors import TimedOut
from utils.runtime.shared import Shared

if TYPE_CHECKING:
    from utils.config.settings import Settings
    from utils.memory.memory import Memory
    from utils.state.engine import StateStore
    from utils.stores.protocol import Store

_log = logging.getLogger(__name__)

_MOST_OPEN: Final = 4  # credential sets held open at once; each has its pools
_IDLE_S: Final = 900.0  # a set nobody called for this long is closed, the latest one excepted
_DRAIN_S: Final = 3.0  # SPEC 4: what SIGTERM leaves for running work
_GRACE_S: Final = 0.5  # how much longer than its time-out a call is waited for, so that it can answer by itself


class Runtime:
    """Runs operations on the memories of whatever credentials a call brings."""

    def __init__(self) -> None:
        self._loop = BackgroundLoop()
        self._open: dict[str, _Opened] = {}  # by credentials, least recently used first; touched on the loop only
        self._stores: Shared[Store] = Shared()
        self._states: Shared[StateStore] = Shared()
        self._closing: set[asyncio.Task[None]] = set()
        self._parsed: dict[str, Settings] = {}
        self._parsing = threading.Lock()

    def settings(self, credentials: Mapping[str, Any]) -> Settings:
        """The settings ``credentials`` stand for, parsed once.

        Raises:
            CredentialError: they cannot be used as they stand.
        """
        from utils.config.settings import Settings

        key = _key(credentials)
        with self._parsing:
            known = self._parsed.get(key)
            if known is None:
                known = Settings.from_credentials(credentials)
                for warning in known.warnings:
                    _log.warning("%s", warning)
                if len(self._parsed) >= _MOST_OPEN:
                    self._parsed.pop(next(iter(self._parsed)))
                self._parsed[key] = known
        log.set_level(known.log_level)
        return known

    def call[T](
        self,
        credentials: Mapping[str, Any],
        operation: Callable[[Memory], Awaitable[T]],
        *,
        timeout_s: float | None,
        trace: str = "",
    ) -> T:
        """Run ``operation`` on the memory of ``credentials`` and wait for its outcome.

        Args:
            credentials: as Dify passes them.
            operation: a coroutine function of the :class:`Memory`.
            timeout_s: seconds after which the wait ends whatever the operation does; None to wait for its end.
            trace: the call's run id, for the log.

        Raises:
            TimedOut: the time is up; the operation has been cancelled.
            PluginError: whatever the operation raised.
        """
        settings = self.settings(credentials)
        running = self._loop.submit(self._run(_key(credentials), settings, operation, timeout_s, trace))
        try:
            return running.result(None if timeout_s is None else timeout_s + _GRACE_S)
        except (concurrent.futures.TimeoutError, concurrent.futures.CancelledError) as exc:
            running.cancel()
            raise TimedOut("error_timeout", seconds=f"{timeout_s or 0:g}") from exc

    async def _run[T](
        self,
        key: str,
        settings: Settings,
        operation: Callable[[Memory], Awaitable[T]],
        timeout_s: float | None,
        trace: str,
    ) -> T:
        log.trace.set(trace)
        opened = self._opened(key, settings)
        opened.calls += 1
        try:
            async with asyncio.timeout(timeout_s):
                memory = await opened.memory()
                await memory.open()
                return await operation(memory)
        finally:
            opened.calls -= 1
            opened.used_at = time.monotonic()

    def _opened(self, key: str, settings: Settings) -> _Opened:
        opened = self._open.pop(key, None) or _Opened(settings, self._stores, self._states)
        self._open[key] = opened  # now the most recently used
        self._close_unused()
        return opened

    def _close_unused(self) -> None:
        """Close sets that are over the limit or long unused; one with running calls waits for the next look."""
        now = time.monotonic()
        for position, (key, opened) in enumerate(list(self._open.items())[:-1]):
            superfluous = len(self._open) - position > _MOST_OPEN or now - opened.used_at > _IDLE_S
            if superfluous and opened.calls == 0:
                del self._open[key]
                closing = asyncio.get_running_loop().create_task(opened.close(_IDLE_S))
                self._closing.add(closing)
                closing.add_done_callback(self._closing.discard)

    def stop(self) -> None:
        """Take no new call, drain for at most 3 s, close every pool, stop the loop. Idempotent."""
        self._loop.stop(self._close_all(), _DRAIN_S + _GRACE_S)

    async def _close_all(self) -> None:
        async with asyncio.TaskGroup() as closing:
            for opened in self._open.values():
                closing.create_task(opened.close(_DRAIN_S))


class _Opened:
    """One credential set in use: its memory, how many calls run on it, and when the last one ended."""

    def __init__(self, settings: Settings, stores: Shared[Store], states: Shared[StateStore]) -> None:
        self.calls = 0
        self.used_at = time.monotonic()
        self._settings = settings
        self._stores = stores
        self._states = states
        self._making = asyncio.Lock()
        self._memory: Memory | None = None

    async def memory(self) -> Memory:
        """The set's memory, made at the first call."""
        if self._memory is None:
            async with self._making:
                if self._memory is None:
                    self._memory = await self._make()
        return self._memory

    async def _make(self) -> Memory:
        from utils.memory.memory import Memory
        from utils.state.engine import StateStore
        from utils.stores.building import build_store

        settings = self._settings
        location = state_location(settings)
        async with AsyncExitStack() as acquired:  # the second may fail, or be cancelled while a predecessor closes
            state = await self._states.acquire(location, lambda: StateStore(location))
            acquired.push_async_callback(self._states.release, location)
            store = await self._stores.acquire(settings.store_fingerprint, lambda: build_store(settings))
            acquired.pop_all()
        return Memory(settings, store, state)

    async def close(self, drain_s: float) -> None:
        """Drain, then let go of what is shared with other sets."""
        async with self._making:
            memory, self._memory = self._memory, None
        if memory is not None:
            await memory.close(drain_s)
            await self._stores.release(self._settings.store_fingerprint)
            await self._states.release(state_location(self._settings))


def _key(credentials: Mapping[str, Any]) -> str:
    """What tells credential sets apart; kept in memory only, like the credentials themselves."""
    return repr(sorted((name, str(value)) for name, value in credentials.items()))


@functools.cache
def runtime() -> Runtime:
    """The process's one runtime."""
    return Runtime()
