"""What the process holds at this moment, in counts: for whoever watches a plugin that has run for weeks.

``kill -USR1 PID`` has it written into the log as one line. Memory, threads and file descriptors are not among them: the
system tells those from outside. Greenlets and tasks it does not know.
"""

from __future__ import annotations

import gc
import logging
import re
import threading
from typing import Final, NamedTuple

import gevent

_log = logging.getLogger(__name__)

_WORKER: Final = re.compile(r"_\d+$")


class Vitals(NamedTuple):
    """Counts of what a leak would let grow.

    Attributes:
        greenlets: that have begun and not ended, without workers.
        workers: of pools, the SDK's and the lanes'. A pool keeps as many as it once needed.
        tasks: of the loop.
        open_sets: credential sets that are open.
        closing_sets: those that are being drained.
        stores: vector stores that are open; sets that reach the same one share it.
        state_stores: state stores that are open.
    """

    greenlets: int
    workers: int
    tasks: int
    open_sets: int
    closing_sets: int
    stores: int
    state_stores: int

    def __str__(self) -> str:
        return " ".join(f"{name}={value}" for name, value in self._asdict().items())


def running_greenlets() -> int:
    """How many greenlets have begun and not ended. Goes through all objects there are: not for every call."""
    return sum(1 for each in gc.get_objects() if isinstance(each, gevent.Greenlet) and bool(each))


def pool_workers() -> int:
    """How many threads (greenlets, under gevent) belong to an executor: those are numbered behind its name."""
    return sum(1 for each in threading.enumerate() if _WORKER.search(each.name))


def tell(vitals: Vitals) -> None:
    """Write them into the log."""
    _log.info("vitals: %s", vitals)
