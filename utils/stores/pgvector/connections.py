"""The pools of connections behind a pgvector collection: one for reads, one for writes, and how a statement is sent.

Two pools, so that neither waits for the other: twenty writes that stand in a lock leave the readers' connections alone.
Together they hold at most ``maxconn`` connections. A pool that is full is an overload, not an outage.

A server may admit fewer connections than that (a role's limit, other clients). Then each pool serves with those it
has; writes that have none go over the readers'; and when nobody has any, it is an overload.

One round trip per statement: connections are in autocommit mode, and every statement here is atomic and may be sent
twice without harm, so one whose connection turns out to be dead is sent again over another. A connection that answered
within the last second is not asked first whether it lives.

While the server is away each call learns so at once, by one attempt to connect, and the first one after its return is
served. The pool itself would try again ever more rarely, minutes apart in the end, and let callers wait meanwhile: so
a pool that has no connection and cannot make one is given up, and a new one begun when the server lets us in again.
"""

from __future__ import annotations

import asyncio
import time
import weakref
from collections.abc import Callable
from contextvars import Context
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

import psycopg
from psycopg_pool import AsyncConnectionPool, PoolClosed, PoolTimeout

from utils.aio.deadline import operation_timeout_s
from utils.errors import Overloaded, ServiceError
from utils.stores.errors import CLOSED, database_error, unavailable
from utils.stores.pgvector.sessions import Login, ServerFull, Session
from utils.stores.pgvector.statements import Statement

if TYPE_CHECKING:
    from utils.config.pgvector import PgvectorConfig

_FRESH_FOR_S: Final = 1.0
_CLOSE_TIMEOUT_S: Final = 3.0
_WRITE_SHARE: Final = 4  # one connection in so many is for writes, at least one: their statements are short

type _Pool = AsyncConnectionPool[Session]


class _Sessions:
    """Makes the sessions of one pool and knows which live. The pool takes it for its class of connections.

    Args:
        on_none: called when an attempt to connect has failed, no other is under way, and no session lives.
    """

    def __init__(self, on_none: Callable[[], None]) -> None:
        self._on_none = on_none
        self._under_way = 0
        self._made: weakref.WeakSet[Session] = weakref.WeakSet()

    async def connect(self, conninfo: str, **arguments: Any) -> Session:
        """Make a session."""
        self._under_way += 1
        try:
            session = await Session.connect(conninfo, **arguments)
            try:
                await session.prepare_for_use()
            except BaseException:
                await session.close()
                raise
            self._made.add(session)
        finally:
            self._under_way -= 1
            if not self._under_way and not self.any_lives():
                self._on_none()
        return session

    def any_lives(self) -> bool:
        """Whether there is one that is not known to be lost, in use or not."""
        return any(not session.closed for session in self._made)


