"""One connection to the database: how it is made, and how a statement and its settings are sent over it.

Between the plugin and the server there may be a pooler that hands every transaction to whichever server session is free
(PgBouncer in transaction mode, Supabase, Neon). Behind one, nothing may be left in a session: a setting would hold for
somebody else's statements, and a prepared statement's name would stand for somebody else's. So:

* settings of one statement are set inside its own transaction, in the same round trip;
* the statement time-out stays in the session where the session is ours, and goes with each statement where it is not;
* statements are prepared on the server only where the session is ours.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import psycopg
from psycopg import sql
from psycopg.adapt import AdaptersMap

from utils.config import dsn
from utils.errors import Overloaded, PluginError
from utils.stores.errors import CLOSED, connection_error, database_error, unavailable
from utils.stores.pgvector.refusal import ADMITTED, TOO_MANY_CONNECTIONS, refusal_code
from utils.stores.pgvector.statements import Statement
from utils.stores.pgvector.vector import Vector, VectorBinaryDumper, VectorTextDumper

_UNANSWERED_MS: Final = "20000"  # what was sent and is not acknowledged for so long ends the connection (Linux)
_SET: Final = "SELECT set_config(%s, %s, %s)"  # name, value, whether it ends with the transaction
_SET_LOCAL: Final = sql.SQL("SELECT set_config({}, {}, true);")
_REFUSED_FOR_S: Final = 1.0  # how long what a server refused connections with holds for further failures

_ROOM_WITHIN_S: Final = 3.0  # a place is free only when the server has ended the session that had it
_LOOK_AGAIN_S: Final = 0.05


class ServerFull(Overloaded):
    """The server admits no further connection, to this role or at all."""

    def __init__(self) -> None:
        super().__init__("error_store_full")


class Session(psycopg.AsyncConnection[tuple[Any, ...]]):
    """A connection in autocommit mode.

    Attributes:
        is_shared: a pooler gives each transaction another server session.
        timeout_ms: the statement time-out that the server session has; None when it is not known.
        answered_at: when it last answered, on the monotonic clock.
    """

    is_shared: bool = False
    timeout_ms: int | None = None
    answered_at: float = -math.inf

    async def prepare_for_use(self) -> None:
        """Find out whether the server session is ours alone; to be called once, before any statement."""
        self.is_shared = await is_shared(self)
        if self.is_shared:
            self.prepare_threshold = None

    async def answer(self, statement: Statement, timeout_ms: int) -> list[tuple[Any, ...]]:
        """The rows a statement answers; none for a change.

        Args:
            statement: what to send.
            timeout_ms: after this time the server ends it; 0: never.

        Raises:
            psycopg.Error: as the server says.
        """
        if self.is_shared:
            return await self._answer_in_one_query(statement, timeout_ms)
        settings = [(name, value, True) for name, value in statement.settings.items()]
        if self.timeout_ms != timeout_ms:
            settings.append(("statement_timeout", str(timeout_ms), False))
        if not settings:
            cursor = await self.execute(statement.text, statement.params)
            return await cursor.fetchall() if cursor.description else []
        # A pipeline is one transaction. A statement that fails takes the settings back with it, and of one that is
        # cancelled nobody knows.
        self.timeout_ms = None
        async with self.pipeline():
            for setting in settings:
                await self.execute(_SET, setting)
            cursor = await self.execute(statement.text, statement.params)
        self.timeout_ms = timeout_ms
        return await cursor.fetchall() if cursor.description else []

    async def _answer_in_one_query(self, statement: Statement, timeout_ms: int) -> list[tuple[Any, ...]]:
        """Settings and statement as one text, which is one transaction, with the parameters written into it.

        No pipeline here: psycopg ends one with a message that PgBouncer takes for the start of another transaction,
        and a session is kept from all others until the next statement.
        """
        settings = {**statement.settings, "statement_timeout": str(timeout_ms)}
        parts = [_SET_LOCAL.format(sql.Literal(name), sql.Literal(value)) for name, value in settings.items()]
        cursor = psycopg.AsyncClientCursor(self)
        await cursor.execute(sql.Composed([*parts, statement.text]), statement.params)
        while cursor.nextset():  # the settings' answers come first
            pass
        return await cursor.fetchall() if cursor.description else []


async def is_shared(conn: psycopg.AsyncConnection[Any]) -> bool:
    """Whether the connection leads to a pooler that changes the server session under it.

    At log-in a server tells its process number, for cancel requests. A pooler makes a number up: a cancel request with
    a server's own would end the statement of whoever has that session by then.
    """
    cursor = await conn.execute("SELECT pg_backend_pid()", prepare=False)
    return await cursor.fetchone() != (conn.info.backend_pid,)


class Login:
    """Makes connections to one database.

    Args:
        conninfo: libpq connection string; holds the password.
    """

    def __init__(self, conninfo: str) -> None:
        adapters = AdaptersMap(psycopg.adapters)
        adapters.register_dumper(Vector, VectorTextDumper)
        adapters.register_dumper(Vector, VectorBinaryDumper)  # the last one is the first choice
        # Keep-alives ask idle connections only: one cut in the middle of a call would be waited for for a quarter of an
        # hour.
        self.conninfo = dsn.write({"tcp_user_timeout": _UNANSWERED_MS, **dsn.parameters_of(conninfo)})
        self.arguments: dict[str, Any] = {"autocommit": True, "context": adapters, "client_encoding": "utf8"}
        self._succeeded = False
        self._closed = False
        self._refused_with: str | None = None
        self._refused_at = -math.inf
        self._stays_full = False

    def close(self) -> None:
        """Make no connection any more. Idempotent."""
        self._closed = True

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Session]:
        """A connection of its own, made now: it fails at once and says why, which a pool does not.

        Nothing is prepared on it, so it may be used behind a pooler.

        Raises:
            ServerFull: the server admits no further connection.
            ServiceRefused: the server turned the credentials down.
            ServiceUnavailable: it cannot be reached.
        """
        if self._closed:
            raise unavailable(CLOSED)
        conn = await self._admitted()
        try:
            yield conn
        finally:
            await conn.close()

    async def _admitted(self) -> Session:
        """A new session. A server that is full is asked again for a moment: the place may be one that we have just
        given back. Where that was in vain, nobody waits any more until it has admitted somebody.
        """
        began = time.monotonic()
        while True:
            try:
                conn = await Session.connect(self.conninfo, prepare_threshold=None, **self.arguments)
            except psycopg.OperationalError as exc:
                code = await self._refused_code(exc)
                self._stays_full |= time.monotonic() - began > _ROOM_WITHIN_S
                if self._stays_full or code not in (TOO_MANY_CONNECTIONS, ADMITTED):
                    raise self._refusal(exc, code) from exc
                await asyncio.sleep(_LOOK_AGAIN_S)
            else:
                self._succeeded, self._stays_full = True, False
                return conn

    def _refusal(self, exc: psycopg.OperationalError, code: str | None) -> PluginError:
        if code == TOO_MANY_CONNECTIONS:
            return ServerFull()
        # A server that let these credentials in before does not refuse them now: it restarts.
        return database_error(exc) if self._succeeded else connection_error(exc)

    async def _refused_code(self, exc: psycopg.OperationalError) -> str | None:
        """What the server refuses connections with; asked once for all that fail within a second."""
        if time.monotonic() - self._refused_at > _REFUSED_FOR_S:
            self._refused_with = await refusal_code(self.conninfo, exc)
            self._refused_at = time.monotonic()
        return self._refused_with
