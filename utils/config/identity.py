"""Where a vector store's memories live, told apart without its secrets.

Accepted writes are bound to this identity: after new credentials they are carried out only if these lead to the same
memories. So a new password, model or pool size must not change it, and two stores must never share one. Where nothing
in the configuration is an address (a cloud service that finds the customer's data by the key alone), the key itself
has to tell them apart.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from utils.config import dsn
from utils.config.values import is_missing

if TYPE_CHECKING:
    from utils.config.blocks import Block
    from utils.config.pgvector import PgvectorConfig

# Words in the names of configuration keys (read in mem0 2.2.1's config classes), between underscores.
_ADDRESS: Final = frozenset({
    "host", "url", "uri", "path", "endpoint", "dsn", "contact", "cloud", "workspace", "service", "project", "tenant",
    "bucket", "bundle", "connection",
})  # fmt: skip
_WITHIN: Final = frozenset({
    "port", "collection", "index", "database", "db", "table", "schema", "catalog", "namespace", "keyspace", "account",
    "region", "deployment", "environment",
})  # fmt: skip
_NEITHER: Final = frozenset({
    "type", "method", "measure", "parameters", "accuracy", "create", "class", "mode", "use", "model", "api", "secret",
    "key", "password", "token", "json", "credentials", "pool", "serverless",
})  # fmt: skip
_SECRET: Final = frozenset({"key", "token", "secret", "password"})
_NEEDS_A_PLACE: Final = {"qdrant": ("path", "url", "host"), "chroma": ("path", "host", "tenant"), "faiss": ("path",)}
_URL: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


def store_identity(store: Block, postgres: PgvectorConfig | None) -> str:
    """SHA-256, in hex, of the provider and where its vectors live.

    Args:
        store: the vector store's block.
        postgres: the same block read as a pgvector configuration, if it is one.
    """
    place = [*postgres.identity(), postgres.tenant] if postgres else _place(store.config)
    return hashlib.sha256(json.dumps([store.provider, place], sort_keys=True).encode()).hexdigest()


def is_temporary(store: Block) -> bool:
    """Whether mem0 would keep this store in a folder under ``/tmp``, for want of a place in its configuration."""
    keys = _NEEDS_A_PLACE.get(store.provider)
    return keys is not None and all(is_missing(store.config.get(key)) for key in keys)


def _place(config: Mapping[str, Any]) -> dict[str, Any]:
    words = {key: frozenset(key.lower().split("_")) for key in config}
    addresses = {key for key in config if words[key] & _ADDRESS and not words[key] & _NEITHER}
    within = {key for key in config if words[key] & _WITHIN and not words[key] & _NEITHER}
    if all(is_missing(config[key]) for key in addresses):
        addresses = {key for key in config if words[key] & _SECRET}
    chosen = addresses | within
    return {key: _without_secrets(config[key]) for key in chosen if config[key] is not None}


def _without_secrets(value: Any) -> Any:
    if isinstance(value, str) and _URL.match(value):
        return _url_without_secrets(value)
    if isinstance(value, list):
        return [_without_secrets(each) for each in value]
    return _place(value) if isinstance(value, Mapping) else value


def _url_without_secrets(url: str) -> list[str]:
    """Host, path and the customer's part of the user name; user, password and query are dropped."""
    user_part, _, rest = url.partition("://")[2].rpartition("@")
    host, _, path = rest.partition("/")
    return [host.lower(), path.partition("?")[0].rstrip("/"), dsn.tenant(user_part.partition(":")[0])]
