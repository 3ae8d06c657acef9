"""The pgvector credential: where the database is, and how many connections are kept to it.

``connection_pool`` stands above ``connection_string``, which stands above the individual parameters. In mem0's Python
interface the pool is a live object; a JSON form cannot hold one, so here it is an object of the same keys as the
configuration itself, whose say goes first. Whatever way the connection was given, it ends as one exact libpq conninfo
string: user, password and database may hold any character but NUL.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from utils.aio.lanes import OVERLOAD_MULTIPLIER
from utils.config import dsn, values
from utils.config.values import Where
from utils.mem0 import building

_PROVIDER: Final = "pgvector"
_COLLECTION: Final = "mem0"  # mem0's default
_MINCONN: Final = 10
_MAXCONN: Final = 20
_MAX_CONNECTIONS: Final = 1000
_MAX_WAITING: Final = 1_000_000
_MAX_SECONDS: Final = 7 * 24 * 3600.0
_MAX_DIMS: Final = 16_000  # of pgvector's type `vector`
_MAX_NAME_BYTES: Final = 63  # PostgreSQL cuts longer identifiers off, and two tables become one
_SSL_MODES: Final = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_BRACKETED: Final = re.compile(r"\[([0-9A-Fa-f:.]+)\]")  # an IPv6 address as in a URL; libpq wants it without
_WITH_PORT_OR_SCHEME: Final = re.compile(r"://|^[^/:,]+:\d+$")
_SECONDS: Final = {
    "pool_timeout": 30.0,
    "pool_max_lifetime": 3600.0,
    "pool_max_idle": 600.0,
    "pool_reconnect_timeout": 300.0,
}
_LEAST: Final = ("minconn", "min_connections", "pool_min_size")  # the second and third as earlier plugins named it
_MOST: Final = ("maxconn", "max_connections", "pool_max_size")
_POOL_KEYS: Final = frozenset({*_LEAST, *_MOST, "pool_max_waiting", "pool_open", "pool_check", *_SECONDS})
# What a connection string says alone; of everything else (sslmode, options, ...) the individual key adds to it.
_TARGET: Final = frozenset({"host", "hostaddr", "port", "dbname", "user", "password", "service", "passfile"})


@dataclass(frozen=True, slots=True)
class PgvectorConfig:
    """One pgvector collection and the pool of connections to it.

    Attributes:
        conninfo: libpq connection string; holds the password.
        collection_name: the table.
        embedding_model_dims: length of its vectors as far as the credential says.
        hnsw: whether an HNSW index is wanted.
        diskann: whether a DiskANN index is wanted.
        minconn: connections kept open.
        maxconn: most connections.
        pool_timeout_s: longest wait for a free connection.
        pool_max_waiting: requests that may wait for one.
        pool_max_lifetime_s: age at which a connection is replaced.
        pool_max_idle_s: idle time after which one above ``minconn`` is closed.
        pool_reconnect_timeout_s: how long a lost server is tried again before the pool reports it.
        pool_open: whether the pool connects when it is opened rather than at first use.
        pool_check: whether a connection is tested before it is handed out.
    """

    conninfo: str = field(repr=False)
    collection_name: str
    embedding_model_dims: int | None
    hnsw: bool
    diskann: bool
    minconn: int
    maxconn: int
    pool_timeout_s: float
    pool_max_waiting: int
    pool_max_lifetime_s: float
    pool_max_idle_s: float
    pool_reconnect_timeout_s: float
    pool_open: bool
    pool_check: bool

    def pool_arguments(self) -> dict[str, float]:
        """Arguments of psycopg's ``ConnectionPool`` and ``AsyncConnectionPool`` that are the same for both."""
        return {
            "min_size": self.minconn,
            "max_size": self.maxconn,
            "timeout": self.pool_timeout_s,
            "max_waiting": self.pool_max_waiting,
            "max_lifetime": self.pool_max_lifetime_s,
            "max_idle": self.pool_max_idle_s,
            "reconnect_timeout": self.pool_reconnect_timeout_s,
        }


def read(config: Mapping[str, Any], where: Where) -> PgvectorConfig:
    """The ``config`` object of a pgvector credential.

    Args:
        config: the object as pasted.
        where: its place, for errors.

    Raises:
        CredentialError: a key is unknown, has the wrong type, or what a connection needs is missing.
    """
    known = building.vector_store_keys("pgvector") | dsn.keywords() | _POOL_KEYS | {"database"}
    values.only_known_keys(config, known, where, _PROVIDER)
    pool = _pool_object(config.get("connection_pool"), where.at("connection_pool"), known)
    connection = dsn.with_defaults(_connection(config, pool, where))
    settings = {**config, **pool}
    minconn, maxconn = _pool_size(settings, where)
    return PgvectorConfig(
        conninfo=dsn.write(connection),
        collection_name=_collection(settings.get("collection_name"), where.at("collection_name")),
        embedding_model_dims=_number(settings, "embedding_model_dims", where, 1, _MAX_DIMS),
        hnsw=_flag(settings, "hnsw", True, where),
        diskann=_flag(settings, "diskann", False, where),
        minconn=minconn,
        maxconn=maxconn,
        pool_timeout_s=_seconds(settings, "pool_timeout", where),
        pool_max_waiting=_max_waiting(settings, maxconn, where),
        pool_max_lifetime_s=_seconds(settings, "pool_max_lifetime", where),
        pool_max_idle_s=_seconds(settings, "pool_max_idle", where),
        pool_reconnect_timeout_s=_seconds(settings, "pool_reconnect_timeout", where),
        pool_open=_flag(settings, "pool_open", True, where),
        pool_check=_flag(settings, "pool_check", True, where),
    )


