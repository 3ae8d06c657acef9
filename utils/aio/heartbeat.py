"""Idle connections kept alive: each service is asked something small at a fixed interval.

Firewalls and load balancers drop connections that say nothing for minutes, mostly without telling either end. The next
caller then waits for a time-out.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextvars import Context
from typing import Any, Final

from utils import log
from utils.aio.blocking import ThreadPool, use_pool
from utils.aio.gather import gather
from utils.errors import PluginError, mapped_by

_log = logging.getLogger(__name__)

_PROBE_TIMEOUT_S: Final = 20.0

type Probe = Callable[[], Awaitable[Any]]


class Heartbeat:
    """Runs probes side by side, again and again. It goes on whatever they raise. An outage is logged when it begins
    and when it ends. Use it on the loop.

    Args:
        probes: what keeps each service's connections alive, by the service's name in the log.
        interval_s: seconds from the end of one round to the next.
        log_level: of the credential set the services belong to.
    """

    def __init__(self, probes: Mapping[str, Probe], interval_s: float, log_level: str = "INFO") -> None:
        self._probes = probes
        self._interval_s = interval_s
        self._log_level = log_level
        self._down: set[str] = set()
        self._beating: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin, with the first round after one interval. Idempotent."""
        if self._beating is None:
            self._beating = asyncio.create_task(self._beat(), context=Context())  # no call's

    def stop(self) -> None:
        """End; a probe that is under way is given up. Idempotent."""
        if self._beating is not None:
            self._beating.cancel()

    async def _beat(self) -> None:
        pool = ThreadPool("mem0-heartbeat", len(self._probes))  # a probe that hangs takes no caller's place
        use_pool(pool)
        log.belongs_to_set(self._log_level)
        try:
            while True:
                await asyncio.sleep(self._interval_s)
                await gather(*(self._ask(name, probe) for name, probe in self._probes.items()))
        finally:
            pool.close()

    async def _ask(self, name: str, probe: Probe) -> None:
        try:
            async with asyncio.timeout(_PROBE_TIMEOUT_S):
                with mapped_by(_by_class):
                    await probe()
        except (PluginError, TimeoutError) as exc:
            if name not in self._down:
                self._down.add(name)
                _log.warning("keep-alive: %s does not answer (%s)", name, exc)
        else:
            if name in self._down:
                self._down.discard(name)
                _log.info("keep-alive: %s answers again", name)


def _by_class(exc: Exception) -> PluginError:
    """A fault of a probe that nobody foresaw. It is told by its class, once for an outage, not at every beat."""
    return PluginError("error_internal", error_id=type(exc).__name__)
