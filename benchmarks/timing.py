"""What a round of calls took, and how rounds of two sides are compared.

The two sides of a comparison take turns, round by round. A ratio is made within each round and the median of the
rounds is reported: what else the machine does comes and goes within seconds and meets both sides of a round alike.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

_SHARE_95: Final = 0.95


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds each call took, and seconds from the first one's start to the last one's end."""

    times_s: list[float]
    wall_s: float

    @property
    def p50_ms(self) -> float:
        """The median, in milliseconds."""
        return statistics.median(self.times_s) * 1000

    @property
    def p95_ms(self) -> float:
        """The 95th percentile (nearest rank), in milliseconds."""
        ordered = sorted(self.times_s)
        return ordered[min(len(ordered) - 1, int(len(ordered) * _SHARE_95))] * 1000

    @property
    def per_s(self) -> float:
        """Calls a second."""
        return len(self.times_s) / self.wall_s


def p50_ms(timing: Timing) -> float:
    """The median of a round, in milliseconds."""
    return timing.p50_ms


def p95_ms(timing: Timing) -> float:
    """The 95th percentile of a round, in milliseconds."""
    return timing.p95_ms


def per_s(timing: Timing) -> float:
    """The calls a second of a round."""
    return timing.per_s


def median[T](rounds: Sequence[T], measure: Callable[[T], float]) -> float:
    """The median over the rounds of ``measure``."""
    return statistics.median(measure(one) for one in rounds)


def ratio[T](ours: Sequence[T], theirs: Sequence[T], measure: Callable[[T], float]) -> float:
    """The median over the rounds of our measure divided by theirs."""
    return statistics.median(measure(one) / measure(other) for one, other in zip(ours, theirs, strict=True))


def alternate[T](rounds: int, *sides: Callable[[int], T]) -> list[list[T]]:
    """The rounds of each side. They take turns; who begins changes from round to round.

    Args:
        rounds: how many.
        sides: each runs one round, given its number.
    """
    taken: list[list[T]] = [[] for _ in sides]
    for number in range(rounds):
        order = range(len(sides)) if number % 2 == 0 else reversed(range(len(sides)))
        for side in order:
            taken[side].append(sides[side](number))
    return taken
