"""The pools of connections behind a pgvector collection: one for reads, one for writes, and how a statement is sent.

Two pools, so that neither waits for the other: twenty writes that stand in a lock leave the readers' connections alone.
Together they hold at most ``maxconn`` connections. A pool that is full is an overload, not an outage.

One round trip per statement: connections are in autocommit mode, and every statement here is atomic and may be sent
twice without harm, so one whose connection turns out to be dead is sent again over another. A connection that answered
within the last second is not asked first whether it lives.

While the server is away each call learns so at once, by one attempt to connect, and the first one after its return is
served. The pool itself would try again ever more rarely, minutes apart in the end, and let callers wait meanwhile: so
it is given up when the server turns out to be gone, and a new one begun when it is back.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import psycopg
from psycopg_pool import AsyncConnectionPool, PoolClosed, PoolTimeout

from utils.aio.deadline import operation_timeout_s
from utils.errors import Overloaded, ServiceError
from utils.stores.errors import CLOSED, database_error, unavailable
from utils.stores.pgvector.sessions import Login, Session
from utils.stores.pgvector.statements import Statement

if TYPE_CHECKING:
    from utils.config.pgvector import PgvectorConfig

_FRESH_FOR_S: Final = 1.0
_CLOSE_TIMEOUT_S: Final = 3.0
_WRITE_SHARE: Final = 4  # one connection in so many is for writes, at least one: their statements are short

type _Pool = AsyncConnectionPool[Session]


@dataclass(frozen=True, slots=True)
class Share:
    """One pool's part of the connections.

    Attributes:
        name: what it is for.
        min_size: connections kept open.
        max_size: most connections.
        max_pending: statements that may run or wait for a connection; one more is refused. None: any number.
    """

    name: str
    min_size: int
    max_size: int
    max_pending: int | None


def shares(config: PgvectorConfig) -> tuple[Share, Share]:
    """The shares of reads and of writes; the same one twice when there is a single connection.

    Reads are refused when ``maxconn`` and ``pool_max_waiting`` (0: no limit) of them are pending. A write is never
    refused: its caller has been answered, and the write lane bounds how many there are.
    """
    if config.maxconn == 1:
        # Nothing to divide: first come, first served, and nobody is refused because of the others.
        both = Share("pgvector", config.minconn, 1, None)
        return both, both
    for_writes = max(1, config.maxconn // _WRITE_SHARE)
    kept_for_writes = config.minconn * for_writes // config.maxconn
    max_pending = config.maxconn + config.pool_max_waiting if config.pool_max_waiting else None
    reads = Share("pgvector reads", config.minconn - kept_for_writes, config.maxconn - for_writes, max_pending)
    return reads, Share("pgvector writes", kept_for_writes, for_writes, None)


class Connections:
    """A pool of connections to one database; made by the first call that needs one.

    Args:
        login: makes connections.
        config: the pool's measures.
        share: which part of the connections.
        statement_timeout_ms: after this time the server ends a statement, or sooner, when the operation's own time is
            up; 0: never.
    """

    def __init__(self, login: Login, config: PgvectorConfig, share: Share, statement_timeout_ms: int) -> None:
        self._login = login
        self._config = config
        self._share = share
        self._statement_timeout_ms = statement_timeout_ms
        self._pool: _Pool | None = None
        self._pool_changes = asyncio.Lock()
        self._pending = 0
        self._in_use = 0
        self._closed = False

    async def open(self) -> None:
        """Start the pool; its connections are made beside the work."""
        async with self._pool_changes:
            await self._start_pool()

    async def close(self) -> None:
        """Close every connection; idempotent, and nothing can be asked afterwards."""
        self._closed = True
        if self._pool is not None:
            await self._give_up(self._pool)

    async def execute(self, statement: Statement) -> list[tuple[Any, ...]]:
        """The rows a statement answers; none for a change. It may be sent twice.

        Raises:
            Overloaded: every connection is busy, and too many wait for one or have waited for too long.
            ServiceError: as the server says.
        """
        # Counted here: the pool counts those, too, whose connection is just being made, and refuses some of a burst.
        if self._share.max_pending is not None and self._pending >= self._share.max_pending:
            raise Overloaded("error_store_overload")
        self._pending += 1
        try:
            return await self._execute(statement)
        finally:
            self._pending -= 1

    async def _execute(self, statement: Statement) -> list[tuple[Any, ...]]:
        for last in (False, True):
            pool = await self._running_pool()
            conn: Session | None = None
            try:
                async with pool.connection() as conn:
                    return await self._answer(conn, statement)
            except psycopg.Error as exc:
                if isinstance(exc, PoolTimeout) and self._in_use > 0:  # without a server nobody is served, either
                    raise Overloaded("error_store_overload") from exc
                # Only what never reached a living session is sent again: the server was restarted since, or somebody
                # else noticed that and closed this pool while we waited in it.
                lost = isinstance(exc, PoolClosed) or (conn is not None and conn.closed)
                if last or not lost:
                    raise database_error(exc) from exc
                await self._replace_lost(pool)
        raise AssertionError("unreachable: the second round returns or raises")

    async def _answer(self, conn: Session, statement: Statement) -> list[tuple[Any, ...]]:
        self._in_use += 1
        try:
            if self._config.pool_check and time.monotonic() - conn.answered_at > _FRESH_FOR_S:
                await AsyncConnectionPool.check_connection(conn)
            rows = await conn.answer(statement, self._timeout_ms())
            conn.answered_at = time.monotonic()
            return rows
        finally:
            self._in_use -= 1

    def _timeout_ms(self) -> int:
        """When the server ends a statement: with the operation, so that nothing goes on there that nobody awaits.

        The caller's own time-out always comes first, it began before the statement.
        """
        operation_s = operation_timeout_s()
        if operation_s is None:
            return self._statement_timeout_ms
        operation_ms = max(1, round(operation_s * 1000))
        return min(operation_ms, self._statement_timeout_ms or operation_ms)

    # -- the pool

    async def _running_pool(self) -> _Pool:
        """The pool; a new one, if the server is there, when the last one has been given up or has lost touch."""
        if self._pool is None or self._is_out_of_touch(self._pool):
            async with self._pool_changes:
                if self._pool is not None and self._is_out_of_touch(self._pool):
                    await self._give_up(self._pool)
                if self._pool is None:
                    async with self._login.connection():
                        await self._start_pool()
        if self._pool is None:
            raise unavailable(CLOSED)
        return self._pool

    def _is_out_of_touch(self, pool: _Pool) -> bool:
        """Whether it has no connection at all and failed to make one, so that it waits before it tries again."""
        stats = pool.get_stats()
        return not (self._in_use or stats.get("pool_available")) and stats.get("connections_errors", 0) > 0

    async def _start_pool(self) -> None:
        if self._pool is not None or self._closed:
            return
        measures: dict[str, Any] = self._config.pool_arguments() | {
            "min_size": self._share.min_size,
            "max_size": self._share.max_size,
            "max_waiting": 0,  # see `execute`
        }
        self._pool = AsyncConnectionPool(
            self._login.conninfo,
            connection_class=Session,
            kwargs=self._login.arguments,
            configure=Session.prepare_for_use,
            name=self._share.name,
            open=False,
            **measures,
        )
        await self._pool.open(wait=False)

    async def _replace_lost(self, pool: _Pool) -> None:
        """After a lost connection: replace the dead ones, or give the pool up when the server is gone.

        Raises:
            ServiceError: it is gone.
        """
        async with self._pool_changes:
            if self._pool is not pool:
                return  # somebody else has noticed
            try:
                async with self._login.connection():
                    await pool.check()
            except ServiceError:
                await self._give_up(pool)
                raise

    async def _give_up(self, pool: _Pool) -> None:
        self._pool = None
        await pool.close(_CLOSE_TIMEOUT_S)
