"""Redis and Valkey, each with its query engine: mem0's hashes, read and written by the clients' own commands.

mem0's classes of both cannot be relied on (run on Redis 8.2 with RediSearch 2.10): that of Redis drops and makes the
index anew at every start, so that searches beside it miss rows, that of Valkey answers ten rows at most, both round
times to seconds, and metadata with three backticks make a row unreadable. So only their format is kept. Exact times
stand in mem0's own ``metadata`` text, where its classes find them, too.

A tag is compared without regard to case, and an id with a comma is two tags: the rows of all who share them come back,
and ``collection`` keeps the owner's.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar, Final

from utils.mem0.building import check_vector_store
from utils.stores.errors import rejected
from utils.stores.mem0.adapter import Config, Hit, StoreAdapter

_DIMS: Final = 1536  # mem0's default
_MOST_ROWS: Final = 10_000
_TIMEOUT_S: Final = 30.0
_CONNECT_TIMEOUT_S: Final = 5.0
_CHECK_IDLE_S: Final = 30.0  # a connection idle for longer is asked before it is used
_SCOPE_IDS: Final = ("user_id", "agent_id", "run_id")
_TIMES: Final = ("created_at", "updated_at")
_OPTIONAL: Final = ("updated_at", *_SCOPE_IDS)  # fields a hash may lack
_TEXTS: Final = {"hash": "hash", "memory": "data"}  # fields by payload key
_RETURNED: Final = ("memory_id", *_TEXTS, *_TIMES, *_SCOPE_IDS, "metadata")
_DISTANCE: Final = "vector_distance"


class Redis(StoreAdapter):
    """Redis with its query engine, or Redis Stack."""

    finds_metadata = False
    search_cap = _MOST_ROWS
    list_cap = _MOST_ROWS
    url_key: ClassVar[str] = "redis_url"
    metadata_type: ClassVar[str] = "TEXT"

    @classmethod
    def build(cls, provider: str, config: Config, embedding_dims: int | None, client: Any) -> Any:
        """What mem0's object would have, without its constructor; the index is made where there is none."""
        check_vector_store(provider, config)
        store = _Index(cls.connect(config), str(config.get("collection_name") or "mem0"))
        if store.name not in cls.names(store.client):
            dims = int(config.get("embedding_model_dims") or embedding_dims or _DIMS)
            store.client.execute_command("FT.CREATE", *cls.definition(store, config, dims))
        return store

    @classmethod
    def connect(cls, config: Config) -> Any:
        """A client whose connections notice that the server is gone."""
        import redis

        return redis.Redis.from_url(str(config[cls.url_key]), **_CONNECTION)

    @classmethod
    def names(cls, client: Any) -> list[str]:
        """The indexes that are there."""
        return [_text(name) for name in client.execute_command("FT._LIST")]

    @classmethod
    def definition(cls, store: _Index, config: Config, dims: int) -> list[Any]:
        """The index as mem0's class makes it."""
        tags = [part for name in ("memory_id", "hash", *_SCOPE_IDS) for part in (name, "TAG")]
        fields = [*tags, "memory", "TEXT", "metadata", cls.metadata_type]
        times = [part for name in _TIMES for part in (name, "NUMERIC")]
        vector = ["TYPE", "FLOAT32", "DIM", dims, "DISTANCE_METRIC", "COSINE"]
        kind, more = cls.algorithm(config)
        attributes = [*vector, *more]
        on = [store.name, "ON", "HASH", "PREFIX", 1, store.prefix]
        return [*on, "SCHEMA", *fields, *times, "embedding", "VECTOR", kind, len(attributes), *attributes]

    @classmethod
    def algorithm(cls, config: Config) -> tuple[str, list[Any]]:
        """How the index compares vectors: mem0's class of Redis has it compare all."""
        return "FLAT", []

    # -- reading

    def get(self, memory_id: str) -> Any:
        """The hash."""
        fields = self.store.client.hgetall(self.store.key(memory_id))
        return _hit({_text(name): value for name, value in fields.items()}) if fields else None

    def search(self, vector: list[float], filters: dict[str, Any], top_k: int) -> list[Any]:
        """The nearest among those with the owner's tags; distances turned round as mem0's classes do."""
        query = f"{_tags(filters)}=>[KNN {top_k} @embedding $vector AS {_DISTANCE}]"
        return self._found(query, top_k, (_DISTANCE,), "PARAMS", 2, "vector", _packed(vector))

    def list_rows(self, filters: dict[str, Any], limit: int) -> list[Any]:
        """In no order."""
        return self._found(_tags(filters), limit, ())

    def dims(self) -> int | None:
        """As the index was made."""
        told = _pairs(self.store.client.execute_command("FT.INFO", self.store.name))
        fields = [[_text(part) for part in field] for field in told["attributes"]]
        vector = next((field for field in fields if "VECTOR" in field), [])
        names = [name.lower() for name in vector]
        return int(vector[names.index("dim") + 1]) if "dim" in names else None

    # -- writing

    def insert(self, ids: list[str], vectors: list[list[float]], payloads: list[dict[str, Any]]) -> None:
        """One hash after the other: whoever repeats a broken insert writes the same ones."""
        for memory_id, vector, payload in zip(ids, vectors, payloads, strict=True):
            self.store.client.hset(self.store.key(memory_id), mapping=_fields(memory_id, vector, payload))

    def update(self, memory_id: str, vector: list[float], payload: dict[str, Any]) -> None:
        """Every field anew, and those gone that the payload does not have."""
        fields, key = _fields(memory_id, vector, payload), self.store.key(memory_id)
        self.store.client.hset(key, mapping=fields)
        if gone := [name for name in _OPTIONAL if name not in fields]:
            self.store.client.hdel(key, *gone)

    def delete(self, ids: Sequence[str]) -> None:
        """One after the other: on a cluster they lie on different servers."""
        for memory_id in ids:
            self.store.client.delete(self.store.key(memory_id))

    def _found(self, query: str, limit: int, more: Sequence[str], *options: Any) -> list[Hit]:
        fields = [*_RETURNED, *more]
        shape = ["LIMIT", 0, limit, "RETURN", len(fields), *fields, "DIALECT", 2]
        answer = self.store.client.execute_command("FT.SEARCH", self.store.name, query, *options, *shape)
        return [_hit(_pairs(row)) for row in answer[2::2]]  # a count, then keys and rows in turn