@dataclass(frozen=True, slots=True)
class Share:
    """One pool's part of the connections.

    Attributes:
        name: what it is for.
        min_size: connections kept open, as far as the server admits so many.
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
    refused: its caller has been answered, and the write lane bounds how many there are. Only connections for reads
    are kept open: where there are not enough for all, those who wait for an answer come first.
    """
    if config.maxconn == 1:
        # Nothing to divide: first come, first served, and nobody is refused because of the others.
        both = Share("pgvector", config.minconn, 1, None)
        return both, both
    for_writes = max(1, config.maxconn // _WRITE_SHARE)
    for_reads = config.maxconn - for_writes
    max_pending = config.maxconn + config.pool_max_waiting if config.pool_max_waiting else None
    reads = Share("pgvector reads", min(config.minconn, for_reads), for_reads, max_pending)
    return reads, Share("pgvector writes", 0, for_writes, None)


class Connections:
    """A pool of connections to one database; made by the first call that needs one.

    Args:
        login: makes connections.
        config: the pool's measures.
        share: which part of the connections.
        statement_timeout_ms: after this time the server ends a statement, or sooner, when the operation's own time is
            up; 0: never.
        spare: whose connections serve while the server admits none of our own.
    """

    def __init__(
        self,
        login: Login,
        config: PgvectorConfig,
        share: Share,
        statement_timeout_ms: int,
        spare: Connections | None = None,
    ) -> None:
        self._login = login
        self._config = config
        self._share = share
        self._statement_timeout_ms = statement_timeout_ms
        self._spare = spare
        self._pool: _Pool | None = None
        self._sessions: _Sessions | None = None
        self._pool_changes = asyncio.Lock()
        self._closing: set[asyncio.Task[None]] = set()
        self._pending = 0
        self._closed = False

    async def open(self) -> None:
        """Start the pool; its connections are made beside the work."""
        async with self._pool_changes:
            await self._start_pool()

    async def close(self) -> None:
        """Close every connection; idempotent, and nothing can be asked afterwards."""
        self._closed = True
        self._give_up()
        if self._closing:
            await asyncio.wait(self._closing)

    async def execute(self, statement: Statement) -> list[tuple[Any, ...]]:
        """The rows a statement answers; none for a change. It may be sent more than once.

        Raises:
            Overloaded: every connection is busy, and too many wait for one or have waited for too long; or the server
                admits none.
            ServiceError: as the server says.
        """
        # Counted here: the pool counts those, too, whose connection is just being made, and refuses some of a burst.
        if self._share.max_pending is not None and self._pending >= self._share.max_pending:
            raise Overloaded("error_store_overload")
        self._pending += 1
        try:
            return await self._execute(statement)
        except ServerFull:
            if self._spare is None:
                raise
            return await self._spare._execute(statement)
        finally:
            self._pending -= 1

    async def _execute(self, statement: Statement) -> list[tuple[Any, ...]]:
        for last in (False, False, True):
            pool, sessions = await self._running_pool()
            conn: Session | None = None
            try:
                async with pool.connection() as conn:
                    return await self._answer(conn, statement)
            except psycopg.Error as exc:
                if isinstance(exc, PoolTimeout) and sessions.any_lives():  # all are in use; after an outage, none lives
                    raise Overloaded("error_store_overload") from exc
                # Only what never reached a living session is sent again: the server was restarted since, or somebody
                # else noticed that and closed this pool while we waited in it.
                lost = isinstance(exc, PoolClosed) or (conn is not None and conn.closed)
                if last or not lost:
                    raise database_error(exc) from exc
                await self._replace_lost(pool)
        raise AssertionError("unreachable: the last round returns or raises")

    async def _answer(self, conn: Session, statement: Statement) -> list[tuple[Any, ...]]:
        if self._config.pool_check and time.monotonic() - conn.answered_at > _FRESH_FOR_S:
            await AsyncConnectionPool.check_connection(conn)
        rows = await conn.answer(statement, self._timeout_ms())
        conn.answered_at = time.monotonic()
        return rows

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

    async def _running_pool(self) -> tuple[_Pool, _Sessions]:
        """The pool; a new one, if the server lets us in, when the last one has been given up."""
        if self._pool is None:
            async with self._pool_changes:
                if self._pool is None:
                    async with self._login.connection():
                        pass  # closed before the pool makes its own: it may be the last one the server admits
                    await self._start_pool()
        if self._pool is None or self._sessions is None:
            raise unavailable(CLOSED)
        return self._pool, self._sessions

    async def _start_pool(self) -> None:
        if self._pool is not None or self._closed:
            return
        measures: dict[str, Any] = self._config.pool_arguments() | {
            "min_size": self._share.min_size,
            "max_size": self._share.max_size,
            "max_waiting": 0,  # see `execute`
        }
        sessions = _Sessions(lambda: self._give_up(pool))
        pool: _Pool = AsyncConnectionPool(
            self._login.conninfo,
            connection_class=cast("type[Session]", sessions),
            kwargs=self._login.arguments,
            name=self._share.name,
            open=False,
            **measures,
        )
        self._pool, self._sessions = pool, sessions
        await pool.open(wait=False)

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
                    pass
            except ServerFull:
                pass  # it is there, and has places again for those that were lost, or soon
            except ServiceError:
                self._give_up(pool)
                raise
            await pool.check()

    def _give_up(self, pool: _Pool | None = None) -> None:
        """Do without the pool (of several calls for the same one, the first counts); its clients get ``PoolClosed``."""
        if self._pool is None or pool not in (None, self._pool):
            return
        closing = asyncio.create_task(self._pool.close(_CLOSE_TIMEOUT_S), context=Context())
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)
        self._pool = None
