"""The connection to a graph database: opened at first use, bounded in number and time, its errors mapped.

Neo4j and Memgraph by the same driver and the same protocol, Bolt; what differs is a ``statements.Dialect``. Making one
does no I/O. Whatever the driver raises leaves here as a ``ServiceError`` of the part ``graph_store``.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, Literal

from utils.errors import PluginError, ServiceError, ServiceRefused, ServiceRejected, ServiceUnavailable
from utils.graph.statements import DIALECTS

if TYPE_CHECKING:
    from neo4j import AsyncDriver, AsyncManagedTransaction, AsyncSession

_log = logging.getLogger(__name__)

PART: Final = "graph_store"
_CONNECTIONS: Final = 8  # searches and changes of one credential set; Bolt connections are cheap, servers' threads not
# What the driver calls a server that speaks no Bolt, or not as the URL's scheme has it (TLS); also one that starts.
_NO_BOLT: Final = ("ServiceUnavailable", "UnsupportedServerProduct")
_CONNECTION_LIFETIME_S: Final = 3600.0  # as the vector store's pool
_IDLE_CHECK_S: Final = 30.0  # a connection idle for longer is tried before it is used: firewalls drop them silently


class GraphConnection:
    """A bounded pool of connections to one server.

    Args:
        provider: ``neo4j`` or ``memgraph``.
        config: of the graph's block: ``url``, and ``username``, ``password``, ``database`` where given.
        timeout_s: longest time of one operation in seconds, connecting included.
    """

    def __init__(self, provider: str, config: Mapping[str, Any], timeout_s: float) -> None:
        self.dialect = DIALECTS[provider]
        self.failing = False  # the latest operation failed
        self._config = config
        self._timeout_s = timeout_s
        self._driver: AsyncDriver | None = None
        self._opening = asyncio.Lock()
        self._preparing = asyncio.Lock()  # another: making a schema takes seconds, in which searches go on
        self._has_schema = False

    async def close(self) -> None:
        """Give back every connection. Idempotent; the next operation opens anew."""
        async with self._opening:
            driver, self._driver = self._driver, None
            self._has_schema = False
        if driver is not None:
            await driver.close()

    async def check(self) -> None:
        """One round trip that changes nothing: such a server answers, and lets these credentials read the database.

        Raises:
            ServiceError: part ``graph_store``, with a sentence of its own where it is known what is wrong:
                ``ServiceRefused`` for the user or password, ``ServiceUnavailable`` for what may pass (no connection, no
                answer in time), ``ServiceRejected`` for the rest (no such database, another server or an old one).
                ``reason`` is the last word of the server's code, or the driver's class.
        """
        try:
            # Not a managed transaction: that would try again and again, and end without saying why.
            async with (
                self.bounded(),
                (await self._opened()).session(default_access_mode="READ", **self._database()) as session,
            ):
                await (await session.run(self.dialect.probe)).consume()
        except ServiceError as exc:
            raise await self._explained(exc) from exc.__cause__

    async def _explained(self, exc: ServiceError) -> ServiceError:
        """A failed check with what a person can do about it."""
        if isinstance(exc, ServiceRefused) and (user := self._config.get("username")):
            return ServiceRefused("graph_refused", part=PART, reason=exc.reason, user=user)
        if exc.reason == "DatabaseNotFound":
            database = self._config.get("database")
            return ServiceRejected("graph_no_database", part=PART, reason=exc.reason, database=database)
        if exc.reason in ("SyntaxError", "ProcedureNotFound"):
            needed = self.dialect.needed
            return ServiceRejected(
                "graph_unfit", part=PART, reason=exc.reason, server=await self._agent(), needed=needed
            )
        if exc.reason in _NO_BOLT:
            return type(exc)("graph_no_bolt", part=PART, reason=exc.reason)
        return exc

    async def _agent(self) -> str:
        """What the server calls itself, such as ``Neo4j/5.26.0``."""
        async with self.bounded():
            info = await (await self._opened()).get_server_info()
        return str(info.agent)

    @asynccontextmanager
    async def bounded(self) -> AsyncIterator[None]:
        """The body within the store's time; whatever the driver raises is mapped."""
        from neo4j.exceptions import DriverError, Neo4jError

        try:
            async with asyncio.timeout(self._timeout_s):
                yield
        except (Neo4jError, DriverError, OSError, ValueError) as exc:  # a time-out is an OSError, too
            self.failing = True
            raise _mapped(exc) from exc
        self.failing = False

    async def read(self, statement: str, parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
        """What one reading statement returns. Within :meth:`bounded`."""
        async with await self._session("READ") as session:
            return await session.execute_read(lambda tx: fetch(tx, statement, parameters))

    async def write[T](self, work: Callable[[AsyncManagedTransaction], Awaitable[T]]) -> T:
        """Do ``work`` in one transaction; again where the server says that it may pass. Within :meth:`bounded`."""
        driver = await self._opened()
        async with self._preparing:
            if not self._has_schema:
                await self._make_schema(driver)
                self._has_schema = True
        async with await self._session("WRITE") as session:
            return await session.execute_write(work)

    async def _session(self, access: Literal["READ", "WRITE"]) -> AsyncSession:
        return (await self._opened()).session(default_access_mode=access, **self._database())

    def _database(self) -> dict[str, Any]:
        return {"database": self._config.get("database") or None}

    async def _opened(self) -> AsyncDriver:
        async with self._opening:
            if self._driver is None:
                self._driver = self._new_driver()
            return self._driver

    def _new_driver(self) -> AsyncDriver:
        from neo4j import AsyncGraphDatabase

        config = self._config
        auth = (config["username"], config.get("password") or "") if config.get("username") else None
        return AsyncGraphDatabase.driver(
            config["url"].strip(),
            auth=auth,
            max_connection_pool_size=_CONNECTIONS,
            max_connection_lifetime=_CONNECTION_LIFETIME_S,
            liveness_check_timeout=_IDLE_CHECK_S,
            connection_timeout=self._timeout_s,
            connection_acquisition_timeout=self._timeout_s,
            max_transaction_retry_time=self._timeout_s,
            telemetry_disabled=True,
        )

    async def _make_schema(self, driver: AsyncDriver) -> None:
        from neo4j.exceptions import ClientError

        async with driver.session(**self._database()) as session:
            for statement in self.dialect.schema:
                try:
                    await (await session.run(statement)).consume()
                except ClientError:
                    if not self.dialect.schema_repeats:
                        raise
            if self.dialect.vector_index is not None:
                await self._make_vector_index(session, self.dialect.vector_index)

    async def _make_vector_index(self, session: AsyncSession, statement: str) -> None:
        from neo4j.exceptions import Neo4jError

        try:
            await (await session.run(statement)).consume()
        except Neo4jError as exc:
            _log.warning("the graph has no vector index (%s); searches of large users take longer", _reason(exc))


async def fetch(tx: AsyncManagedTransaction, statement: str, parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What a statement returns, as one dictionary per row."""
    result = await tx.run(statement, dict(parameters))
    return [record.data() async for record in result]


def _mapped(exc: Exception) -> PluginError:
    from neo4j.exceptions import AuthError, DriverError, Forbidden, Neo4jError, SessionExpired, TransientError
    from neo4j.exceptions import ServiceUnavailable as Unreachable

    reason = _reason(exc)
    if isinstance(exc, AuthError | Forbidden):
        return ServiceRefused("service_refused", part=PART, reason=reason)
    passing = isinstance(exc, Unreachable | SessionExpired | TransientError | OSError)
    if passing or (isinstance(exc, Neo4jError | DriverError) and exc.is_retryable()):
        return ServiceUnavailable("service_unavailable", part=PART, reason=reason)
    return ServiceRejected("service_rejected", part=PART, reason=reason)


def _reason(exc: Exception) -> str:
    """The last word of the server's code, such as ``DatabaseNotFound``; or the driver's class."""
    return str(getattr(exc, "code", None) or type(exc).__name__).rpartition(".")[2]
