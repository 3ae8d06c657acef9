"""Elasticsearch and OpenSearch: what mem0's classes keep there, read and written by their clients' own calls.

mem0's classes of both cannot be relied on (run on Elasticsearch 8.15 and OpenSearch 2.19): what they write is not found
for a second, an update keeps what the new payload does not have, an outage looks like an unknown id, one user's
metadata fix the type of everybody's, and on OpenSearch a repeated insert doubles the row, an id beyond 256 characters
is never found, and the index they make is refused by OpenSearch 3. So only their format is kept. Whoever changes a row
has it found by the next read: the index is refreshed with every change. Metadata go into one text, under no field of
their own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final

from utils.mem0.building import build_vector_store, check_vector_store
from utils.stores.errors import rejected
from utils.stores.mem0.adapter import Config, Hit, StoreAdapter

_DIMS: Final = 1536  # mem0's default
_MOST_ROWS: Final = 10_000  # ``index.max_result_window``, and the most candidates of a search
_LEAST_CANDIDATES: Final = 100  # fewer make the graph miss near rows
_TIMEOUT_S: Final = 30.0
_LONGEST_ID: Final = 8_191  # characters of a keyword, whatever their bytes: Lucene's terms end at 32,766
_SCOPE_IDS: Final = ("user_id", "agent_id", "run_id")


class _SearchEngine(StoreAdapter):
    """What both have in common.

    Attributes:
        vector_field: where a document has its vector.
        payload_field: where it has mem0's payload.
    """

    search_cap = _MOST_ROWS
    list_cap = _MOST_ROWS
    packs = "all"
    vector_field: ClassVar[str]
    payload_field: ClassVar[str]

    def list_rows(self, filters: dict[str, Any], limit: int) -> list[Any]:
        """In no order."""
        return self._hits({"size": limit, "query": self._owned_by(filters)})

    def dims(self) -> int | None:
        """As the index was made."""
        found = self._client.indices.get_mapping(index=self._index)
        (mappings,) = (each["mappings"] for each in dict(found).values())
        field = mappings.get("properties", {}).get(self.vector_field, {})
        dims = field.get("dims", field.get("dimension"))
        return None if dims is None else int(dims)

    def insert(self, ids: list[str], vectors: list[list[float]], payloads: list[dict[str, Any]]) -> None:
        """All in one request, each under its own id, so that a repeated one changes nothing."""
        lines: list[dict[str, Any]] = []
        for memory_id, vector, payload in zip(ids, vectors, payloads, strict=True):
            lines += [{"index": {"_id": memory_id}}, self._document(memory_id, vector, payload)]
        self._change(lines)

    # -- for both

    @property
    def _client(self) -> Any:
        return self.store.client

    @property
    def _index(self) -> str:
        return str(self.store.collection_name)

    def _document(self, memory_id: str, vector: list[float], payload: Mapping[str, Any]) -> dict[str, Any]:
        raise NotImplementedError

    def _owned_by(self, filters: Mapping[str, Any]) -> dict[str, Any]:
        return {"bool": {"filter": [{"term": {self._keyword(key): value}} for key, value in filters.items()]}}

    def _keyword(self, key: str) -> str:
        """The field by which an owner's id is compared as a whole."""
        return f"{self.payload_field}.{key}"

    def _change(self, lines: Sequence[Mapping[str, Any]]) -> None:
        """Carry a bulk out, and have it found by whoever reads next.

        Raises:
            ServiceRejected: the engine did not take one of them.
        """
        answer = self._client.bulk(index=self._index, body=list(lines), refresh=True)
        done = [next(iter(item.values())) for item in answer["items"]]
        failed = next((each for each in done if "error" in each), None)
        if failed is not None:
            raise rejected("service_rejected", f"{failed['error'].get('type')} {failed['status']}")

    def _hits(self, body: Mapping[str, Any], query: Sequence[float] = ()) -> list[Hit]:
        found = self._client.search(index=self._index, body=dict(body))["hits"]["hits"]
        return [self._hit(each, query) for each in found]

    def _hit(self, found: Mapping[str, Any], query: Sequence[float] = ()) -> Hit:
        """A row. Its score is of its whole vector: what the index compares may be rounded to bytes."""
        source = found.get("_source", {})
        score = (1.0 + _cosine(query, source[self.vector_field])) / 2.0 if query else None
        return Hit(self._id_of(found), source.get(self.payload_field, {}), score)

    def _id_of(self, found: Mapping[str, Any]) -> str:
        return str(found["_id"])


