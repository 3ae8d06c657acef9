"""Chroma: a server, or embedded over a folder.

The clients of one folder in one process share their engine by Chroma's own means. A killed process loses nothing.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from typing import Any

from utils.stores.mem0.adapter import Config, Hit, StoreAdapter


class Chroma(StoreAdapter):
    """Chroma's updates merge, and it keeps no nested metadata."""

    merges = True
    packs = "nested"
    scans = True

    @classmethod
    def is_embedded(cls, config: Config) -> bool:
        """Embedded, unless a server is named."""
        return not any(config.get(key) for key in ("host", "api_key"))

    def search(self, vector: list[float], filters: dict[str, Any], top_k: int) -> list[Any]:
        """By Chroma's index, which misses rows of owners who have few; then each of theirs is compared."""
        hits = super().search(vector, filters, top_k)
        if len(hits) >= top_k:
            return hits
        where = self.store._generate_where_clause(filters)
        known = self.store.collection.get(where=where, include=[])["ids"]
        return hits if len(hits) == len(known) else self._exact_search(vector, where, top_k)

    def scan(self, filters: dict[str, Any], after_id: str | None, limit: int) -> list[Any]:
        """Chroma has no order by id: each page reads all of the owner's ids, and the payloads of its own rows only."""
        where = self.store._generate_where_clause(filters)
        known = self.store.collection.get(where=where, include=[])["ids"]
        page = sorted(name for name in known if after_id is None or name > after_id)[:limit]
        if not page:
            return []
        found = self.store.collection.get(ids=page, include=["metadatas"])
        hits = map(Hit, found["ids"], found["metadatas"])
        return sorted(hits, key=lambda hit: hit.id)

    def dims(self) -> int | None:
        """As the first row has it; a collection without rows takes any length."""
        found = self.store.collection.get(limit=1, include=["embeddings"])["embeddings"]
        return len(found[0]) if found is not None and len(found) else None

    def delete(self, ids: Sequence[str]) -> None:
        """All in one call."""
        self.store.collection.delete(ids=list(ids))

    def _exact_search(self, vector: list[float], where: dict[str, Any], top_k: int) -> list[Hit]:
        found = self.store.collection.get(where=where, include=["embeddings", "metadatas"])
        scores = [1.0 / (1.0 + math.dist(vector, stored) ** 2) for stored in found["embeddings"]]  # as mem0's class
        hits = map(Hit, found["ids"], found["metadatas"], scores)
        return heapq.nlargest(top_k, hits, key=lambda hit: hit.score or 0.0)
