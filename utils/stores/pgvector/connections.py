"""The pool of connections behind a pgvector collection, and how one statement is sent.

One round trip per statement: connections are in autocommit mode, and every statement here is atomic and may be sent
twice without harm, so one whose connection turns out to be dead is sent again over another. A connection that answered
within the last second is not asked first whether it lives.

While the server is away each call learns so at once, by one attempt to connect, and the first one after its return is
served. The pool itself would try again ever more rarely, minutes apart in the end, and let callers wait meanwhile: so
it is given up when the server turns out to be gone, and a new one begun when it is back.

Each session gets its settings once, when it is made, by statements rather than start-up options: poolers such as
PgBouncer refuse the latter. Poolers that hand every statement to another session know no prepared statements; the first
complaint turns them off.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

import psycopg
from psycopg import errors, sql
from psycopg.adapt import AdaptersMap
from psycopg_pool import AsyncConnectionPool, PoolClosed

from utils.errors import ServiceError
from utils.stores.errors import connection_error, database_error, database_errors, unavailable
from utils.stores.pgvector.schema import Connection
from utils.stores.pgvector.statements import Statement
from utils.stores.pgvector.vector import Vector, VectorDumper

if TYPE_CHECKING:
    from utils.config.pgvector import PgvectorConfig

_FRESH_FOR_S: Final = 1.0
_CLOSE_TIMEOUT_S: Final = 3.0
_EF_SEARCH: Final = 400  # candidates per step of an index scan: recall against time, see benchmarks/search_scale.py
_PREPARED_LOST: Final = (errors.DuplicatePreparedStatement, errors.InvalidSqlStatementName)

_SET_LOCAL: Final = "SELECT set_config(%s, %s, true)"

type _Pool = AsyncConnectionPool[Connection]


class Connections:
    """Connections to one database; made by the first call that needs one.

    Args:
        config: where the database is, and the pool's measures.
        statement_timeout_ms: after this time the server ends a statement; 0: never.
    """

    def __init__(self, config: PgvectorConfig, statement_timeout_ms: int) -> None:
        adapters = AdaptersMap(psycopg.adapters)
        adapters.register_dumper(Vector, VectorDumper)
        self._config = config
        self._arguments: dict[str, Any] = {"autocommit": True, "context": adapters, "client_encoding": "utf8"}
        self._statement_timeout_ms = statement_timeout_ms
        self._pool: _Pool | None = None
        self._pool_changes = asyncio.Lock()
        self._busy: set[Connection] = set()
        self._closed = False
        self._proven = False
        self._preparing: bool | None = None  # psycopg decides, until a pooler turns out to know no prepared statements
        self._answered_at: WeakKeyDictionary[Connection, float] = WeakKeyDictionary()

    async def open(self) -> None:
        """Start the pool; its connections are made beside the work."""
        async with self._pool_changes:
            await self._start_pool()

    async def close(self) -> None:
        """Close every connection; idempotent, and nothing can be asked afterwards."""
        self._closed = True
        if self._pool is not None:
            await self._give_up(self._pool)

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

    async def fetch(self, statement: Statement) -> list[tuple[Any, ...]]:
        """The rows a statement answers.

        Raises:
            ServiceError: as the server or the pool says.
        """

        async def ask(conn: Connection) -> list[tuple[Any, ...]]:
            return await (await self._send(conn, statement)).fetchall()

        return await self.run(ask)

    async def execute(self, statement: Statement) -> None:
        """Send a statement that answers no rows. Raises as :meth:`fetch`."""

        async def send(conn: Connection) -> None:
            await self._send(conn, statement)

        await self.run(send)

    async def _send(self, conn: Connection, statement: Statement) -> psycopg.AsyncCursor[tuple[Any, ...]]:
        if not statement.settings:
            return await conn.execute(statement.text, statement.params, prepare=self._preparing)
        # What is sent in one pipeline is one transaction, and one round trip: the settings end with it.
        async with conn.pipeline():
            for name, value in statement.settings.items():
                await conn.execute(_SET_LOCAL, [name, value])
            return await conn.execute(statement.text, statement.params, prepare=self._preparing)

    async def run[T](self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """What ``work`` gives on a connection of the pool. It may be run twice: again when its connection was dead.

        Raises:
            ServiceError: as the server or the pool says.
        """
        with database_errors():
            pool = await self._running_pool()
            try:
                return await self._run_on(pool, work)
            except _ConnectionLostError:
                await self._look_after(pool)
            except _PREPARED_LOST:
                self._preparing = False
            return await self._run_on(await self._running_pool(), work)

    async def _run_on[T](self, pool: _Pool, work: Callable[[Connection], Awaitable[T]]) -> T:
        conn: Connection | None = None
        try:
            async with pool.connection() as conn:
                self._busy.add(conn)
                try:
                    return await self._done_on(conn, work)
                finally:
                    self._busy.discard(conn)
        except psycopg.OperationalError as exc:
            if isinstance(exc, PoolClosed) or (conn is not None and conn.closed):
                raise _ConnectionLostError from exc
            raise

    async def _done_on[T](self, conn: Connection, work: Callable[[Connection], Awaitable[T]]) -> T:
        if self._config.pool_check and time.monotonic() - self._answered_at.get(conn, -math.inf) > _FRESH_FOR_S:
            await AsyncConnectionPool.check_connection(conn)
        value = await work(conn)
        self._answered_at[conn] = time.monotonic()
        return value

    # -- the pool

    async def _running_pool(self) -> _Pool:
        """The pool; a new one, if the server is there, when the last one has been given up or has lost touch."""
        if self._pool is None or self._is_out_of_touch(self._pool):
            async with self._pool_changes:
                if self._pool is not None and self._is_out_of_touch(self._pool):
                    await self._give_up(self._pool)
                if self._pool is None:
                    async with self.single():
                        await self._start_pool()
        if self._pool is None:
            raise unavailable("closed")
        return self._pool

    def _is_out_of_touch(self, pool: _Pool) -> bool:
        """Whether it has no connection at all and failed to make one, so that it waits before it tries again."""
        stats = pool.get_stats()
        return not (self._busy or stats.get("pool_available")) and stats.get("connections_errors", 0) > 0

    async def _start_pool(self) -> None:
        if self._pool is None and not self._closed:
            self._pool = AsyncConnectionPool(
                self._config.conninfo,
                kwargs=self._arguments,
                configure=self._configure,
                name="pgvector",
                open=False,
                **self._config.pool_arguments(),  # type: ignore[arg-type]  # numbers, as the pool takes them
            )
            await self._pool.open(wait=False)

    async def _look_after(self, pool: _Pool) -> None:
        """After a lost connection: replace the dead ones, or give the pool up when the server is gone.

        Raises:
            ServiceError: it is gone.
        """
        async with self._pool_changes:
            if self._pool is not pool:
                return  # somebody else has noticed
            try:
                async with self.single():
                    await pool.check()
            except ServiceError:
                await self._give_up(pool)
                raise

    async def _give_up(self, pool: _Pool) -> None:
        self._pool = None
        await pool.close(_CLOSE_TIMEOUT_S)

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
