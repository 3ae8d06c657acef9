"""The process-wide runtime: one loop, and one open credential set for every form of credentials in use.

Tools know credentials and coroutines; what is opened, shared, swapped and closed is decided here. Changed credentials
are simply another set: new calls use the new one, running calls finish on the old one, which is closed when nobody
has used it for a while. Everything is opened by the first call that needs it, so that a plugin that is installed but
idle holds no connection. A set with accepted writes to carry out stays open, however many there are.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import functools
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from contextvars import Context
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from utils import log
from utils.aio import after_answer, congestion
from utils.aio.after_answer import AfterAnswer
from utils.aio.congestion import Congestion, Place
from utils.aio.deadline import deadline
from utils.aio.loop import BackgroundLoop
from utils.errors import PluginError, TimedOut
from utils.runtime.credential_set import CredentialSet, Opened, Places
from utils.runtime.vitals import Vitals, pool_workers, running_greenlets, tell

if TYPE_CHECKING:
    from utils.config.settings import Settings

_log = logging.getLogger(__name__)

_MOST_PARSED: Final = 64  # credential sets whose settings are kept
_MOST_OPEN: Final = 4  # credential sets held open at once; each has its pools
# A set nobody called for this long is closed, the latest one excepted. Until then its writes are nobody else's, also
# those that failed for a key which has been replaced since: so it is not long.
_IDLE_S: Final = 300.0
_LOOK_EVERY_S: Final = 30.0  # how often sets are looked at for that
_VALIDATION_TIMEOUT_S: Final = 15.0  # SPEC 2: all parts together
_DRAIN_S: Final = 3.0  # SPEC 4: what SIGTERM leaves for running work
_GRACE_S: Final = 0.5  # how much longer than its time-out a call is waited for, so that it can answer by itself


@dataclass(frozen=True, slots=True)
class _Call:
    """What comes with an operation to the loop."""

    calls: Congestion
    place: Place
    after: AfterAnswer | None
    handed_over_at: float = field(default_factory=time.monotonic)


class Runtime:
    """Runs operations on the memories of whatever credentials a call brings."""

    def __init__(self) -> None:
        self._loop = BackgroundLoop()
        self._open: dict[str, CredentialSet] = {}  # by credentials, least recently used first; touched on the loop only
        self._places = Places()
        self._closing: set[asyncio.Task[None]] = set()
        self._cleaning: asyncio.Task[None] | None = None
        self._too_many = asyncio.Event()
        self._parsed: dict[tuple[tuple[str, str], ...], Settings] = {}  # by credentials, least recently used first
        self._parsing = threading.Lock()
        self._validated: set[str] = set()  # clients whose credentials were saved, and found to work, since they ran

    def settings(self, credentials: Mapping[str, Any]) -> Settings:
        """The settings ``credentials`` stand for, parsed once.

        Raises:
            CredentialError: they cannot be used as they stand.
        """
        from utils.config.settings import Settings

        # Not their digest (``Identity.credentials``): every call comes here, and comparing texts costs nothing.
        key = tuple((name, str(value)) for name, value in credentials.items())
        with self._parsing:
            known = self._parsed.pop(key, None)
            if known is None:
                known = Settings.from_credentials(credentials)
                for warning in known.warnings:
                    _log.warning("%s", warning)
                if len(self._parsed) >= _MOST_PARSED:
                    self._parsed.pop(next(iter(self._parsed)))
            self._parsed[key] = known
        return known

    def call[T](
        self,
        credentials: Mapping[str, Any],
        operation: Callable[[Opened], Awaitable[T]],
        *,
        timeout_s: float | None,
        after: AfterAnswer | None = None,
        calls: Congestion = congestion.reads,
        share: float = 1.0,
    ) -> T:
        """Run ``operation`` with what ``credentials`` open and wait for its outcome.

        Args:
            credentials: as Dify passes them.
            operation: a coroutine function of what the set has opened.
            timeout_s: seconds after which the wait ends whatever the operation does; None to wait for its end.
            after: takes what the operation leaves to do after the answer; the caller hands it to
                :meth:`start_after_answer`.
            calls: of its kind that are under way in the process.
            share: how soon it is refused when the process has more calls than it can carry; see ``congestion``.

        Raises:
            Overloaded: there are; nothing has been started.
            TimedOut: the time is up; the operation has been cancelled.
            PluginError: whatever the operation raised.
        """
        settings = self.settings(credentials)
        place = calls.enter(share)
        try:
            running = self._loop.submit(self._run(settings, operation, timeout_s, _Call(calls, place, after)))
            return running.result(None if timeout_s is None else timeout_s + _GRACE_S)
        except (concurrent.futures.TimeoutError, concurrent.futures.CancelledError) as exc:
            running.cancel()
            raise TimedOut("error_timeout", seconds=f"{timeout_s or 0:g}") from exc
        finally:
            place.leave()

    def start_after_answer(self, after: AfterAnswer) -> None:
        """Start on the loop what a call has left to do; its answer is out. Nothing is started in a stopping process."""
        self._loop.call_soon(after.start)

    def validate(self, credentials: Mapping[str, Any]) -> None:
        """Find out whether ``credentials`` work, within 15 s; see ``validation``. Runs beside every opened set.

        Raises:
            CredentialError: they do not; the sentence says which credential, and what to do.
        """
        from utils.config.settings import Settings
        from utils.runtime.validation import validate

        settings = Settings.from_credentials(credentials, exact=True)
        running = self._loop.submit(validate(settings, credentials, self._places.stores))
        try:
            running.result(_VALIDATION_TIMEOUT_S)
        except (concurrent.futures.TimeoutError, concurrent.futures.CancelledError):
            running.cancel()
            _log.warning("credentials let pass unchecked: no outcome within %.0f s", _VALIDATION_TIMEOUT_S)
        else:
            self.validated(settings)

    def validated(self, settings: Settings) -> None:
        """Note that these credentials work now: with their next call, what failed for them is tried once more."""
        self._validated.add(settings.identity.client)

    async def _run[T](
        self,
        settings: Settings,
        operation: Callable[[Opened], Awaitable[T]],
        timeout_s: float | None,
        call: _Call,
    ) -> T:
        call.calls.delayed(time.monotonic() - call.handed_over_at)
        congestion.current.set(call.place)
        after_answer.current.set(call.after)
        used = self._set(settings)
        async with used.in_use(), deadline(timeout_s):
            opened = await used.opened()
            if settings.identity.client in self._validated:
                await opened.memory.take_up_failed()
                self._validated.discard(settings.identity.client)
            return await operation(opened)

    def _set(self, settings: Settings) -> CredentialSet:
        """The open set of these credentials, which is the most recently used one now."""
        key = settings.identity.credentials
        known = self._open.pop(key, None)
        self._open[key] = used = known or CredentialSet(settings, self._places)
        if known is None:
            self._set_log_levels()
        if self._cleaning is None:
            self._cleaning = asyncio.create_task(self._close_superfluous(), context=Context())
        if len(self._open) > _MOST_OPEN:
            self._too_many.set()
        return used

    def _set_log_levels(self) -> None:
        log.set_open_levels(each.log_level for each in self._open.values())

    async def _close_superfluous(self) -> None:
        """Again and again, close the sets that are over the limit or long unused and have nothing left to do."""
        while True:
            for key, unused in self._superfluous():
                try:
                    with log.unforeseen(_log, "closing a credential set"):
                        await self._close_if_done(key, unused)
                except PluginError:  # logged; this is a background task, which must not end
                    continue
            self._too_many.clear()
            try:
                async with asyncio.timeout(_LOOK_EVERY_S):
                    await self._too_many.wait()
            except TimeoutError:
                continue

    async def _close_if_done(self, key: str, unused: CredentialSet) -> None:
        if await unused.has_work() or unused.calls or self._open.get(key) is not unused:
            return  # the next look will come
        del self._open[key]
        self._set_log_levels()
        closing = asyncio.create_task(unused.close(_IDLE_S))
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    def _superfluous(self) -> list[tuple[str, CredentialSet]]:
        """Sets without running calls that are too many, the longest unused first, or long unused; never the latest."""
        now, too_many = time.monotonic(), len(self._open) - _MOST_OPEN
        earlier = list(self._open.items())[:-1]
        return [
            (key, one)
            for place, (key, one) in enumerate(earlier)
            if one.calls == 0 and (place < too_many or now - one.used_at > _IDLE_S)
        ]

    def tell_vitals(self) -> None:
        """Write into the log what is open now, see ``vitals``. Nothing is told of a process nobody has called."""
        self._loop.call_soon(lambda: tell(self._vitals()))

    def _vitals(self) -> Vitals:
        workers = pool_workers()
        return Vitals(
            greenlets=running_greenlets() - workers,
            workers=workers,
            tasks=len(asyncio.all_tasks()),
            open_sets=len(self._open),
            closing_sets=len(self._closing),
            stores=len(self._places.stores),
            state_stores=len(self._places.states),
        )

    def stop(self) -> None:
        """Take no new call, drain for at most 3 s, close every pool, stop the loop. Idempotent."""
        self._loop.stop(self._close_all(), _DRAIN_S + _GRACE_S)

    async def _close_all(self) -> None:
        if self._cleaning is not None:
            self._cleaning.cancel()
        async with asyncio.TaskGroup() as closing:
            for each in self._open.values():
                closing.create_task(each.close(_DRAIN_S))


@functools.cache
def runtime() -> Runtime:
    """The process's one runtime."""
    return Runtime()
