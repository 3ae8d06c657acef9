"""The pool of connections behind a pgvector collection, and how one statement is sent.

One round trip per statement: connections are in autocommit mode, and every statement here is atomic and may be sent
twice without harm, so one whose connection turns out to be dead is sent again after the pool has dropped the dead ones.
A connection that answered within the last second is not asked first whether it lives.

Each session gets its settings once, when it is made, by statements rather than start-up options: poolers such as
PgBouncer refuse the latter. Poolers that hand every statement to another session know no prepared statements; the first
complaint turns them off.
"""

from __future__ import annotations

import struct
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

import psycopg
from psycopg import errors, pq, sql
from psycopg.adapt import AdaptersMap, Buffer, Dumper
from psycopg_pool import AsyncConnectionPool

from utils.errors import ServiceError
from utils.memory.pgvector_schema import Connection
from utils.memory.store_errors import connection_error, database_error, database_errors, rejected, unavailable

if TYPE_CHECKING:
    from utils.config.pgvector import PgvectorConfig

_FRESH_FOR_S: Final = 1.0
_CLOSE_TIMEOUT_S: Final = 3.0
_EF_SEARCH: Final = 400  # candidates per step of an index scan: recall against time, see benchmarks/search_scale.py
_PREPARED_LOST: Final = (errors.DuplicatePreparedStatement, errors.InvalidSqlStatementName)


class Vector:
    """A vector on its way to the server, in pgvector's binary format; takes any sequence of numbers, numpy's included.

    Raises:
        ServiceRejected: it holds something that is no number, or one beyond single precision.
    """

    __slots__ = ("packed",)

    def __init__(self, values: Sequence[float]) -> None:
        try:
            self.packed = struct.pack(f">HH{len(values)}f", len(values), 0, *values)
        except (struct.error, OverflowError, TypeError) as exc:
            raise rejected("store_bad_row", type(exc).__name__) from exc


class _VectorDumper(Dumper):
    format = pq.Format.BINARY
    oid = 0  # unknown: the extension's type has another number in every database; the cast in the statement tells

    def dump(self, obj: Vector) -> Buffer | None:
        return obj.packed


class Connections:
    """Connections to one database; made by the first call that needs one.

    Args:
        config: where the database is, and the pool's measures.
        statement_timeout_ms: after this time the server ends a statement; 0: never.
    """

    def __init__(self, config: PgvectorConfig, statement_timeout_ms: int) -> None:
        adapters = AdaptersMap(psycopg.adapters)
        adapters.register_dumper(Vector, _VectorDumper)
        self._config = config
        self._arguments: dict[str, Any] = {"autocommit": True, "context": adapters, "client_encoding": "utf8"}
        self._statement_timeout_ms = statement_timeout_ms
        self._pool: AsyncConnectionPool[Connection] | None = None
        self._closed = False
        self._proven = False
        self._prepare = True
        self._answered_at: WeakKeyDictionary[Connection, float] = WeakKeyDictionary()

    async def open(self) -> None:
        """Start the pool; its connections are made beside the work."""
        if self._pool is None and not self._closed:
            self._pool = AsyncConnectionPool(
                self._config.conninfo,
                kwargs=self._arguments,
                configure=self._configure,
                check=self._check if self._config.pool_check else None,
                name="pgvector",
                open=False,
                **self._config.pool_arguments(),  # type: ignore[arg-type]  # numbers, as the pool takes them
            )
            await self._pool.open(wait=False)

    async def close(self) -> None:
        """Close every connection; idempotent, and nothing can be asked afterwards."""
        self._closed = True
        pool, self._pool = self._pool, None
        if pool is not None:
            await pool.close(_CLOSE_TIMEOUT_S)

    @asynccontextmanager
    async def single(self, statement_timeout_ms: int | None = None) -> AsyncIterator[Connection]:
        """A connection of its own, made now: it fails at once and says why, which the pool does not.

        Raises:
            ServiceRefused: the server turned the credentials down.
            ServiceUnavailable: it cannot be reached.
        """
        if self._closed:
            raise unavailable("closed")
        try:
            conn: Connection = await psycopg.AsyncConnection.connect(self._config.conninfo, **self._arguments)
        except psycopg.OperationalError as exc:
            raise self._refusal(exc) from exc
        self._proven = True
        try:
            await self._set_up(
                conn, self._statement_timeout_ms if statement_timeout_ms is None else statement_timeout_ms
            )
            yield conn
        finally:
            await conn.close()

    @asynccontextmanager
    async def pooled(self) -> AsyncIterator[Connection]:
        """A connection of the pool.

        Raises:
            ServiceUnavailable: the store is closed.
            psycopg.OperationalError: no connection comes free in time.
        """
        if self._pool is None:
            raise unavailable("closed")
        async with self._pool.connection() as conn:
            yield conn
            self._answered_at[conn] = time.monotonic()

    async def fetch(self, statement: sql.Composed, params: list[Any]) -> list[tuple[Any, ...]]:
        """The rows a statement answers.

        Args:
            statement: with ``%s`` placeholders.
            params: one per placeholder.

        Raises:
            ServiceError: as the server or the pool says.
        """
        return await self._send(statement, params, fetch=True)

    async def execute(self, statement: sql.Composed, params: list[Any]) -> None:
        """Send a statement that answers no rows. Raises as :meth:`fetch`."""
        await self._send(statement, params, fetch=False)

    async def _send(self, statement: sql.Composed, params: list[Any], *, fetch: bool) -> list[tuple[Any, ...]]:
        with database_errors():
            try:
                return await self._send_once(statement, params, fetch=fetch)
            except _ConnectionLostError:
                await self._drop_dead()
            except _PREPARED_LOST:
                self._prepare = False
            return await self._send_once(statement, params, fetch=fetch)

    async def _send_once(self, statement: sql.Composed, params: list[Any], *, fetch: bool) -> list[tuple[Any, ...]]:
        async with self.pooled() as conn:
            try:
                cursor = await conn.execute(statement, params, prepare=None if self._prepare else False)
                return await cursor.fetchall() if fetch else []
            except psycopg.OperationalError as exc:
                if conn.closed:
                    raise _ConnectionLostError from exc
                raise

    async def _drop_dead(self) -> None:
        """After one lost connection look at the idle ones too: a restarted server has cut them all."""
        if self._pool is not None:
            await self._pool.check()

    async def _check(self, conn: Connection) -> None:
        """The pool's question before it hands out a connection."""
        if time.monotonic() - self._answered_at.get(conn, -_FRESH_FOR_S) > _FRESH_FOR_S:
            await AsyncConnectionPool.check_connection(conn)

    async def _configure(self, conn: Connection) -> None:
        await self._set_up(conn, self._statement_timeout_ms)

    async def _set_up(self, conn: Connection, statement_timeout_ms: int) -> None:
        # The second and third name settings of an extension that may not be loaded yet; PostgreSQL keeps them until it
        # is. The order need not be strict: what a scan finds is put in order by the statement around it.
        await conn.execute(
            sql.SQL(
                "SET statement_timeout = {}; SET hnsw.iterative_scan = relaxed_order; SET hnsw.ef_search = {}"
            ).format(sql.Literal(statement_timeout_ms), sql.Literal(_EF_SEARCH))
        )

    def _refusal(self, exc: psycopg.OperationalError) -> ServiceError:
        """A server that let these credentials in before does not refuse them now: it is full, or restarts."""
        return database_error(exc) if self._proven else connection_error(exc)


class _ConnectionLostError(psycopg.OperationalError):
    """The statement's connection was dead, or died under it."""
