"""Opening the state store and running transactions in it.

Functions over the tables are written once, as plain functions of a SQLAlchemy ``Connection``; :class:`StateStore`
decides where they run: on PostgreSQL on workers of its own (psycopg yields while it waits), on SQLite on real OS
threads (it blocks in C): one thread writes, so there is exactly one writer, and another reads beside it (WAL), so a
read never waits for a write.

Promises: nothing is opened before the first use; a broken connection is noticed and replaced; whatever the driver
raises leaves as a ``ServiceError`` of part ``state_store`` without the statement, its parameters or the DSN.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
import time
from collections.abc import Callable
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import sqlalchemy as sa
from sqlalchemy import Connection, Engine, event
from sqlalchemy.engine.interfaces import IsolationLevel
from sqlalchemy.pool import ConnectionPoolEntry, QueuePool, StaticPool

from utils.aio.blocking import NativeThread, ThreadPool
from utils.config import dsn
from utils.config.state_location import PostgresLocation, SqliteLocation
from utils.errors import ServiceRejected, ServiceUnavailable
from utils.messages import Sentence
from utils.state import tables
from utils.state.migrations.migrate import migrate

if TYPE_CHECKING:
    from collections.abc import Iterator

    import psycopg

_log = logging.getLogger(__name__)

_PRIVATE: Final = 0o600  # of a SQLite file
# Connections, twelve in all. What a worker commits may wait for long: for a row that another process has locked, or,
# with the changes of memories in it, for whoever has locked their table. Accepting a write, claiming and renewing
# leases must not wait behind that, and reads behind neither.
_WRITERS: Final = 3
_CHANGERS: Final = 6
_READERS: Final = 3
_POOL_TIMEOUT_S: Final = 5
_LOOK_AGAIN_S: Final = 0.05  # while the server admits no further connection
_STATEMENT_TIMEOUT: Final = "statement_timeout = 10000"  # milliseconds
# Milliseconds; a process that stands still in a transaction would block its user's queue for all.
_IDLE_TIMEOUT: Final = "idle_in_transaction_session_timeout = 5000"
_UNANSWERED_MS: Final = "20000"  # what was sent and is not acknowledged for so long ends the connection (Linux)
_SHARED: Final = "shared"  # key in a pooled connection's info: a pooler changes the server session under it
_PREPARE_THRESHOLD: Final = 5  # psycopg's own: a statement is prepared on the server when it was sent so many times
_BUSY_TIMEOUT_MS: Final = 5_000  # SQLite: how long to wait for another process's write transaction
# Connection, rollback, resources, operator intervention; a transaction that stood still for too long.
_RETRYABLE_SQLSTATES: Final = ("08", "40", "53", "57", "25P03")


class StateStore:
    """The plugin's own tables, in PostgreSQL or in a SQLite file.

    Args:
        location: where they live; nothing is touched until :meth:`open`.
    """

    def __init__(self, location: PostgresLocation | SqliteLocation) -> None:
        self.location = location
        self._backend: _Postgres | _Sqlite = (
            _Postgres(location.conninfo) if isinstance(location, PostgresLocation) else _Sqlite(Path(location.path))
        )
        self._opening = asyncio.Lock()
        self._open = False

    async def open(self) -> None:
        """Connect and migrate; a later call returns at once, a failed one is tried again by the next."""
        if self._open:
            return
        async with self._opening:
            if not self._open:
                with _mapped_errors():
                    await self._backend.write(migrate)
                self._open = True

    async def close(self) -> None:
        """Give back connections and threads. Idempotent."""
        await self._backend.close()

    async def write[T](self, work: Callable[[Connection], T]) -> T:
        """What ``work(connection)`` returns, run in one transaction that is committed before this returns."""
        await self.open()
        with _mapped_errors():
            return await self._backend.write(work)

    async def write_changes[T](self, work: Callable[[Connection], T]) -> T:
        """Like :meth:`write`, for transactions that may wait for a lock: they keep no other write from being made."""
        await self.open()
        with _mapped_errors():
            return await self._backend.write_changes(work)

    async def write_statement[T](self, work: Callable[[Connection], T]) -> T:
        """Like :meth:`write`, for ``work`` that sends a single statement (on PostgreSQL) which may be sent twice: it
        commits by itself, in one round trip instead of three.
        """
        await self.open()
        with _mapped_errors():
            return await self._backend.write_statement(work)

    async def read[T](self, work: Callable[[Connection], T]) -> T:
        """What ``work(connection)`` returns, run beside any writes; ``work`` changes nothing."""
        await self.open()
        with _mapped_errors():
            return await self._backend.read(work)

    async def touch(self) -> None:
        """Use a connection of each kind, so that nothing in between takes them for forgotten."""
        await self.read(_ask_nothing)
        await self.write_statement(_ask_nothing)
        await self.write_changes(_ask_nothing)


def _ask_nothing(connection: Connection) -> None:
    connection.execute(sa.select(1))


class _Postgres:
    """Threads, each call with a connection of the pool. psycopg waits on sockets, so under gevent it yields.

    SQLAlchemy's asyncio engine would do without the threads, but costs more: measured in the patched process, 2.5 ms
    of CPU a statement with 20 in flight against 1.0 ms, and 8 MB.
    """

    def __init__(self, conninfo: str) -> None:
        self._conninfo = conninfo
        self._writing, self._reading = ThreadPool("mem0-state", _WRITERS), ThreadPool("mem0-state-reads", _READERS)
        self._changing = ThreadPool("mem0-state-changes", _CHANGERS)
        self._writer = self._engine(_WRITERS, "READ COMMITTED")
        self._changer = self._engine(_CHANGERS, "READ COMMITTED")
        self._single_writer = self._writer.execution_options(isolation_level="AUTOCOMMIT")
        self._reader = self._engine(_READERS, "AUTOCOMMIT")

    async def write[T](self, work: Callable[[Connection], T]) -> T:
        return await self._writing.run(_transact, self._writer, work)

    async def write_changes[T](self, work: Callable[[Connection], T]) -> T:
        return await self._changing.run(_transact, self._changer, work, self._writer)

    async def write_statement[T](self, work: Callable[[Connection], T]) -> T:
        return await self._writing.run(_transact, self._single_writer, work)

    async def read[T](self, work: Callable[[Connection], T]) -> T:
        return await self._reading.run(_transact, self._reader, work, self._single_writer)

    async def close(self) -> None:
        for pool in (self._writing, self._changing, self._reading):
            pool.close()
        for engine in (self._writer, self._changer, self._reader):
            engine.dispose()

    def _engine(self, connections: int, isolation_level: IsolationLevel) -> Engine:
        engine = sa.create_engine(
            "postgresql+psycopg://",
            creator=self._connect,
            isolation_level=isolation_level,
            pool_size=connections,
            max_overflow=0,
            pool_timeout=_POOL_TIMEOUT_S,
            pool_pre_ping=False,  # a ping costs as much as a statement: `_transact` tries again instead
            hide_parameters=True,
        )
        event.listen(engine, "connect", _prepare_session)
        return engine

    def _connect(self) -> psycopg.Connection[Any]:
        import psycopg

        # A connection that was cut without a word would hold its thread for a quarter of an hour.
        conninfo = dsn.write({"tcp_user_timeout": _UNANSWERED_MS, **dsn.parameters_of(self._conninfo)})
        return psycopg.connect(conninfo, prepare_threshold=None)


def _prepare_session(connection: psycopg.Connection[Any], record: ConnectionPoolEntry) -> None:
    """Find out whether the server session is ours alone; only then is anything left in it.

    A pooler that gives every transaction another session (PgBouncer, Supabase, Neon) would hand our settings and
    prepared statements to others. It shows by the process number (see ``stores.pgvector.sessions.is_shared``).
    """
    told = connection.info.backend_pid
    before = connection.autocommit  # SQLAlchemy has set it already: a read must not become a transaction
    connection.autocommit = True
    shared = connection.execute("SELECT pg_backend_pid()").fetchone() != (told,)
    if not shared:
        # SET, not a start-up option: poolers refuse unknown start-up options
        connection.execute(f"SET {_STATEMENT_TIMEOUT}; SET {_IDLE_TIMEOUT}")
        connection.prepare_threshold = _PREPARE_THRESHOLD
    connection.autocommit = before
    record.info[_SHARED] = shared


def _transact[T](engine: Engine, work: Callable[[Connection], T], spare: Engine | None = None) -> T:
    """Run ``work``; once more when the pooled connection turned out to be dead before the commit.

    In autocommit mode its statement may have been carried out by then: such ``work`` must bear being run twice.
    """
    for last in (False, True):
        with _connection(engine, spare) as connection:
            try:
                transaction = _begin(connection)
                value = work(connection)
            except sa.exc.DBAPIError as exc:
                if last or not exc.connection_invalidated:
                    raise
                continue  # the whole pool has been marked stale
            transaction.commit()  # a connection lost here may have committed: not tried again
            return value
    raise AssertionError("unreachable: the second round returns or raises")


def _connection(engine: Engine, spare: Engine | None) -> Connection:
    """A connection of the engine's pool. A server may admit fewer than the pool would make (a role's limit): then one
    that comes back must do, or one of ``spare``'s pool, where this one has none at all.
    """
    give_up_at = time.monotonic() + _POOL_TIMEOUT_S
    while True:
        try:
            return engine.connect()
        except sa.exc.DBAPIError:
            if _has_connections(engine) and time.monotonic() < give_up_at:
                time.sleep(_LOOK_AGAIN_S)
            elif spare is not None and _has_connections(spare):
                return _connection(spare, None)
            else:
                raise


def _has_connections(engine: Engine) -> bool:
    pool = cast("QueuePool", engine.pool)
    return pool.checkedin() + pool.checkedout() > 0


def _begin(connection: Connection) -> sa.RootTransaction:
    """Begin; behind a pooler always a real transaction, which brings its settings and takes them along."""
    if not connection.info[_SHARED]:
        return connection.begin()
    connection.execution_options(isolation_level="READ COMMITTED")
    transaction = connection.begin()
    connection.exec_driver_sql(f"SET LOCAL {_STATEMENT_TIMEOUT}; SET LOCAL {_IDLE_TIMEOUT}")
    return transaction


class _Sqlite:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._writer = _SqliteThread(path, "BEGIN IMMEDIATE")
        self._reader = _SqliteThread(path, "BEGIN")

    async def write[T](self, work: Callable[[Connection], T]) -> T:
        return await self._writer.run(work)

    write_statement = write_changes = write

    async def read[T](self, work: Callable[[Connection], T]) -> T:
        return await self._reader.run(work)

    async def close(self) -> None:
        await self._writer.close()
        await self._reader.close()


class _SqliteThread:
    """One OS thread with the one connection it uses."""

    def __init__(self, path: Path, begin: str) -> None:
        self._thread = NativeThread("mem0-sqlite")
        self._path = path
        self._begin = begin
        self._engine: Engine | None = None
        self._closed = False

    async def run[T](self, work: Callable[[Connection], T]) -> T:
        return await self._thread.run(self._transact, work)

    async def close(self) -> None:
        if not self._closed:
            self._closed = True
            await self._thread.run(self._dispose)
            self._thread.close()

    def _transact[T](self, work: Callable[[Connection], T]) -> T:
        if self._engine is None:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)  # it holds users' texts
            _create(self._path)
            self._engine = _sqlite_engine(self._path, self._begin)
        with self._engine.begin() as connection:
            return work(connection)

    def _dispose(self) -> None:
        if self._engine is not None:
            self._engine.dispose()


def _sqlite_engine(path: Path, begin: str) -> Engine:
    engine = sa.create_engine(
        sa.URL.create("sqlite", database=str(path)),
        poolclass=StaticPool,
        hide_parameters=True,
        connect_args={"check_same_thread": False, "timeout": _BUSY_TIMEOUT_MS / 1000},
        execution_options={"schema_translate_map": {tables.SCHEMA: None}},
    )

    @event.listens_for(engine, "connect")
    def _prepare(connection: sqlite3.Connection, _record: object) -> None:
        _close_to_others(path)  # before anything is in it; what SQLite makes beside it gets its mode
        connection.isolation_level = None  # transactions begin where SQLAlchemy says, not before the first INSERT
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA secure_delete = ON")  # what is erased is overwritten
        connection.execute("PRAGMA synchronous = FULL")  # an answered ACCEPT survives a power cut, too

    @event.listens_for(engine, "begin")
    def _start(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine


def _create(path: Path) -> None:
    """Make an empty file that is its owner's alone. It is not opened: closing it again would take away the locks that
    other connections of this process have on it.
    """
    with suppress(FileExistsError, PermissionError):  # macOS lets only root do so: SQLite makes it then
        os.mknod(path, _PRIVATE)


def _close_to_others(path: Path) -> None:
    """Let nobody but its owner read the file and what SQLite keeps beside it, wherever they lie."""
    for name in (path, *(path.with_name(path.name + suffix) for suffix in ("-wal", "-shm"))):
        try:
            if name.stat().st_mode & 0o077:
                name.chmod(_PRIVATE)
        except FileNotFoundError:
            continue
        except PermissionError:
            _log.warning("the SQLite state is another user's file; others may be able to read it")


@contextmanager
def _mapped_errors() -> Iterator[None]:
    """Turn what the drivers raise into errors of the tree; the reason is a class and an SQLSTATE, never a text."""
    try:
        yield
    except sa.exc.DBAPIError as exc:
        raise _mapped(exc.orig or exc) from exc
    except sa.exc.TimeoutError as exc:
        raise ServiceUnavailable(
            "service_unavailable", part="state_store", reason=Sentence("reason_no_connection", {})
        ) from exc
    except OSError as exc:
        raise ServiceUnavailable("service_unavailable", part="state_store", reason=type(exc).__name__) from exc


def _mapped(exc: BaseException) -> ServiceUnavailable | ServiceRejected:
    name = type(exc).__name__
    sqlstate = getattr(exc, "sqlstate", None)
    if isinstance(exc, sqlite3.OperationalError):  # locked, disk full, unable to open: the place may recover
        return ServiceUnavailable("service_unavailable", part="state_store", reason=exc.sqlite_errorname)
    if sqlstate is None and name in ("OperationalError", "InterfaceError", "ConnectionTimeout"):
        return ServiceUnavailable("service_unavailable", part="state_store", reason=name)
    if sqlstate is not None and sqlstate.startswith(_RETRYABLE_SQLSTATES):
        return ServiceUnavailable("service_unavailable", part="state_store", reason=f"{name} {sqlstate}")
    return ServiceRejected("service_rejected", part="state_store", reason=f"{name} {sqlstate or ''}".strip())
