"""A stand-in for servers that cannot run here: mem0's store interface in memory, with the faults found in them.

It stands for foreign code only; what is tested is how the plugin's own wrapper copes.
"""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any


@dataclass
class AwkwardStore:
    """Rows by id, with a vector each; every attribute below is a fault.

    Attributes:
        answers: most rows any answer holds.
        leaks: the owner is ignored, as if every filter matched.
        ignores_case: so does the owner's letter case.
        cuts_before_filtering: a search cuts at top_k and then looks at the owner.
        merges: an update keeps keys it is not given, in nested objects too.
        hides_listing: listings are empty while searches are not.
        drops_inserts: an insert does nothing.
        answers_nearest: get answers some other row for an unknown id.
        breaks_on_fences: a row whose JSON holds three backticks cannot be read.
        nested_query: search wants a list of vectors.
        late_listings: so many listings still show what was deleted before them.
        down: everything answers as if empty, or raises this.
    """

    answers: int = 1_000_000
    leaks: bool = False
    ignores_case: bool = False
    cuts_before_filtering: bool = False
    merges: bool = False
    hides_listing: bool = False
    drops_inserts: bool = False
    answers_nearest: bool = False
    breaks_on_fences: bool = False
    nested_query: bool = False
    late_listings: int = 0
    down: bool | Exception = False
    collection_name: str = "memories"
    rows: dict[str, tuple[list[float], dict[str, Any]]] = field(default_factory=dict)
    asked: list[int] = field(default_factory=list)
    ghosts: dict[str, tuple[Any, int]] = field(default_factory=dict)

    def insert(self, *, vectors: list[list[float]], payloads: list[dict[str, Any]], ids: list[str]) -> None:
        if self._up() and not self.drops_inserts:
            self.rows.update(zip(ids, zip(vectors, payloads, strict=True), strict=True))

    def search(self, *, query: str, vectors: Any, top_k: int, filters: dict[str, Any]) -> list[Any]:
        self.asked.append(top_k)
        if not self._up():
            return []
        vector = vectors[0] if self.nested_query else vectors
        scored = [self._row(name, _cosine(vector, stored)) for name, (stored, _) in self.rows.items()]
        ranked = sorted(scored, key=lambda row: -row.score)
        if self.cuts_before_filtering:
            ranked = ranked[:top_k]
        return [row for row in ranked if self._matches(row.payload, filters)][: min(top_k, self.answers)]

    def get(self, vector_id: str) -> Any:
        if not self._up():
            return None
        if vector_id in self.rows:
            return self._row(vector_id)
        return self._row(next(iter(self.rows))) if self.answers_nearest and self.rows else None

    def update(self, vector_id: str, vector: list[float], payload: dict[str, Any]) -> None:
        if self._up():
            old = self.rows[vector_id][1] if self.merges else {}
            self.rows[vector_id] = vector, _merged(old, payload)

    def delete(self, vector_id: str) -> None:
        if self._up() and vector_id in self.rows:
            if self.late_listings:
                self.ghosts[vector_id] = self._row(vector_id), self.late_listings
            del self.rows[vector_id]

    def col_info(self, name: str = "") -> dict[str, Any]:
        return {"name": self.collection_name} if self._up() else {}

    def _up(self) -> bool:
        if isinstance(self.down, Exception):
            raise self.down
        return not self.down

    def _row(self, name: str, score: float | None = None) -> Any:
        payload = self.rows[name][1]
        if self.breaks_on_fences and "```" in json.dumps(payload):
            raise json.JSONDecodeError("the text between the fences is no JSON", "", 0)
        return SimpleNamespace(id=name, score=score, payload=copy.deepcopy(payload))

    def _matches(self, payload: Mapping[str, Any], filters: Mapping[str, Any]) -> bool:
        same: Callable[[Any], Any] = (lambda value: str(value).lower()) if self.ignores_case else (lambda value: value)
        return self.leaks or all(same(payload.get(key)) == same(value) for key, value in filters.items())

    def list(self, *, filters: dict[str, Any], top_k: int) -> Any:
        if not self._up() or self.hides_listing:
            return [[]]
        shown = [*map(self._row, self.rows), *(row for row, _ in self.ghosts.values())]
        self.ghosts = {name: (row, more - 1) for name, (row, more) in self.ghosts.items() if more > 1}
        found = [row for row in shown if self._matches(row.payload, filters)]
        return [found[: min(top_k, self.answers)]]


def _cosine(left: list[float], right: list[float]) -> float:
    return sum(a * b for a, b in zip(left, right, strict=True)) / (math.hypot(*left) * math.hypot(*right))


def _merged(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    both = {
        key: _merged(old[key], value) if isinstance(value, dict) and isinstance(old.get(key), dict) else value
        for key, value in new.items()
    }
    return {**old, **both}
