"""Milvus: a server, or Milvus Lite over a file, which is a gRPC server inside this process.

mem0's default metric is L2; new collections had better say COSINE. The clients of one file in one process share their
engine by Milvus Lite's own means. A killed process loses nothing; Milvus Lite does not force its log to the disk, so a
power failure may cost the last writes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from utils.stores.mem0.adapter import Config, Hit, StoreAdapter

_SAME_VECTOR: Final = 0.01  # more than rounding makes of a distance of 0, far less than a cosine of 1


class Milvus(StoreAdapter):
    """Milvus answers at most 16,384 rows at once."""

    grpc = True  # with a file, too
    search_cap = 16_384
    list_cap = 16_384
    scans = True

    @classmethod
    def is_embedded(cls, config: Config) -> bool:
        """Embedded over whatever is no URL."""
        return "url" in config and "://" not in str(config["url"])

    @classmethod
    def build(cls, provider: str, config: Config, embedding_dims: int | None, client: Any) -> Any:
        """mem0's object, its collection loaded: in a new process Milvus Lite answers nothing before that."""
        store = super().build(provider, config, embedding_dims, client)
        store.client.load_collection(store.collection_name)
        return store

    def scan(self, filters: dict[str, Any], after_id: str | None, limit: int) -> list[Any]:
        """An iterator goes by id, which a query with a limit does not promise."""
        after = [] if after_id is None else [f"id > {json.dumps(after_id)}"]
        pages = self.store.client.query_iterator(
            collection_name=self.store.collection_name,
            filter=" and ".join([self.store._create_filter(filters), *after]),
            batch_size=limit,
            limit=limit,
            output_fields=["id", "metadata"],
        )
        try:
            found = pages.next()
        finally:
            pages.close()
        return sorted((Hit(row["id"], row["metadata"]) for row in found), key=lambda hit: hit.id)

    def dims(self) -> int | None:
        """As the collection was created."""
        dims = self._vector_field().get("dim")
        return None if dims is None else int(dims)

    def metric(self) -> str | None:
        """Found by asking with a vector that is there, as Milvus Lite describes no index beside another: L2 answers
        0.
        """
        client, name = self.store.client, self.store.collection_name
        stored = client.query(collection_name=name, limit=1, output_fields=["vectors"])
        if not stored:
            return None
        found = client.search(name, [stored[0]["vectors"]], limit=1, anns_field="vectors")
        is_l2 = abs(found[0][0]["distance"]) < _SAME_VECTOR
        wanted_l2 = str(self.config.get("metric_type") or "L2") == "L2"
        return None if is_l2 == wanted_l2 else "L2" if is_l2 else "COSINE"

    def delete(self, ids: Sequence[str]) -> None:
        """All in one request."""
        self.store.client.delete(collection_name=self.store.collection_name, ids=list(ids))

    def _vector_field(self) -> Mapping[str, Any]:
        fields = self.store.client.describe_collection(self.store.collection_name)["fields"]
        return next((field["params"] for field in fields if field["name"] == "vectors"), {})
