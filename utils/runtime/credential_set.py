"""One credential set in use: what it opens, and what it shares with others.

Sets that name the same place share what belongs to the place: the store, the state store, the worker that carries out
the writes of the one by means of the other. What belongs to the credentials, models and lanes, each has to itself.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from utils.aio.heartbeat import Heartbeat
from utils.errors import ServiceError
from utils.runtime.shared import Shared

if TYPE_CHECKING:
    from utils.config.identity import Identity
    from utils.config.settings import Settings
    from utils.extraction.extraction import Extraction
    from utils.graph.graph import Graph
    from utils.legacy.state_import import StateImport
    from utils.memory.memory import Memory
    from utils.memory.recall_log import RecallLog
    from utils.queue.worker import Worker
    from utils.state.engine import StateStore
    from utils.stores.protocol import Store

EXTRACTION_MAX_CONCURRENT_USERS: Final = 5  # SPEC 5: of the process, over all tasks
GRAPH_TIMEOUT_S: Final = 10.0  # of one operation; the steps of many users wait behind one that hangs
_HAS_WORK_S: Final = 5.0  # one silent state store must not keep every set open
_NO_MEMORY: Final = str(uuid.UUID(int=0))


@dataclass(frozen=True, slots=True)
class Places:
    """What credential sets share, by what it points at."""

    states: Shared[StateStore] = field(default_factory=lambda: Shared())
    stores: Shared[Store] = field(default_factory=lambda: Shared())
    workers: Shared[Worker] = field(default_factory=lambda: Shared())
    extracted_users: asyncio.Semaphore = field(
        default_factory=lambda: asyncio.Semaphore(EXTRACTION_MAX_CONCURRENT_USERS)
    )
    recall_logs: Shared[RecallLog] = field(default_factory=lambda: Shared())


class Opened(NamedTuple):
    """What operations are there for with one credential set."""

    memory: Memory
    extraction: Extraction
    legacy: StateImport


class CredentialSet:
    """The memory of one credential set, opened by its first call.

    Args:
        settings: the credentials, read.
        places: what it shares.
    """

    def __init__(self, settings: Settings, places: Places) -> None:
        self.calls = 0
        self.used_at = time.monotonic()
        self.log_level = settings.log_level
        self._settings = settings
        self._places = places
        self._opening = asyncio.Lock()
        self._opened: Opened | None = None
        self._acquired = AsyncExitStack()

    @asynccontextmanager
    async def in_use(self) -> AsyncIterator[None]:
        """Count a call for as long as the body runs: a set with running calls is not closed."""
        self.calls += 1
        try:
            yield
        finally:
            self.calls -= 1
            self.used_at = time.monotonic()

    async def opened(self) -> Opened:
        """The set's operations, ready to be used.

        Raises:
            ServiceError: the state store failed.
        """
        if self._opened is None:
            async with self._opening:
                if self._opened is None:
                    self._opened = await self._make()
        await self._opened.memory.open()
        self._opened.extraction.open()
        self._opened.legacy.start()
        return self._opened

    async def _make(self) -> Opened:
        # Imported here: what a call does not need must not delay the plugin's first line.
        from utils.extraction.extraction import Extraction
        from utils.forgetting.handler import Forget, ForgetHandler
        from utils.legacy.state_import import StateImport
        from utils.memory.memory import Memory
        from utils.memory.recall_log import RecallLog
        from utils.queue.worker import Worker
        from utils.state.engine import StateStore
        from utils.stores.building import build_store

        settings, places = self._settings, self._places
        same = settings.identity
        async with AsyncExitStack() as acquired:  # a later one may fail, or be cancelled while a predecessor closes
            state = await places.states.acquire(same.state, lambda: StateStore(same.state))
            acquired.push_async_callback(places.states.release, same.state)
            store = await places.stores.acquire(same.connection, lambda: build_store(settings))
            acquired.push_async_callback(places.stores.release, same.connection)
            scope = await _settled_scope(same, state, store)
            worker = await places.workers.acquire((same.state, scope), lambda: Worker(state, scope))
            acquired.push_async_callback(places.workers.release, (same.state, scope))
            recall_log = await places.recall_logs.acquire((same.state, scope), lambda: RecallLog(state, scope))
            acquired.push_async_callback(places.recall_logs.release, (same.state, scope))
            graph = await self._graph(acquired, store, state, scope)
            legacy = StateImport(store, state, scope)
            acquired.push_async_callback(legacy.close)
            self._acquired = acquired.pop_all()
        more_handlers = {Forget.kind: ForgetHandler(store, state, legacy.done, graph)}
        memory = Memory(settings, store, state, worker, recall_log, more_handlers, legacy.done, graph)
        heartbeat = _heartbeat(memory, store, state)
        heartbeat.start()
        self._acquired.callback(heartbeat.stop)
        extraction = Extraction(settings, state, worker, memory.wake_chunks, places.extracted_users, legacy.done)
        return Opened(memory, extraction, legacy)

    async def _graph(self, acquired: AsyncExitStack, store: Store, state: StateStore, scope: str) -> Graph | None:
        """The graph of the set, which ``Memory`` closes; None when the credentials name none."""
        from utils.graph.graph import Graph
        from utils.graph.steps import steps_scope
        from utils.graph.store import GraphStore
        from utils.queue.worker import Worker

        settings, workers = self._settings, self._places.workers
        if settings.graph is None:
            return None
        key = (settings.identity.state, steps_scope(scope))
        worker = await workers.acquire(key, lambda: Worker(state, steps_scope(scope)))
        acquired.push_async_callback(workers.release, key)
        edges_scope = await _edges_scope(settings.identity, state, store, scope)
        graph_store = GraphStore(settings.graph.provider, settings.graph.config, edges_scope, GRAPH_TIMEOUT_S)
        names = {"scope": scope, "fingerprint": settings.identity.client, "log_level": settings.log_level}
        return Graph(graph_store, store, state, worker, **names)

    async def has_work(self) -> bool:
        """Whether closing the set would leave accepted writes undone; no answer counts as that."""
        if self._opened is None:
            return False
        try:
            async with asyncio.timeout(_HAS_WORK_S):
                return await self._opened.memory.has_work() or await self._opened.extraction.has_work()
        except (ServiceError, TimeoutError):
            return True

    async def close(self, drain_s: float) -> None:
        """Drain, then let go of what is shared with other sets. Idempotent."""
        async with self._opening:
            opened, self._opened = self._opened, None
        if opened is not None:
            await opened.extraction.close()
            await opened.memory.close(drain_s)
            await self._acquired.aclose()


def _heartbeat(memory: Memory, store: Store, state: StateStore) -> Heartbeat:
    probes = {
        "the LLM": memory.models.touch_chat_model,
        "the embedder": memory.models.touch_embedder,
        "the vector store": lambda: store.get(_NO_MEMORY),
        "the state store": state.touch,
    }
    if memory.graph is not None:
        probes["the graph store"] = memory.graph.touch
    return Heartbeat(probes, memory.settings.heartbeat_interval_s, memory.settings.log_level)


async def _settled_scope(same: Identity, state: StateStore, store: Store) -> str:
    """The scope of the store's queues and history. Only who meets an address for the first time asks the store."""
    from utils.state import scopes

    known = await state.read(lambda conn: scopes.of_address(conn, same.address))
    scope = known or await store.collection_id(same.beside_state) or scopes.named_after(same.address)
    return await state.write(lambda conn: scopes.settle(conn, same.address, scope))


async def _edges_scope(same: Identity, state: StateStore, store: Store, scope: str) -> str:
    """What tells this store's edges from another's in the same graph. Memories beside their state have a scope that is
    theirs in that one database only; two databases may share a graph, and must not share a user.
    """
    from utils.state import scopes

    if not same.beside_state:
        return scope
    name = scopes.named_after(f"edges of {scope}")
    known = await state.read(lambda conn: scopes.of_address(conn, name))
    if known is not None:
        return known
    await store.open()  # its id is kept with the collection, which has to be there
    own_id = await store.collection_id(beside_state=False) or uuid.uuid4().hex
    return await state.write(lambda conn: scopes.settle(conn, name, own_id))
