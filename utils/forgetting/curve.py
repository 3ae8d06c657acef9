"""The forgetting curve: how much of a memory is left, and when it will be gone. Pure functions of numbers.

Ebbinghaus (*Über das Gedächtnis*, 1885) found that what is learned fades fast at first and then ever more slowly, and
that what is repeated fades more slowly each time. The usual model of both is exponential: retention = exp(-t / S),
where t is the time since the last repetition and the stability S grows with repetition. Here a repetition is a recall
that matched well: S = S0 * 1.8 ** (recall count * average quality). S0 depends on what kind of memory it is.

How qualities are averaged stands beside the rows that keep the averages (``state.recalls``).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

# S0 in days, by the metadata key `memory_subtype` (SPEC 6): events pass, habits and procedures stay.
BASE_STABILITY_DAYS: Final[Mapping[str, float]] = {"semantic": 45.0, "episodic": 14.0, "procedural": 90.0}
OTHER_BASE_STABILITY_DAYS: Final = 30.0
GROWTH: Final = 1.8  # how many times more stable one recall of quality 1 makes a memory
FORGOTTEN_BELOW: Final = 0.05  # retention


def base_stability_days(memory_subtype: str | None) -> float:
    """S0 of a kind of memory, in days; that of no kind where it has none or another."""
    return BASE_STABILITY_DAYS.get(memory_subtype or "", OTHER_BASE_STABILITY_DAYS)


def recall_strength(recall_count: int, quality_ema: float) -> float:
    """How well a memory has been repeated: its recalls (0 to 6), weighted by their average quality (0..1)."""
    return recall_count * quality_ema


def stability_days(base_days: float, strength: float) -> float:
    """S: days after which 1/e (37 %) of the memory is left.

    Args:
        base_days: S0.
        strength: see :func:`recall_strength`.
    """
    return base_days * math.pow(GROWTH, strength)


def retention(age_days: float, stability: float) -> float:
    """What is left of a memory, 1..0.

    Args:
        age_days: since it was last recalled, or else made. A time in the future (two clocks that differ) is now.
        stability: S in days.
    """
    return math.exp(-max(age_days, 0.0) / stability)


def days_until(level: float, stability: float) -> float:
    """The age in days at which :func:`retention` has come down to ``level`` (0..1, not 0): its inverse."""
    return -stability * math.log(level)
