"""One round trip to a graph database over the Bolt protocol. Nothing else in this version uses the graph."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from utils.errors import ServiceRefused, ServiceRejected, ServiceUnavailable

_PART = "graph_store"


def ping_graph(config: Mapping[str, Any], timeout_s: float) -> None:
    """Connect and have the server answer 1. Blocks.

    Args:
        config: of the graph's block.
        timeout_s: seconds for the connection, and for a connection of the pool.

    Raises:
        ServiceError: part ``graph_store``.
    """
    from neo4j import GraphDatabase
    from neo4j.exceptions import AuthError, DriverError, Neo4jError, SessionExpired
    from neo4j.exceptions import ServiceUnavailable as Unreachable

    auth = (config.get("username") or "", config.get("password") or "") if config.get("username") else None
    limits: dict[str, Any] = {
        "connection_timeout": timeout_s,
        "connection_acquisition_timeout": timeout_s,
        "max_transaction_retry_time": 0.0,  # the driver would try for 30 s, also where nobody listens
    }
    try:
        with GraphDatabase.driver(config["url"].strip(), auth=auth, **limits) as driver:
            driver.execute_query("RETURN 1", database_=config.get("database"))
    except AuthError as exc:
        raise ServiceRefused("service_refused", part=_PART, reason=_code(exc)) from exc
    except (Unreachable, SessionExpired, OSError) as exc:
        raise ServiceUnavailable("service_unavailable", part=_PART, reason=type(exc).__name__) from exc
    except (DriverError, Neo4jError, ValueError) as exc:
        raise ServiceRejected("service_rejected", part=_PART, reason=_code(exc)) from exc


def _code(exc: Exception) -> str:
    """The server's code, such as ``Neo.ClientError.Database.DatabaseNotFound``, by its last word."""
    return str(getattr(exc, "code", None) or type(exc).__name__).rpartition(".")[2]
