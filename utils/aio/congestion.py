"""How many calls the process takes in at once: as many as wait hardly longer than they work.

The process has one thread. When more calls come than it can carry, every call waits for every other; a limit by count
alone lets a large set pile up a second of waiting. So the limit follows the queueing delay, measured as the time from
handing a call to the loop to its first step there. A burst is let pass: only where even the shortest delay of an
interval is too long is there a standing queue (CoDel, RFC 8289), and then the limit falls to a share of the calls under
way; in a calm interval it grows again (additive increase, multiplicative decrease, as TCP's window). Calls that only
wait, for a slow model or store, cause no such delay and are not limited here.

A refused call costs a fraction of one that is carried out, and is answered at once. What can wait best is refused
first: each kind of call may use a share of the limit. Used from the callers' threads and from the loop.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
import time
from collections.abc import Callable
from typing import Final

from utils.errors import Overloaded

INTERVAL_S: Final = 0.1  # RFC 8289, section 4.2: about the longest round trip, here a search's
TARGET_S: Final = 0.010  # a call takes some ten turns on the loop: so much on each is a tenth of a second in all
LEAST_CALLS: Final = 40  # never refused for delay: as many as a set of the default width lets in (SPEC 4)
_DECREASE: Final = 0.8
_INCREASE: Final = 0.1
_UNLIMITED: Final = 1_000.0


class Place:
    """One call under way; left once, by whoever knows first that the call only waits from here on."""

    def __init__(self, congestion: Congestion) -> None:
        self._congestion: Congestion | None = congestion

    def leave(self) -> None:
        """The call is done, or needs the process no longer. Idempotent."""
        congestion, self._congestion = self._congestion, None
        if congestion is not None:
            congestion.left()


class Congestion:
    """The calls of one kind under way in this process, and their limit.

    Args:
        clock: seconds from any beginning, never back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._under_way = 0
        self._limit = _UNLIMITED
        self._interval_began = clock()
        self._shortest_delay_s: float | None = None
        self._congested = False

    def enter(self, share: float = 1.0) -> Place:
        """A place for one call.

        Args:
            share: of the limit that calls of this kind may use; the lower, the sooner they are refused.

        Raises:
            Overloaded: there is a standing queue, and no place. Nothing has been started.
        """
        with self._lock:
            self._look(self._clock())
            if self._under_way >= max(self._limit * share, LEAST_CALLS * share):
                raise Overloaded("error_congested")
            self._under_way += 1
        return Place(self)

    def delayed(self, delay_s: float) -> None:
        """A call waited ``delay_s`` seconds for its first step."""
        with self._lock:
            if self._shortest_delay_s is None or delay_s < self._shortest_delay_s:
                self._shortest_delay_s = delay_s

    def left(self) -> None:
        """See :meth:`Place.leave`."""
        with self._lock:
            self._under_way -= 1

    def standing_queue(self) -> bool:
        """Whether calls waited too long in the last interval."""
        with self._lock:
            self._look(self._clock())
            return self._congested

    def _look(self, now: float) -> None:
        """At the end of an interval, set the limit by its shortest delay. An interval without a call was calm."""
        if now - self._interval_began < INTERVAL_S:
            return
        self._congested = self._shortest_delay_s is not None and self._shortest_delay_s > TARGET_S
        self._interval_began, self._shortest_delay_s = now, None
        if self._congested:
            self._limit = max(float(LEAST_CALLS), min(self._limit, self._under_way) * _DECREASE)
        else:
            self._limit = min(self._limit * (1 + _INCREASE), _UNLIMITED)


# Of this process, whose calls share one thread whichever credentials they bring. Apart, as their lanes are: a flood of
# writes refuses no search.
reads: Final = Congestion()
writes: Final = Congestion()

# The place of the call in progress; tasks it starts inherit it.
current: contextvars.ContextVar[Place | None] = contextvars.ContextVar("place", default=None)


async def calm(most_s: float) -> None:
    """Return when no call waits too long, or after ``most_s`` seconds; for work that nobody waits for."""
    for _ in range(round(most_s / INTERVAL_S)):
        if not (reads.standing_queue() or writes.standing_queue()):
            return
        await asyncio.sleep(INTERVAL_S)


def leave_place() -> None:
    """The call in progress needs the process no longer: what it waits for is done elsewhere."""
    place = current.get()
    if place is not None:
        place.leave()
