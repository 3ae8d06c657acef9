"""Milvus: a server, or Milvus Lite over a file, which is a gRPC server inside this process.

A server answers what it knew some seconds ago, unless it is asked for all that was written before (consistency level
``Strong``), as it is here. Servers before 2.5 know no full-text search and refuse the collection that mem0 makes: they
get the one that earlier versions of mem0 made, which mem0 still reads.

mem0's default metric is L2; new collections had better say COSINE. The clients of one file in one process share their
engine by Milvus Lite's own means. A killed process loses nothing; Milvus Lite does not force its log to the disk, so a
power failure may cost the last writes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from utils.mem0.building import build_vector_store, check_vector_store
from utils.stores.mem0.adapter import Config, Hit, StoreAdapter

_DIMS: Final = 1536  # mem0's default
_STRONG: Final = "Strong"
_FULL_TEXT_SINCE: Final = (2, 5)
_LONGEST_ID: Final = 512  # bytes, as mem0 has it
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
        check_vector_store(provider, config)
        if not cls.is_embedded(config):
            _make_plain_collection(config, embedding_dims)
        store = build_vector_store(provider, config, embedding_dims, client)
        store.client.load_collection(store.collection_name)
        return store

    def get(self, memory_id: str) -> Any:
        """The row with this id."""
        return next(iter(self._rows(f"id == {json.dumps(memory_id)}", 1)), None)

    def search(self, vector: list[float], filters: dict[str, Any], top_k: int) -> list[Any]:
        """The nearest rows, their distances by L2 turned round as mem0's class does."""
        (found,) = self.store.client.search(
            self.store.collection_name,
            [vector],
            filter=self.store._create_filter(filters),
            limit=top_k,
            output_fields=["metadata"],
            anns_field="vectors",
            consistency_level=_STRONG,
        )
        is_l2 = self._wanted_metric() == "L2"
        scores = [1.0 / (1.0 + hit["distance"]) if is_l2 else hit["distance"] for hit in found]
        return [Hit(hit["id"], hit["entity"]["metadata"], score) for hit, score in zip(found, scores, strict=True)]

    def list_rows(self, filters: dict[str, Any], limit: int) -> list[Any]:
        """In no order."""
        return self._rows(self.store._create_filter(filters), limit)

    def _rows(self, condition: str, limit: int) -> list[Hit]:
        name, fields = self.store.collection_name, ["id", "metadata"]
        found = self.store.client.query(
            name, filter=condition, limit=limit, output_fields=fields, consistency_level=_STRONG
        )
        return [Hit(row["id"], row["metadata"]) for row in found]

    def _wanted_metric(self) -> str:
        return str(self.config.get("metric_type") or "L2")

    def scan(self, filters: dict[str, Any], after_id: str | None, limit: int) -> list[Any]:
        """An iterator goes by id, which a query with a limit does not promise."""
        after = [] if after_id is None else [f"id > {json.dumps(after_id)}"]
        pages = self.store.client.query_iterator(
            collection_name=self.store.collection_name,
            filter=" and ".join([self.store._create_filter(filters), *after]),
            batch_size=limit,
            limit=limit,
            output_fields=["id", "metadata"],
            consistency_level=_STRONG,
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
        wanted_l2 = self._wanted_metric() == "L2"
        return None if is_l2 == wanted_l2 else "L2" if is_l2 else "COSINE"

    def delete(self, ids: Sequence[str]) -> None:
        """All in one request."""
        self.store.client.delete(collection_name=self.store.collection_name, ids=list(ids))

    def _vector_field(self) -> Mapping[str, Any]:
        fields = self.store.client.describe_collection(self.store.collection_name)["fields"]
        return next((field["params"] for field in fields if field["name"] == "vectors"), {})


def _make_plain_collection(config: Config, embedding_dims: int | None) -> None:
    """The collection without full text, where there is none and the server is an older one."""
    from pymilvus import DataType, MilvusClient

    name = str(config.get("collection_name") or "mem0")
    client = MilvusClient(
        uri=str(config["url"]), token=str(config.get("token") or ""), db_name=str(config.get("db_name") or "")
    )
    try:
        if _version(client.get_server_version()) >= _FULL_TEXT_SINCE or client.has_collection(name):
            return
        schema = client.create_schema(enable_dynamic_field=True)
        dims = int(config.get("embedding_model_dims") or embedding_dims or _DIMS)
        schema.add_field("id", DataType.VARCHAR, is_primary=True, max_length=_LONGEST_ID)
        schema.add_field("vectors", DataType.FLOAT_VECTOR, dim=dims)
        schema.add_field("metadata", DataType.JSON)
        index = client.prepare_index_params()
        metric = str(config.get("metric_type") or "L2")
        index.add_index("vectors", metric_type=metric, index_type="AUTOINDEX", index_name="vector_index")
        client.create_collection(name, schema=schema, index_params=index, consistency_level=_STRONG)
    finally:
        client.close()


def _version(told: str) -> tuple[int, ...]:
    """``2.3.5-dev`` as numbers; of one that says nothing of the kind, the newest."""
    found = re.match(r"v?(\d+)\.(\d+)", told)
    return (int(found[1]), int(found[2])) if found else _FULL_TEXT_SINCE