def _pool_object(value: object, where: Where, known: frozenset[str]) -> dict[str, Any]:
    if values.is_missing(value):
        return {}
    if not isinstance(value, dict):
        raise where.error("credentials_pg_pool", found=values.found(value))
    values.only_known_keys(value, known - {"connection_pool"}, where, _PROVIDER)
    return {key: each for key, each in value.items() if each is not None}


def _connection(config: Mapping[str, Any], pool: Mapping[str, Any], where: Where) -> dsn.Parameters:
    """The libpq parameters of the connection, from the highest source that names a server."""
    source, place = (pool, where.at("connection_pool")) if _names_a_server(pool) else (config, where)
    if values.is_missing(source.get("connection_string")):
        target = _individual(source, place)
    else:
        target = dsn.parse(source["connection_string"], place.at("connection_string"))
    beside = dsn.keywords() - _TARGET
    extras = {
        key: _parameter(each, where.at(key))
        for key, each in {**config, **pool}.items()
        if key in beside and each is not None
    }
    parameters = target | extras
    if "sslmode" in parameters:
        parameters["sslmode"] = values.choice(parameters["sslmode"], where.at("sslmode"), _SSL_MODES)
    return dsn.checked(parameters, where)


def _names_a_server(source: Mapping[str, Any]) -> bool:
    return any(not values.is_missing(source.get(key)) for key in ("connection_string", "database", *_TARGET))


def _individual(source: Mapping[str, Any], where: Where) -> dsn.Parameters:
    given = {key: source[key] for key in (*_TARGET, "database") if not _is_unset(source.get(key))}
    if "service" not in given:
        _require(given, where)
    database = given.pop("database", None)
    if database is not None and given.setdefault("dbname", database) != database:
        raise where.at("database").error("credentials_pg_two_names")
    if "service" not in given:
        given = {"host": "localhost", "dbname": "postgres"} | given  # mem0's defaults
    parameters = {key: _parameter(each, where.at(key)) for key, each in given.items()}
    parameters["dbname"], options = dsn.split_query(parameters.get("dbname", ""), where.at("dbname"))
    parameters = {key: each for key, each in (options | parameters).items() if each}
    if bracketed := _BRACKETED.fullmatch(parameters.get("host", "")):
        parameters["host"] = bracketed[1]
    if _WITH_PORT_OR_SCHEME.search(parameters.get("host", "")):
        raise where.at("host").error("credentials_pg_host")
    return parameters


def _require(given: Mapping[str, Any], where: Where) -> None:
    """mem0's rule: a user, and a host or at least a port."""
    if "user" not in given:
        raise where.at("user").error("credentials_key_missing", provider=_PROVIDER)
    if not given.keys() & {"host", "hostaddr", "port"}:
        raise where.at("host").error("credentials_key_missing", provider=_PROVIDER)


def _is_unset(value: object) -> bool:
    return value is None or value == ""  # blanks may well be a password


def _parameter(value: object, where: Where) -> str:
    """A parameter as libpq takes it: text; numbers and truth values are what people write for ports and switches."""
    if isinstance(value, bool):
        return str(int(value))
    if not isinstance(value, str | int):
        raise where.error("credentials_need_text", found=values.found(value))
    return values.require_encodable(str(value), where)


def _pool_size(settings: Mapping[str, Any], where: Where) -> tuple[int, int]:
    """Least and most connections; one that is not given gives way to the one that is."""
    least_key, most_key = _spelling(settings, _LEAST, where), _spelling(settings, _MOST, where)
    least = _number(settings, least_key, where, 0, _MAX_CONNECTIONS)
    most = _number(settings, most_key, where, 1, _MAX_CONNECTIONS)
    if most is None:
        most = max(_MAXCONN, least or 0)
    if least is None:
        least = min(_MINCONN, most)
    if least > most:
        raise where.at(least_key).error("credentials_pg_pool_size", least=least, most=most)
    return least, most


def _spelling(settings: Mapping[str, Any], names: tuple[str, ...], where: Where) -> str:
    """Under which of its names a setting is given."""
    given = [name for name in names if not values.is_missing(settings.get(name))]
    if len(given) > 1:
        raise where.at(given[1]).error("credentials_pg_given_twice", other=given[0])
    return given[0] if given else names[0]


def _max_waiting(settings: Mapping[str, Any], maxconn: int, where: Where) -> int:
    given = _number(settings, "pool_max_waiting", where, 0, _MAX_WAITING)
    return maxconn * (OVERLOAD_MULTIPLIER - 1) if given is None else given


def _number(settings: Mapping[str, Any], key: str, where: Where, low: int, high: int) -> int | None:
    value = settings.get(key)
    return None if values.is_missing(value) else values.whole_number(value, where.at(key), low, high)


def _seconds(settings: Mapping[str, Any], key: str, where: Where) -> float:
    value = settings.get(key)
    return _SECONDS[key] if values.is_missing(value) else values.seconds(value, where.at(key), _MAX_SECONDS)


def _flag(settings: Mapping[str, Any], key: str, default: bool, where: Where) -> bool:
    value = settings.get(key)
    return default if values.is_missing(value) else values.boolean(value, where.at(key))


def _collection(value: object, where: Where) -> str:
    if values.is_missing(value):
        return _COLLECTION
    name = values.text(value, where)
    if len(name.encode()) > _MAX_NAME_BYTES:
        raise where.error("credentials_pg_name_too_long", limit=_MAX_NAME_BYTES)
    return name
