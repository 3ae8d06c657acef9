"""A lease as its holder sees it: how long it may still act, and what stops it when that time is over.

The database says who holds a lease (``state.queues``); it cannot stop a process that believes it still does. So the
holder keeps the time itself. It counts from before the lease was asked for, ends a little early, and on a clock that
runs while the machine sleeps.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

from utils.errors import LeaseLost, ServiceError

_log = logging.getLogger(__name__)

LEASE_S: Final = 10.0  # what a dead holder had is another's after this long
RENEW_S: Final = 3.0
RENEW_TIMEOUT_S: Final = 3.0  # a state store that is silent must not keep the next try waiting
_MARGIN_S: Final = 1.5  # a change that was begun just before the end may take so long to arrive
# Linux's CLOCK_MONOTONIC stands still while the machine sleeps; the database's clock does not.
_CLOCK: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def now_s() -> float:
    """Seconds on a clock that nobody sets and that runs while the machine sleeps."""
    return time.clock_gettime(_CLOCK)


class Lease[C]:
    """One lease in work.

    Args:
        claim: the lease as the database knows it, on a queue or on something else.
        asked_at: :func:`now_s` before the database was asked for it.
        lasts_s: for how long it was asked.
    """

    def __init__(self, claim: C, asked_at: float, lasts_s: float) -> None:
        self.claim = claim
        self.made_progress = False  # what was done has been committed in part: failures are counted anew
        self._ends_at = asked_at + lasts_s - _MARGIN_S
        self._deadline: asyncio.Timeout | None = None

    def still_held(self) -> bool:
        """Whether nobody else can have the queue yet."""
        return now_s() < self._ends_at

    def must_be_held(self) -> None:
        """Call it right before a change that no transaction guards: this process may have stood still since its last
        commit, long enough for another to have gone on.

        Raises:
            LeaseLost: the lease may have ended.
        """
        if not self.still_held():
            raise LeaseLost("error_lease_lost")

    def renewed(self, asked_at: float, lasts_s: float) -> None:
        """The database has extended the lease (arguments as for the constructor)."""
        self._ends_at = asked_at + lasts_s - _MARGIN_S
        if self._deadline is not None and not self._deadline.expired():
            self._deadline.reschedule(self._loop_time())

    @asynccontextmanager
    async def held(self) -> AsyncIterator[None]:
        """Run the body for as long as the lease lasts; then cancel it.

        Raises:
            LeaseLost: the time was over before the body was done.
        """
        try:
            async with asyncio.timeout_at(self._loop_time()) as self._deadline:
                yield
        except TimeoutError as exc:
            if self._deadline is not None and self._deadline.expired():
                raise LeaseLost("error_lease_lost") from exc
            raise
        finally:
            self._deadline = None

    @asynccontextmanager
    async def kept_alive(self, renew: Callable[[], Awaitable[bool]]) -> AsyncIterator[None]:
        """Run the body like :meth:`held`, and renew the lease beside it, each time for :data:`LEASE_S`.

        Args:
            renew: asks the database to extend the lease; False when it is lost. Its own time is over soon then.
        """
        async with self.held():
            renewing = asyncio.create_task(self._renew(renew))
            try:
                yield
            finally:
                renewing.cancel()
                await asyncio.gather(renewing, return_exceptions=True)

    async def _renew(self, renew: Callable[[], Awaitable[bool]]) -> None:
        while True:
            await asyncio.sleep(RENEW_S)
            asked_at = now_s()
            try:
                async with asyncio.timeout(RENEW_TIMEOUT_S):
                    if await renew():
                        self.renewed(asked_at, LEASE_S)
            except (ServiceError, TimeoutError):  # a task in the background; the lease's end says when it is too late
                _log.warning("a lease could not be renewed; trying again")

    def _loop_time(self) -> float:
        return asyncio.get_running_loop().time() + self._ends_at - now_s()
