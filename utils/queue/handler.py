"""What stands between the queue and those who know what a write means.

The queue claims, leases, retries and purges; it knows kinds and versions, and nothing of memories. A *handler* carries
out one kind of write. Whoever has handlers puts them together with the credentials they work under and the lane they
run in as a :class:`Service`, and lets a worker serve it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from sqlalchemy import Connection

from utils.aio.lanes import Lane
from utils.queue.lease import Lease
from utils.state.queues import Claim, Known
from utils.state.writes import Write

type Step = Callable[[Connection], None]
type QueueLease = Lease[Claim]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What carrying out a write has come to.

    Attributes:
        result: what is kept of it when its text is erased: ids, events and counts.
        also: what else belongs into the transaction that finishes the write, in order. It runs under the lock on the
            queue's row, after the lease has been compared: what a step changes, only the lease's holder changes.
        forget_queue: nothing is to be kept of the user, not even that there was a queue.
    """

    result: Mapping[str, Any] = field(default_factory=dict)
    also: tuple[Step, ...] = ()
    forget_queue: bool = False


class Handler(Protocol):
    """Carries out one kind of write, any number of times with the effect of once.

    Attributes:
        version: the newest form of payload and plan it knows; older ones it knows, too.
    """

    version: int

    async def __call__(self, write: Write, lease: QueueLease) -> Outcome:
        """Carry out ``write``. Called again from the start after a failure, a crash or a lost lease.

        Args:
            write: as accepted, with its plan if one has been committed.
            lease: to be asked before each change that no transaction guards.

        Raises:
            LeaseLost, Superseded: somebody else decides about the write now.
            PluginError: it failed; ``retry`` decides whether it is tried again.
        """


@dataclass(frozen=True, eq=False, slots=True)
class Service:
    """The handlers of one credential set; compared by identity, as two sets may work under the same fingerprint.

    Attributes:
        fingerprint: the credentials they work under.
        handlers: by kind of write.
        lane: how many queues at once, and the pool for blocking calls.
        log_level: for the lines about their writes.
        until_it_works: a passing fault never ends a write; it is tried again for ever (``retry``).
    """

    fingerprint: str
    handlers: Mapping[str, Handler]
    lane: Lane
    log_level: str = "INFO"
    until_it_works: bool = False

    @property
    def known(self) -> Known:
        """The kinds it can carry out, with the newest version of each."""
        return frozenset((kind, handler.version) for kind, handler in self.handlers.items())