class Elasticsearch(_SearchEngine):
    """A user's memories beyond ten thousand cannot be listed. ``api_key`` counts with ``cloud_id`` only."""

    vector_field = "vector"
    payload_field = "metadata"

    @classmethod
    def build(cls, provider: str, config: Config, embedding_dims: int | None, client: Any) -> Any:
        """mem0's object; its index is made here, unless ``auto_create_index`` forbids it."""
        store = build_vector_store(provider, {**config, "auto_create_index": False}, embedding_dims, client)
        store.client = store.client.options(request_timeout=_TIMEOUT_S)
        if config.get("auto_create_index", True):
            vector = {"type": "dense_vector", "dims": store.embedding_model_dims, "index": True, "similarity": "cosine"}
            fields = {"vector": vector, "metadata": {"properties": {name: {"type": "keyword"} for name in _SCOPE_IDS}}}
            _make_index(store.client, store.collection_name, {"mappings": {"properties": fields}})
        return store

    def get(self, memory_id: str) -> Any:
        """By id, which needs no refresh."""
        found = self._client.options(ignore_status=404).get(index=self._index, id=memory_id)
        return self._hit(found) if found.get("found") else None

    def search(self, vector: list[float], filters: dict[str, Any], top_k: int) -> list[Any]:
        """By the index's graph, among the owner's rows only."""
        candidates = min(max(2 * top_k, _LEAST_CANDIDATES), _MOST_ROWS)
        knn = {"field": self.vector_field, "query_vector": vector, "k": top_k, "num_candidates": candidates}
        return self._hits({"size": top_k, "knn": {**knn, "filter": self._owned_by(filters)}}, vector)

    def update(self, memory_id: str, vector: list[float], payload: dict[str, Any]) -> None:
        """The whole document anew: an engine's own update keeps fields."""
        self.insert([memory_id], [vector], [payload])

    def delete(self, ids: Sequence[str]) -> None:
        """All in one request; an id that is not there is no error."""
        self._change([{"delete": {"_id": memory_id}} for memory_id in ids])

    def _document(self, memory_id: str, vector: list[float], payload: Mapping[str, Any]) -> dict[str, Any]:
        return {"vector": vector, "metadata": payload}


