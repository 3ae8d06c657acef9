"""Sets of whole seconds as merged intervals: which part of a history was asked for, which is done, which is left.

Dify stores the times of messages in whole seconds (SPEC 5), so a set of them says exactly what a second's range holds,
whichever way it grew. Values are frozen; every operation gives a new one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Self


@dataclass(frozen=True, slots=True)
class Intervals:
    """A set of whole epoch seconds.

    Attributes:
        spans: half-open ``(start, end)`` pairs in order; they neither overlap nor touch, and none is empty. Make
            values by :meth:`of`, which sees to that.
    """

    spans: tuple[tuple[int, int], ...] = ()

    @classmethod
    def of(cls, spans: Iterable[Sequence[int]]) -> Self:
        """The seconds of any ``(start, end)`` pairs, in any order; a pair that ends before it starts is empty."""
        merged: list[tuple[int, int]] = []
        for start, end in sorted((start, end) for start, end in spans if start < end):
            if merged and start <= merged[-1][1]:
                merged[-1] = (merged[-1][0], max(merged[-1][1], end))
            else:
                merged.append((start, end))
        return cls(tuple(merged))

    @classmethod
    def between(cls, start: int, end: int) -> Self:
        """The seconds from ``start`` to before ``end``."""
        return cls.of([(start, end)])

    def __bool__(self) -> bool:
        return bool(self.spans)

    def __contains__(self, second: object) -> bool:
        return isinstance(second, int) and any(start <= second < end for start, end in self.spans)

    def __or__(self, other: Intervals) -> Intervals:
        return Intervals.of((*self.spans, *other.spans))

    def __and__(self, other: Intervals) -> Intervals:
        return Intervals.of((max(start, low), min(end, high)) for start, end in self.spans for low, high in other.spans)

    def __sub__(self, other: Intervals) -> Intervals:
        return Intervals.of(left for span in self.spans for left in _without(span, other.spans))

    @property
    def start(self) -> int:
        """The first second.

        Raises:
            IndexError: there is none.
        """
        return self.spans[0][0]

    @property
    def end(self) -> int:
        """The second after the last one.

        Raises:
            IndexError: there is none.
        """
        return self.spans[-1][1]

    def before(self, second: int) -> Intervals:
        """The seconds before ``second``."""
        return Intervals.of((start, min(end, second)) for start, end in self.spans)

    def since(self, second: int) -> Intervals:
        """The seconds from ``second`` on."""
        return Intervals.of((max(start, second), end) for start, end in self.spans)

    def to_json(self) -> list[list[int]]:
        """As the state store keeps it; :meth:`of` reads it."""
        return [list(span) for span in self.spans]


NOTHING: Final = Intervals()


def _without(span: tuple[int, int], holes: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """What of ``span`` lies between the holes, which are in order."""
    start, end = span
    for low, high in holes:
        yield start, min(low, end)
        start = max(start, high)
    yield start, end
