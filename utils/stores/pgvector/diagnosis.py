"""Why a PostgreSQL server lets nobody in, as a person would say it.

libpq gives no SQLSTATE for a failed connection, only a text in the server's language. So nothing is read from the text:
further connections, each changed in one thing, show what is wrong. Another host or port: a plain socket. The password
or the database: the same user and password on the databases every server has. TLS: the protocol's own question.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator, Mapping
from typing import Final

import psycopg
from psycopg import errors

from utils.aio.reachability import shortened, unreachable, written
from utils.config import dsn
from utils.errors import CredentialError

_CONNECT_TIMEOUT_S: Final = 2  # of each further connection; libpq takes whole seconds, 2 at least
_ON_EVERY_SERVER: Final = ("postgres", "template1")
_SSL_REQUEST: Final = struct.pack(">II", 8, 80877103)  # PostgreSQL's protocol, "SSLRequest"
_TLS_ONLY_MODES: Final = ("require", "verify-ca", "verify-full")


def explain_connection(conninfo: str, where: str) -> CredentialError | None:
    """What keeps a connection from being made, as a sentence; None when one can be made by now. Blocks.

    Args:
        conninfo: libpq connection string.
        where: the credential's name in the form.
    """
    parameters = dsn.parameters_of(conninfo)
    problem: CredentialError | None = None
    for host, port in _tcp_addresses(parameters):
        obstacle = unreachable(host, port, where, _CONNECT_TIMEOUT_S)
        if obstacle is None:
            return _explain_server(parameters, where, (host, port))
        problem = problem or obstacle
    return problem or _explain_server(parameters, where, None)


def _tcp_addresses(parameters: Mapping[str, str]) -> Iterator[tuple[str, int]]:
    """Hosts and ports in libpq's order; none for a Unix socket, or where a service file has them."""
    if "service" in parameters:
        return
    hosts, ports, _ = dsn.address(parameters)
    hosts = parameters.get("hostaddr") or hosts
    all_ports = ports.split(",")
    for number, host in enumerate(hosts.split(",")):
        if host and not host.startswith(("/", "@")):
            yield host, int(all_ports[min(number, len(all_ports) - 1)])


def _explain_server(
    parameters: dsn.Parameters, where: str, tcp_address: tuple[str, int] | None
) -> CredentialError | None:
    """What a server that can be reached objects to; None when it objects to nothing, or is too slow to tell."""
    try:
        offers_tls = tcp_address is not None and _offers_tls(tcp_address)
    except TimeoutError:
        return None
    host, _, database = dsn.address(parameters)
    key = "check_pg_other_server" if offers_tls is None else _objection(parameters, database, offers_tls)
    if key is None:
        return None
    return CredentialError(
        key,
        where=where,
        address=written(*tcp_address) if tcp_address else shortened(host),
        user=shortened(parameters.get("user", "")),
        database=shortened(database),
        sslmode=parameters.get("sslmode", "prefer"),
    )


def _objection(parameters: dsn.Parameters, database: str, offers_tls: bool) -> str | None:
    """The key of the sentence that says what the server objects to."""
    failure = _failure_to_connect(parameters)
    if failure is None or isinstance(failure, errors.ConnectionTimeout):
        return None
    for other in _ON_EVERY_SERVER:
        is_there = _has_database(parameters | {"dbname": other}, database)
        if is_there is not None:
            return "check_pg_database_closed" if is_there else "check_pg_no_database"
    mode = parameters.get("sslmode", "prefer")
    if mode in _TLS_ONLY_MODES and not offers_tls:
        return "check_pg_no_tls"
    about_password = _objection_to_password(failure)
    if about_password or mode == "require" or not offers_tls:
        return about_password or "check_pg_not_admitted"
    return _objection_over_tls(parameters, mode)


def _objection_over_tls(parameters: dsn.Parameters, mode: str) -> str:
    """What changes when TLS is required and no certificate is checked."""
    failure = _failure_to_connect(parameters | {"sslmode": "require"})
    about_password = failure and _objection_to_password(failure)
    if failure is not None and about_password is None:
        return "check_pg_not_admitted"
    if mode in _TLS_ONLY_MODES:
        return "check_pg_certificate"
    # With "prefer" libpq tries once more without TLS, and only that second failure is seen.
    return about_password if about_password and mode == "prefer" else "check_pg_needs_tls"


def _objection_to_password(failure: psycopg.OperationalError) -> str | None:
    """The key of the sentence; None if the server had not asked for a password yet: then it is about something else."""
    if failure.pgconn is None:
        return None
    if failure.pgconn.needs_password:
        return "check_pg_no_password"
    return "check_pg_password" if failure.pgconn.used_password else None


def _failure_to_connect(parameters: dsn.Parameters) -> psycopg.OperationalError | None:
    try:
        _connect(parameters).close()
    except psycopg.OperationalError as failure:
        return failure
    return None


def _has_database(parameters: dsn.Parameters, name: str) -> bool | None:
    """Whether the server has a database of this name; None if ``parameters`` lead to no connection, either."""
    try:
        with _connect(parameters) as connection:
            return connection.execute("SELECT FROM pg_database WHERE datname = %s", [name]).fetchone() is not None
    except psycopg.Error:
        return None


def _connect(parameters: dsn.Parameters) -> psycopg.Connection[tuple[object, ...]]:
    return psycopg.connect(dsn.write(parameters | {"connect_timeout": str(_CONNECT_TIMEOUT_S)}), autocommit=True)


def _offers_tls(address: tuple[str, int]) -> bool | None:
    """What the server answers to the request for TLS; None: this is no PostgreSQL.

    Raises:
        TimeoutError: it answers nothing.
    """
    try:
        with socket.create_connection(address, _CONNECT_TIMEOUT_S) as connection:
            connection.sendall(_SSL_REQUEST)
            return {b"S": True, b"N": False}.get(connection.recv(1))
    except TimeoutError:
        raise
    except OSError:
        return None
