"""What is "the same": the one place that says when two credential sets share something.

========================  =============================================  ==============================================
field                     equal when the credentials agree on            used for
========================  =============================================  ==============================================
``Identity.credentials``  every value of the form                        one opened set, kept by the runtime
``Identity.client``       which services are used, and how               who may carry out a write (its fingerprint)
``Identity.connection``   the vector store's block, the vectors' length  sharing one open vector store
``Identity.address``      where the memories are today                   finding their scope (``state.scopes``)
``Identity.state``        where the plugin's own state lives             sharing one open state store
========================  =============================================  ==============================================

All but ``state`` are SHA-256 in hex. ``beside_state`` says whether the memories live in the very database of the state:
queues and history then know them by the collection alone, and a renamed host changes nothing.

The address is the store's without its secrets. A new password, model or pool size must not change it, and two stores
must never share one. Where nothing in the configuration is an address (a cloud service that finds the customer's data
by the key alone), the key itself has to tell the stores apart.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from utils.config import dsn
from utils.config.blocks import Block
from utils.config.pgvector import PgvectorConfig
from utils.config.state_location import PostgresLocation, SqliteLocation, state_location
from utils.config.values import is_missing

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


@dataclass(frozen=True, slots=True)
class Identity:
    """What one credential set shares with others; the module's table says what each field is for."""

    credentials: str
    client: str
    connection: str
    address: str
    beside_state: bool
    state: PostgresLocation | SqliteLocation


def credentials_identity(credentials: Mapping[str, Any]) -> str:
    """Which set of form values this is; the order of the values does not matter."""
    return _sha256([[name, str(credentials[name])] for name in sorted(credentials)])


def identify(
    credentials: Mapping[str, Any],
    blocks: Sequence[Block | None],
    store: Block,
    postgres: PgvectorConfig | None,
    embedding_dims: int | None,
    state_db_url: str | None,
) -> Identity:
    """The identity of one credential set.

    Args:
        credentials: the form's values by name.
        blocks: what the five blocks say, in the order of the form.
        store: the vector store's among them.
        postgres: the same read as a pgvector configuration, if it is one.
        embedding_dims: length of the vectors, as far as the credentials tell.
        state_db_url: the credential, if it is set.

    Raises:
        CredentialError: nothing says where the state may live (see ``state_location``).
    """
    state = state_location(state_db_url, postgres)
    # Version 1 of the state store knows its scopes and clients by these two values: never change how they are made.
    address = _sha256([store.provider, _postgres_address(postgres) if postgres else _address(store.config)])
    client = _sha256([[block and block.model_dump() for block in blocks], state_db_url])
    return Identity(
        credentials=credentials_identity(credentials),
        client=client,
        connection=_sha256([store.model_dump(), embedding_dims]),
        address=address,
        beside_state=_is_beside(postgres, state),
        state=state,
    )


def is_temporary(store: Block) -> bool:
    """Whether mem0 would keep this store in a folder under ``/tmp``, for want of a place in its configuration."""
    keys = _NEEDS_A_PLACE.get(store.provider)
    return keys is not None and all(is_missing(store.config.get(key)) for key in keys)


def _is_beside(postgres: PgvectorConfig | None, state: PostgresLocation | SqliteLocation) -> bool:
    if postgres is None or not isinstance(state, PostgresLocation):
        return False
    return _database(dsn.parameters_of(postgres.conninfo)) == _database(dsn.parameters_of(state.conninfo))


def _postgres_address(postgres: PgvectorConfig) -> list[str]:
    host, port, database, tenant = _database(dsn.parameters_of(postgres.conninfo))
    return [host, port, database, postgres.collection_name, tenant]


def _database(parameters: Mapping[str, str]) -> tuple[str, str, str, str]:
    """Host, port, database, and what of the user name tells customers of one pooler apart."""
    return (*dsn.address(parameters), dsn.tenant(parameters.get("user", "")))


def _address(config: Mapping[str, Any]) -> dict[str, Any]:
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
    return _address(value) if isinstance(value, Mapping) else value


def _url_without_secrets(url: str) -> list[str]:
    """Host, path and the customer's part of the user name; user, password and query are dropped."""
    user_part, _, rest = url.partition("://")[2].rpartition("@")
    host, _, path = rest.partition("/")
    return [host.lower(), path.partition("?")[0].rstrip("/"), dsn.tenant(user_part.partition(":")[0])]


def _sha256(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
