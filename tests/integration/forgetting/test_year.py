"""A simulated year: which memories live and die is what the formulas of SPEC 6 say, computed here a second time."""

from __future__ import annotations

import math
import random
from datetime import UTC, datetime
from typing import Any, Final

from tests.integration.forgetting.conftest import Place
from utils.stores.protocol import Row

DAY: Final = 86_400.0
START: Final = datetime(2025, 11, 24, 6, tzinfo=UTC).timestamp()
EVERY_DAYS: Final = {"daily": 1, "weekly": 7, "once": 400}  # how often a user asks
BASES: Final = {"semantic": 45.0, "episodic": 14.0, "procedural": 90.0, None: 30.0}


class Model:
    """One memory, by the contract's words: a list of its recalls and nothing else."""

    def __init__(self, made: float, subtype: str | None) -> None:
        self.made, self.subtype = made, subtype
        self.recalls: list[tuple[float, float]] = []

    def forgotten(self, now: float) -> bool:
        average, counted = 0.0, [quality for _, quality in self.recalls if quality >= 0.5]
        for number, quality in enumerate(counted):
            average = quality if number == 0 else 0.3 * quality + 0.7 * average
        last = max((when for when, quality in self.recalls if quality >= 0.5), default=self.made)
        stability = BASES[self.subtype] * 1.8 ** (min(len(counted), 6) * average)
        return math.exp(-((now - last) / DAY) / stability) < 0.05


async def test_a_year(place: Place) -> None:
    chance = random.Random(15)
    known: dict[str, dict[str, tuple[Row, Model]]] = {user: {} for user in EVERY_DAYS}
    died: dict[str, set[Any]] = {user: set() for user in EVERY_DAYS}
    for day in range(365):
        now = START + day * DAY
        for user, memories in known.items():
            if day % 60 == 0:  # news of all kinds
                for subtype in BASES:
                    kind = {} if subtype is None else {"memory_subtype": subtype}
                    row = await place.add(user, now, **kind)
                    memories[row.id] = (row, Model(now, subtype))
            asks = day % EVERY_DAYS[user] == 0
            for row, model in chance.sample(list(memories.values()), min(2, len(memories))) if asks else ():
                quality = chance.uniform(0.3, 0.9)
                place.log.add(user, [Row(row.id, row.payload, quality)], now)
                model.recalls.append((now, quality))
            if day % 28 == 27:
                await place.log.flush()
                counts = await place.forget(user, now + DAY / 2)
                gone = {each for each, (_, model) in memories.items() if model.forgotten(now + DAY / 2)}
                assert counts["deleted_count"] == len(gone), (day, user)
                died[user] |= {memories.pop(each)[1].subtype for each in gone}
                assert counts["retained_count"] == len(memories)
                assert await place.left(user) == memories.keys(), (day, user)
    survivors = {user: len(memories) for user, memories in known.items()}
    assert survivors["daily"] > survivors["weekly"] > survivors["once"] > 0, survivors
    assert "episodic" in died["once"] and None in died["once"]
