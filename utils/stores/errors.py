"""Foreign exceptions of vector stores, mapped to the plugin's own errors where they enter.

What a database or a client library says in its messages may hold a memory's text, a query or a connection string, so
only the class of the exception and its status go on. What can be tried again is ``ServiceUnavailable``, what waits for
other credentials ``ServiceRefused``, everything else ``ServiceRejected``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Final

import psycopg
from psycopg import errors

from utils.errors import ServiceError, ServiceRefused, ServiceRejected, ServiceUnavailable, causes, mapped_by
from utils.messages import Sentence
from utils.models.sdk_errors import map_error, status_of

PART: Final = "vector_store"
CLOSED: Final = Sentence("reason_closed", {})
_NOT_FOUND: Final = 404
_REFUSED: Final = (errors.InvalidAuthorizationSpecification, errors.InvalidPassword, errors.InsufficientPrivilege)
# Lasting although psycopg counts them as operational: a definition beyond a limit of the server.
_LASTING: Final = (errors.ProgramLimitExceeded,)
# A primary that became a standby takes writes again elsewhere, or soon.
_PASSING: Final = (psycopg.OperationalError, errors.ReadOnlySqlTransaction)

# As package.class, anywhere in the inheritance: the packages are imported by the store that uses them, or not at all.
_REFUSED_NAMES: Final = frozenset({
    "redis.AuthenticationError", "valkey.AuthenticationError", "redis.NoPermissionError", "valkey.NoPermissionError",
    "pymongo.ConfigurationError", "cassandra.AuthenticationFailed", "cassandra.Unauthorized",
})  # fmt: skip
_PASSING_NAMES: Final = frozenset({
    "portalocker.LockException",  # embedded Qdrant: another process has the folder
    "redis.ConnectionError", "redis.TimeoutError", "valkey.ConnectionError", "valkey.TimeoutError",
    "pymongo.ConnectionFailure", "cassandra.NoHostAvailable", "cassandra.OperationTimedOut",
    "elastic_transport.TransportError", "opensearchpy.ConnectionError", "psycopg2.OperationalError",
    "pymysql.OperationalError", "oracledb.OperationalError", "qdrant_client.ResponseHandlingException",
    "pymilvus.MilvusUnavailableException", "pymilvus.ConnectionNotExistException", "grpc.RpcError",
    "weaviate.WeaviateConnectionError",
})  # fmt: skip


def rejected(key: str, reason: str, **params: str | int) -> ServiceRejected:
    """A lasting fault of the vector store under the sentence ``key``."""
    return ServiceRejected(key, part=PART, reason=reason, retry_after_s=None, **params)


def unavailable(reason: str | Sentence) -> ServiceUnavailable:
    """A passing fault of the vector store."""
    return ServiceUnavailable("service_unavailable", part=PART, reason=reason)


def database_error(exc: psycopg.Error) -> ServiceError:
    """What a psycopg exception means for the caller."""
    reason = f"{type(exc).__name__} {exc.sqlstate}" if exc.sqlstate else type(exc).__name__
    if isinstance(exc, _REFUSED):
        return ServiceRefused("service_refused", part=PART, reason=reason)
    if isinstance(exc, _PASSING) and not isinstance(exc, _LASTING):
        return unavailable(reason)
    if isinstance(exc, psycopg.DataError):
        return rejected("store_bad_row", reason)
    return rejected("service_rejected", reason)


def connection_error(exc: psycopg.OperationalError) -> ServiceError:
    """What a failed *first* connection means.

    libpq tells no status for a refused connection, only whether the server had asked for a password by then. If it had,
    it went on to refuse the user, the password or the database's name: a matter of the credentials. Before that, it is
    the network's.
    """
    asked = exc.pgconn is not None and (exc.pgconn.used_password or exc.pgconn.needs_password)
    if asked:
        return ServiceRefused("service_refused", part=PART, reason=type(exc).__name__)
    return database_error(exc)


def store_error(exc: Exception) -> ServiceError:
    """What an exception from inside a store of mem0 means; the clients below it share no base class."""
    for link in causes(exc):
        names = {f"{base.__module__.partition('.')[0]}.{base.__name__}" for base in type(link).__mro__}
        if names & _REFUSED_NAMES:
            return ServiceRefused("service_refused", part=PART, reason=type(link).__name__)
        if names & _PASSING_NAMES:
            return unavailable(type(link).__name__)
    return map_error(exc, PART)


@contextmanager
def database_errors() -> Iterator[None]:
    """Turn psycopg's exceptions in the body into the plugin's own.

    Raises:
        ServiceError: the mapped one.
    """
    try:
        yield
    except psycopg.Error as exc:
        raise database_error(exc) from exc


def engine_errors() -> AbstractContextManager[None]:
    """Turn whatever a store of mem0 raises in the body into the plugin's own errors.

    Raises:
        PluginError: the mapped one, or the plugin's own as it was.
    """
    return mapped_by(store_error)


def is_missing(exc: BaseException) -> bool:
    """Whether an exception says that there is no such row."""
    return status_of(exc) == _NOT_FOUND
