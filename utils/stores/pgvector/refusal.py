"""The code a server gives when it lets nobody in.

libpq keeps the SQLSTATE of a failed connection to itself and tells only a text, in the server's language. It shows it
in one place: the trace of the protocol. So the same connection is tried once more, traced into memory. The trace holds
what was said to prove the password; it is read here, and goes.
"""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import Generator
from typing import Final

import psycopg
from psycopg import pq, waiting
from psycopg.conninfo import make_conninfo

TOO_MANY_CONNECTIONS: Final = "53300"
ADMITTED: Final = "00000"
_TIMEOUT_S: Final = 2.0
_GOING_ON: Final = {pq.PollingStatus.READING: waiting.Wait.R, pq.PollingStatus.WRITING: waiting.Wait.W}
_ERROR: Final = re.compile(rb'\tErrorResponse\t(?: [SV] "[^"]*")* C "([0-9A-Z]{5})"')


async def refusal_code(conninfo: str, failure: psycopg.OperationalError) -> str | None:
    """The SQLSTATE with which a server refuses a connection; ADMITTED when it lets us in now, None when it gives none.

    Each call leaks the stream that psycopg opens for the trace, some 5 kB: not for every failure of many.

    Args:
        conninfo: libpq connection string.
        failure: what an attempt to connect with it raised.
    """
    if sys.platform != "linux" or failure.pgconn is None or isinstance(failure, psycopg.errors.ConnectionTimeout):
        return None
    with os.fdopen(os.memfd_create("trace"), "rb") as trace:
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                attempt = _attempt(_same_server(conninfo, failure.pgconn), trace.fileno())
                if await waiting.wait_conn_async(attempt, 0.1):
                    return ADMITTED
        except (TimeoutError, psycopg.OperationalError):
            return None
        trace.seek(0)
        found = _ERROR.search(trace.read())
    return None if found is None else found[1].decode()


def _same_server(conninfo: str, tried: pq.abc.PGconn) -> bytes:
    """``conninfo`` for the one address that was tried last: libpq would look the name up, and block."""
    address = {"host": tried.host, "hostaddr": tried.hostaddr, "port": tried.port}
    return make_conninfo(conninfo, **{key: value.decode() for key, value in address.items() if value}).encode()


def _attempt(conninfo: bytes, trace: int) -> Generator[tuple[int, waiting.Wait], waiting.Ready | int, bool]:
    """Connect and close again, as libpq wants to be driven; whether that was possible."""
    conn = pq.PGconn.connect_start(conninfo)
    try:
        conn.trace(trace)
        while conn.status != pq.ConnStatus.BAD and (wait := _GOING_ON.get(pq.PollingStatus(conn.connect_poll()))):
            while not (yield conn.socket, wait):
                pass
        return conn.status == pq.ConnStatus.OK
    finally:
        conn.untrace()  # writes out what the stream still holds
        conn.finish()