class Valkey(Redis):
    """Valkey with valkey-search. Its adapter was run on Redis' query engine, whose commands it has."""

    url_key = "valkey_url"
    metadata_type = "TAG"

    @classmethod
    def connect(cls, config: Config) -> Any:
        """The same by Valkey's own client."""
        import valkey
        import valkey.cluster

        client = valkey.cluster.ValkeyCluster if config.get("cluster_mode") else valkey.Valkey
        return client.from_url(str(config[cls.url_key]), **_CONNECTION)

    @classmethod
    def algorithm(cls, config: Config) -> tuple[str, list[Any]]:
        """As configured, by mem0's names."""
        if str(config.get("index_type") or "hnsw").lower() == "flat":
            return "FLAT", []
        wanted = {"M": ("hnsw_m", 16), "EF_CONSTRUCTION": ("hnsw_ef_construction", 200)}
        wanted["EF_RUNTIME"] = ("hnsw_ef_runtime", 10)
        return "HNSW", [part for name, (key, default) in wanted.items() for part in (name, config.get(key) or default)]

    def list_rows(self, filters: dict[str, Any], limit: int) -> list[Any]:
        """The nearest to any vector: valkey-search answers no query without one."""
        nearest = self.search([1.0] + [0.0] * ((self.dims() or _DIMS) - 1), filters, limit)
        return [hit._replace(score=None) for hit in nearest]


_CONNECTION: Final[Mapping[str, Any]] = {
    "socket_timeout": _TIMEOUT_S,
    "socket_connect_timeout": _CONNECT_TIMEOUT_S,
    "socket_keepalive": True,
    "health_check_interval": _CHECK_IDLE_S,
    "decode_responses": False,
}


class _Index:
    """A client and where mem0 keeps a collection's hashes."""

    def __init__(self, client: Any, name: str) -> None:
        self.client = client
        self.name = self.collection_name = name
        self.prefix = f"mem0:{name}"

    def key(self, memory_id: str) -> str:
        return f"{self.prefix}:{memory_id}"


def _tags(filters: Mapping[str, Any]) -> str:
    """A query for the rows with the tags of all of ``filters``.

    Raises:
        ServiceRejected: an id has none, as it is nothing but commas: it would never be found again.
    """
    return "(" + " ".join(f"@{key}:{{{tag}}}" for key, value in filters.items() for tag in _tags_of(str(value))) + ")"


def _tags_of(value: str) -> Iterator[str]:
    tags = [part.strip() for part in value.split(",") if part.strip()]
    if not tags:
        raise rejected("store_bad_row", "id")
    for tag in tags:
        yield "".join(char if char.isalnum() or not char.isascii() else f"\\{char}" for char in tag)


def _fields(memory_id: str, vector: Sequence[float], payload: Mapping[str, Any]) -> dict[str, Any]:
    """A hash as mem0's classes write it, with the exact times among the metadata."""
    for name in _SCOPE_IDS:
        list(_tags_of(str(payload.get(name) or "x")))
    times = {name: payload[name] for name in _TIMES if payload.get(name)}
    scopes = {name: payload[name] for name in _SCOPE_IDS if payload.get(name)}
    texts = {field: payload.get(key) or "" for field, key in _TEXTS.items()}
    known = {*_TEXTS.values(), *_SCOPE_IDS}
    metadata = json.dumps({key: value for key, value in payload.items() if key not in known})
    seconds = {"created_at": 0, **{name: _seconds(time) for name, time in times.items()}}
    own = {"memory_id": memory_id, "embedding": _packed(vector), "metadata": metadata}
    return {**own, **texts, **scopes, **seconds}


def _hit(fields: Mapping[str, Any]) -> Hit:
    texts = {name: _text(value) for name, value in fields.items() if name != "embedding"}
    payload: dict[str, Any] = {key: texts[field] for field, key in _TEXTS.items() if texts.get(field)}
    payload |= {name: texts[name] for name in _SCOPE_IDS if texts.get(name)}
    payload |= {name: _time(texts[name]) for name in _TIMES if texts.get(name, "0") != "0"}
    payload |= _metadata(texts.get("metadata", ""))
    score = 1.0 - float(texts[_DISTANCE]) if _DISTANCE in texts else None
    return Hit(texts.get("memory_id", ""), payload, score)


def _metadata(text: str) -> dict[str, Any]:
    try:
        read = json.loads(text)
    except ValueError:
        return {}
    return read if isinstance(read, dict) else {}


def _pairs(flat: Sequence[Any]) -> dict[str, Any]:
    """Names and values that stand in turn."""
    return {_text(name): value for name, value in zip(flat[::2], flat[1::2], strict=True)}


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _packed(vector: Sequence[float]) -> bytes:
    return struct.pack(f"<{len(vector)}f", *vector)


def _seconds(time: str) -> int:
    try:
        return int(datetime.fromisoformat(time).timestamp())
    except ValueError:
        return 0


def _time(seconds: str) -> str:
    try:
        return datetime.fromtimestamp(int(seconds), tz=UTC).isoformat(timespec="microseconds")
    except ValueError:
        return seconds
