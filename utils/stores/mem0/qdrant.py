"""Qdrant: a server, or embedded over a folder that admits one client.

Embedded, it serves one process and its searches grow slower with every row. Each row is one SQLite transaction, so a
killed process loses nothing that was accepted.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from utils.stores.mem0.adapter import Config, StoreAdapter
from utils.stores.mem0.pushdown import equalities

if TYPE_CHECKING:
    from utils.stores.filters import Condition


class Qdrant(StoreAdapter):
    """Qdrant's client can do what mem0's class leaves out: it deletes many rows at once and begins a page at an id."""

    scans = True

    @classmethod
    def is_embedded(cls, config: Config) -> bool:
        """Embedded, unless a server is named."""
        return not any(config.get(key) for key in ("url", "host", "api_key"))

    @classmethod
    def shared_folder(cls, config: Config) -> str | None:
        """The folder, which Qdrant locks; without one mem0 takes a place under ``/tmp``."""
        return os.path.realpath(config.get("path") or "/tmp/qdrant") if cls.is_embedded(config) else None  # noqa: S108

    @classmethod
    def open_client(cls, folder: str) -> Any:
        """A client over the folder, not bound to a collection."""
        from qdrant_client import QdrantClient

        # mem0 takes a client it is given for a server's and asks for indexes, which an embedded one only warns of.
        warnings.filterwarnings("ignore", message="Payload indexes have no effect", category=UserWarning)
        return QdrantClient(path=folder)

    def scan(self, filters: dict[str, Any], after_id: str | None, limit: int) -> list[Any]:
        """Qdrant's own order is by id, and its pages begin with the id they are given."""
        records, _ = self.store.client.scroll(
            collection_name=self.store.collection_name,
            scroll_filter=self.store._create_filter(filters),
            limit=limit + (after_id is not None),
            offset=after_id,
            with_payload=True,
        )
        return [record for record in records if after_id is None or str(record.id) > after_id][:limit]

    def pushdown(self, condition: Condition) -> dict[str, Any]:
        """It compares texts and booleans as the plugin does."""
        return equalities(condition)

    def dims(self) -> int | None:
        """As the collection was created."""
        return getattr(self._vectors(), "size", None)

    def metric(self) -> str | None:
        """Cosine is mem0's only choice."""
        distance = getattr(self._vectors(), "distance", None)
        return None if distance is None or distance == "Cosine" else str(distance)

    def delete(self, ids: Sequence[str]) -> None:
        """All in one request."""
        self.store.client.delete(collection_name=self.store.collection_name, points_selector=list(ids))

    def _vectors(self) -> Any:
        vectors = self.store.client.get_collection(self.store.collection_name).config.params.vectors
        return vectors.get("") if isinstance(vectors, dict) else vectors
