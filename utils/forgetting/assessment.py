"""What the forgetting curve says of one memory, and whether it is forgotten: the numbers a dry run shows.

Pure: the present is passed in. What cannot be read counts for the memory: without a time of creation it is as if made
now.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from utils.forgetting import curve
from utils.state.recalls import Recall
from utils.stores.protocol import Row
from utils.stores.values import instant

_DAY_S: Final = 86_400.0
_DIGITS: Final = 6


@dataclass(frozen=True, slots=True)
class Assessment:
    """One memory as the curve sees it at one moment.

    Attributes:
        recall_count: recalls that count, 0 to 6.
        quality_ema: their average quality, 0..1; 0 without any.
        recall_strength: see ``curve.recall_strength``.
        stability_days: S.
        age_days: since it was last recalled, or else made.
        age_since_created_days: since it was made.
        retention: what is left of it, 0..1.
        ttl_expired: it is older than any memory may be.
        pinned: it is kept whatever its age.
        memory_subtype: semantic, episodic, procedural; None for any other.
        s0_used: S0 in days.
        days_left: until it is forgotten, whichever way; below 0 when it is already, None when it is pinned.
    """

    recall_count: int
    quality_ema: float
    recall_strength: float
    stability_days: float
    age_days: float
    age_since_created_days: float
    retention: float
    ttl_expired: bool
    pinned: bool
    memory_subtype: str | None
    s0_used: float
    days_left: float | None

    @property
    def forget(self) -> bool:
        """Whether it is to be deleted."""
        return not self.pinned and (self.ttl_expired or self.retention < curve.FORGOTTEN_BELOW)

    def to_json(self) -> dict[str, Any]:
        """``retention_info`` of SPEC 3.1."""
        numbers = (
            "quality_ema",
            "recall_strength",
            "stability_days",
            "age_days",
            "age_since_created_days",
            "retention",
        )
        return {
            "recall_count": self.recall_count,
            **{name: round(getattr(self, name), _DIGITS) for name in numbers},
            "ttl_expired": self.ttl_expired,
            "forget": self.forget,
            "memory_subtype": self.memory_subtype,
            "s0_used": self.s0_used,
        }


def assess(row: Row, recall: Recall | None, now_s: float, ttl_days: int | None) -> Assessment:
    """The curve's view of a memory.

    Args:
        row: the memory as stored.
        recall: what is recorded of its recalls.
        now_s: the present, in seconds since the epoch.
        ttl_days: age at which a memory goes whatever its recalls; None: at none.
    """
    created = instant(row.created_at)
    created_age = 0.0 if created is None else max(0.0, now_s - created.total_seconds()) / _DAY_S
    age = created_age if recall is None else max(0.0, now_s - recall.last_recalled_at) / _DAY_S
    count, quality = (0, 0.0) if recall is None else (recall.recall_count, recall.quality_ema)
    subtype = row.payload.get("memory_subtype")
    known = subtype if isinstance(subtype, str) and subtype in curve.BASE_STABILITY_DAYS else None
    base, strength = curve.base_stability_days(known), curve.recall_strength(count, quality)
    stability = curve.stability_days(base, strength)
    pinned = row.payload.get("pinned") is True
    by_curve = curve.days_until(curve.FORGOTTEN_BELOW, stability) - age
    by_age = by_curve if ttl_days is None else ttl_days - created_age
    return Assessment(
        recall_count=count,
        quality_ema=quality,
        recall_strength=strength,
        stability_days=stability,
        age_days=age,
        age_since_created_days=created_age,
        retention=curve.retention(age, stability),
        ttl_expired=ttl_days is not None and created_age > ttl_days,
        pinned=pinned,
        memory_subtype=known,
        s0_used=base,
        days_left=None if pinned else min(by_curve, by_age),
    )
