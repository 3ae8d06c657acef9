"""The graph of one credential set: relations beside each search, and steps that keep them true.

Memories never wait for the graph. A search asks it beside the vector search and for a short time only; where it fails,
the search answers without relations and says so, and the next ones do not ask for some seconds. What writes change is
recorded with them and learned later (``steps``).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from utils.aio.lanes import Lane
from utils.errors import PluginError, ServiceError
from utils.graph import steps
from utils.graph.handlers import handlers, repair
from utils.graph.relations import Relations
from utils.graph.steps import step_id
from utils.queue.handler import Service
from utils.state import writes
from utils.state.tables import DONE, PENDING
from utils.stores.protocol import Owner, text_hash

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from utils.graph.relations import FoundRelation
    from utils.graph.steps import GraphStep
    from utils.graph.store import GraphStore
    from utils.queue.worker import Worker
    from utils.state.engine import StateStore
    from utils.state.writes import WriteState
    from utils.stores.filters import Condition
    from utils.stores.protocol import Store

_log = logging.getLogger(__name__)

_SEARCH_TIMEOUT_S: Final = 2.0  # of a search's five: without relations it is still an answer
_REST_S: Final = 10.0  # after a failure; a graph that hangs would hold up every search for two seconds
_WIDTH: Final = 4  # users whose steps are carried out at once; one user's are one after the other
_PER_RESULT: Final = 2  # relations of a search, as a multiple of the memories it may answer (SPEC: 2 x top_k)
_LEARNED_S: Final = 5.0  # how long a caller that waits for a write waits for the graph, too
_LOOK_AGAIN_S: Final = 1.0  # whether another process has carried out the step
_MOST_OF_A_WRITE: Final = 200  # relations told of the memories a write changed


class Graph:
    """Relations of one credential set. Constructing it does no I/O; use it on the loop.

    Args:
        graph: the graph store; closed with this object.
        store: the vector store whose memories the relations stem from.
        state: where steps are accepted.
        worker: carries the steps out; its scope is ``steps.steps_scope`` of ``scope``. Closed by whoever made it.
        scope: the memories'.
        fingerprint: of the credentials.
        log_level: for the lines about steps.
    """

    def __init__(
        self,
        graph: GraphStore,
        store: Store,
        state: StateStore,
        worker: Worker,
        *,
        scope: str,
        fingerprint: str,
        log_level: str,
    ) -> None:
        self._graph = graph
        self._store = store
        self._state = state
        self._worker = worker
        self._scope = scope
        self._lane = Lane("graph", _WIDTH)
        self._service = Service(fingerprint, handlers(graph, store), self._lane, log_level, until_it_works=True)
        self._rests_until = 0.0
        self._repairs: dict[str, asyncio.Task[None]] = {}  # by user

    async def open(self) -> None:
        """Have accepted steps carried out. Cheap when that is so already.

        Raises:
            ServiceError: the state store failed.
        """
        await self._worker.serve(self._service)

    async def has_work(self) -> bool:
        """Whether steps of these credentials are still to be carried out, and may be: a graph that fails must not keep
        its set open, in the way of whoever has better credentials for it.
        """
        return not self._graph.failing and await self._worker.has_work(self._service.fingerprint)

    async def take_up_failed(self) -> None:
        """Try again what failed under these very credentials: they have just been validated."""
        await self._worker.take_up(self._service, own=True)

    async def touch(self) -> None:
        """Keep the connection alive.

        Raises:
            ServiceError: part ``graph_store``.
        """
        await self._graph.check()

    async def close(self, drain_s: float) -> None:
        """Give running steps ``drain_s`` seconds, then close the connections. Idempotent."""
        repairs = list(self._repairs.values())
        for task in repairs:
            task.cancel()
        await asyncio.gather(*repairs, return_exceptions=True)
        await self._worker.leave(self._service, drain_s)
        self._lane.close()
        await self._graph.close()

    # -- reading

    async def near(
        self, vector: Sequence[float], owner: Owner, top_k: int, condition: Condition | None = None
    ) -> Relations:
        """The relations nearest to a query, at most twice ``top_k``. It raises nothing and takes two seconds at most.

        Args:
            vector: the query's embedding.
            owner: whose; with an agent, that agent's only.
            top_k: how many memories the search may answer.
            condition: what the memories they stem from must meet.
        """
        if time.monotonic() < self._rests_until:
            return Relations(failed=True)
        try:
            async with asyncio.timeout(_SEARCH_TIMEOUT_S):
                found = await self._graph.search(owner, vector, _PER_RESULT * top_k)
                return Relations(await self._standing(found, owner, condition))
        except (PluginError, TimeoutError) as exc:
            self._rests_until = time.monotonic() + _REST_S
            _log.warning("relations could not be found (%s); searches answer without them", _reason(exc))
            return Relations(failed=True)

    async def of_write(self, write_id: str, owner: Owner, memory_ids: Sequence[str]) -> Relations:
        """The relations of the memories that a write has just stored, as soon as the graph has learned of it; a few
        seconds are waited for that. It raises nothing of the graph.

        Raises:
            ServiceError: the state store failed.
        """
        step = await self._looked_at(write_id)
        if step is None:
            return Relations()
        if step.status != DONE:
            return Relations(failed=True)
        try:
            async with asyncio.timeout(_SEARCH_TIMEOUT_S):
                return Relations(await self._graph.edges_of(owner, memory_ids, _MOST_OF_A_WRITE) if memory_ids else ())
        except (ServiceError, TimeoutError) as exc:
            _log.warning("the relations of write %s could not be read (%s)", write_id, _reason(exc))
            return Relations(failed=True)

    async def _looked_at(self, write_id: str) -> WriteState | None:
        """The step of a write, when it has been carried out, or tried, or a few seconds have passed; None when the
        write left none.
        """
        self._worker.wake(self._service)
        step, ends = step_id(write_id), time.monotonic() + _LEARNED_S
        while True:
            known = await self._state.read(lambda conn: writes.state_of(conn, self._worker.scope, step))
            if known is None or known.status != PENDING or known.attempts or time.monotonic() > ends:
                return known
            await self._worker.ended(step, _LOOK_AGAIN_S)

    async def _standing(
        self, found: Sequence[FoundRelation], owner: Owner, condition: Condition | None
    ) -> list[FoundRelation]:
        """Those whose memory exists, is the owner's and says what it said; edges of others are removed behind the
        call.
        """
        memory_ids = list(dict.fromkeys(relation.memory_id for relation in found))
        rows = [row for row in await self._store.get_many(memory_ids) if owner.owns(row.payload)]
        said = {row.id: text_hash(row.text) for row in rows}
        if any(said.get(relation.memory_id) != relation.text_hash for relation in found):
            self._begin_repair(owner.user_id)
        wanted = {row.id for row in rows if condition is None or condition.matches(row.payload)}
        return [
            relation
            for relation in found
            if relation.memory_id in wanted and said[relation.memory_id] == relation.text_hash
        ]

    def _begin_repair(self, user_id: str) -> None:
        if user_id not in self._repairs:
            self._repairs[user_id] = asyncio.create_task(self._repair(user_id))
            self._repairs[user_id].add_done_callback(lambda _: self._repairs.pop(user_id, None))

    async def _repair(self, user_id: str) -> None:
        self._lane.use_pool()
        try:
            repaired = await repair(self._graph, self._store, user_id, datetime.now(UTC).isoformat())
        except PluginError as exc:
            _log.warning("relations of memories that are gone could not be removed (%s)", _reason(exc))
        else:
            _log.info("relations removed of memories that are gone or say something else: of %d", repaired)

    # -- writing

    def accept(self, conn: Connection, user_id: str, step: GraphStep) -> None:
        """Record what the graph has to learn of a write, in the transaction that finishes the write."""
        steps.accept(conn, self._scope, user_id, self._service.fingerprint, step)


def _reason(exc: Exception) -> str:
    return str(exc.reason) if isinstance(exc, ServiceError) else type(exc).__name__