class Opensearch(_SearchEngine):
    """Needs the k-NN plugin, which every distribution has. Searches compare all of a user's rows, exactly."""

    vector_field = "vector_field"
    payload_field = "payload"
    scans = True

    @classmethod
    def build(cls, provider: str, config: Config, embedding_dims: int | None, client: Any) -> Any:
        """What mem0's object would have, without its constructor: that makes an index OpenSearch 3 refuses."""
        check_vector_store(provider, config)
        dims = int(config.get("embedding_model_dims") or embedding_dims or _DIMS)
        store = _OpensearchIndex(config)
        method = {"engine": "lucene", "name": "hnsw", "space_type": "cosinesimil"}
        fields = {
            "vector_field": {"type": "knn_vector", "dimension": dims, "method": method},
            "id": {"type": "keyword"},
            **_SCOPES,
        }
        settings = {"index": {"knn": True}}
        _make_index(store.client, store.collection_name, {"settings": settings, "mappings": {"properties": fields}})
        # an index of mem0's own finds no id beyond 256 characters
        store.client.indices.put_mapping(index=store.collection_name, body={"properties": _SCOPES})
        return store

    def get(self, memory_id: str) -> Any:
        """By mem0's own field: the document's id is the memory's only where the plugin wrote it."""
        return next(iter(self._hits({"size": 1, "query": {"term": {"id": memory_id}}})), None)

    def search(self, vector: list[float], filters: dict[str, Any], top_k: int) -> list[Any]:
        """Each of the owner's rows compared: the engines' graphs look at the owner too late, or not everywhere."""
        params = {"field": self.vector_field, "query_value": vector, "space_type": "cosinesimil"}
        script = {"source": "knn_score", "lang": "knn", "params": params}
        scored = {"script_score": {"query": self._owned_by(filters), "script": script}}
        return self._hits({"size": top_k, "query": scored}, vector)

    def scan(self, filters: dict[str, Any], after_id: str | None, limit: int) -> list[Any]:
        """By mem0's field ``id``, which both kinds of documents have."""
        query = self._owned_by(filters)
        if after_id is not None:
            query["bool"]["filter"].append({"range": {"id": {"gt": after_id}}})
        return self._hits({"size": min(limit, _MOST_ROWS), "query": query, "sort": ["id"]})

    def update(self, memory_id: str, vector: list[float], payload: dict[str, Any]) -> None:
        """The whole document anew, wherever it is."""
        query = {"size": 1, "query": {"term": {"id": memory_id}}, "_source": False}
        found = self._client.search(index=self._index, body=query)["hits"]["hits"]
        if found:
            self._change([{"index": {"_id": found[0]["_id"]}}, self._document(memory_id, vector, payload)])

    def delete(self, ids: Sequence[str]) -> None:
        """By mem0's field, so that what was stored twice goes twice."""
        query = {"size": _MOST_ROWS, "query": {"terms": {"id": list(ids)}}, "_source": False}
        found = self._client.search(index=self._index, body=query)["hits"]["hits"]
        if found:
            self._change([{"delete": {"_id": each["_id"]}} for each in found])

    def _document(self, memory_id: str, vector: list[float], payload: Mapping[str, Any]) -> dict[str, Any]:
        return {"vector_field": vector, "payload": payload, "id": memory_id}

    def _keyword(self, key: str) -> str:
        return f"{self.payload_field}.{key}.keyword"

    def _id_of(self, found: Mapping[str, Any]) -> str:
        return str(found["_source"]["id"])


_KEYWORD: Final = {"type": "text", "fields": {"keyword": {"type": "keyword", "ignore_above": _LONGEST_ID}}}
_SCOPES: Final = {"payload": {"properties": dict.fromkeys(_SCOPE_IDS, _KEYWORD)}}


class _OpensearchIndex:
    """The client and the index's name, as mem0's class has them."""

    def __init__(self, config: Config) -> None:
        from opensearchpy import OpenSearch, RequestsHttpConnection

        login = (config["user"], config["password"]) if config.get("user") and config.get("password") else None
        self.collection_name = str(config.get("collection_name") or "mem0")
        self.client = OpenSearch(
            hosts=[{"host": config["host"], "port": int(config.get("port") or 9200)}],
            http_auth=config.get("http_auth") or login,
            use_ssl=bool(config.get("use_ssl")),
            verify_certs=bool(config.get("verify_certs")),
            connection_class=RequestsHttpConnection,
            pool_maxsize=int(config.get("pool_maxsize") or 20),
            timeout=_TIMEOUT_S,
        )


def _make_index(client: Any, name: str, body: Mapping[str, Any]) -> None:
    """An index under ``name``, unless there is one; another process may make it at the same moment."""
    if client.indices.exists(index=name):
        return
    try:
        client.indices.create(index=name, body=dict(body))
    except Exception:
        if not client.indices.exists(index=name):
            raise


def _cosine(one: Sequence[float], other: Sequence[float]) -> float:
    lengths = math.hypot(*one) * math.hypot(*other)
    return math.sumprod(one, other) / lengths if lengths else 0.0
