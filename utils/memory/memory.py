"""The memory of one credential set: every operation the tools offer, as coroutines.

Reads run in the read lane and answer within the caller's time. Writes are recorded durably in the state store and
carried out by the queue's worker; in asynchronous mode that record is the answer, in
synchronous mode the caller waits for the outcome of the very same path.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from utils import log, messages
from utils.aio.after_answer import after_answer
from utils.aio.gather import gather
from utils.aio.lanes import Lane
from utils.errors import NotFound, Overloaded, Superseded, WriteFailed
from utils.graph.graph import Graph
from utils.graph.relations import Relations
from utils.memory import recall
from utils.memory.handlers import (
    SUPERSEDED_BY_DELETE_ALL,
    SUPERSEDED_BY_DELETE_ALL_OF_AGENT,
    ChunkHandler,
    handlers,
    shared_database,
)
from utils.memory.observed import observed
from utils.memory.recall import Page
from utils.memory.recall_log import RecallLog
from utils.memory.requests import VERSION, Add, Chunk, Delete, DeleteAll, Update, WriteRequest, WriteResult
from utils.models.models import Models
from utils.queue.handler import Handler, Service
from utils.queue.worker import Worker
from utils.state import history, recalls, writes
from utils.state.engine import StateStore
from utils.state.tables import FAILED, PENDING, SUPERSEDED
from utils.stores import filters
from utils.stores.protocol import Owner, Question, Row, Store

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from utils.config.settings import Settings
    from utils.stores.filters import Condition

_CHUNKS_AT_ONCE: Final = 5  # as many as users are extracted at once (SPEC 5)
_RECHECK_S: Final = 1.0  # synchronous mode: how often to look whether another process has carried the write out


class Memory:
    """Operations on the memories of one credential set. Constructing it does no I/O; use it on the loop.

    Args:
        settings: the credentials, read.
        store: the vector store they name; closed by whoever made it.
        state: the state store they name; closed by whoever made it.
        worker: carries out the writes of that vector store; closed by whoever made it.
        recall_log: records what searches of that vector store found; closed by whoever made it.
        more_handlers: of further kinds of writes, by kind.
        recalls_known: returns when all recalls are there that were ever recorded (``legacy``).
        graph: relations beside the memories, if there is a graph; closed with this object.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        state: StateStore,
        worker: Worker,
        recall_log: RecallLog,
        more_handlers: Mapping[str, Handler],
        recalls_known: Callable[[], Awaitable[None]],
        graph: Graph | None = None,
    ) -> None:
        self.settings = settings
        self.graph = graph
        self._recall_log = recall_log
        self._recalls_known = recalls_known
        self._scope = worker.scope
        width = settings.max_concurrent_memory_operations
        self._reads, self._writes = Lane("reads", width), Lane("writes", width)
        self._state, self._store = state, store
        self._beside_state = shared_database(store, state) is not None
        self.models = Models(settings)
        self._id = str(uuid.uuid4())
        self._worker = worker
        carried_out_by = {**handlers(self.models, store, state, recall_log, graph), **more_handlers}
        self._service = Service(settings.identity.client, carried_out_by, self._writes, settings.log_level)
        # A lane of their own: a nightly extraction neither holds up nor refuses people's writes.
        self._chunks = Lane("chunks", _CHUNKS_AT_ONCE)
        chunk = {Chunk.kind: ChunkHandler(self.models, store, state, graph)}
        self._chunk_service = Service(settings.identity.client, chunk, self._chunks, settings.log_level)

    async def open(self) -> None:
        """Have accepted writes carried out, those that earlier processes left as well. Cheap when that is so already.

        Raises:
            ServiceError: the state store failed.
        """
        await self._worker.serve(self._service)
        await self._worker.serve(self._chunk_service)
        if self.graph is not None:
            await self.graph.open()

    def wake_chunks(self) -> None:
        """Have chunks that were accepted carried out now."""
        self._worker.wake(self._chunk_service)

    async def take_up_failed(self) -> None:
        """Try again what failed under these very credentials: they have just been validated."""
        await self._worker.take_up(self._service, own=True)  # of these credentials, whichever kind
        if self.graph is not None:
            await self.graph.take_up_failed()

    async def has_work(self) -> bool:
        """Whether writes accepted under these credentials are still to be carried out."""
        if await self._worker.has_work(self.settings.identity.client):
            return True
        return self.graph is not None and await self.graph.has_work()

    async def close(self, drain_s: float) -> None:
        """Let running calls and writes end for ``drain_s`` seconds, then close what is this set's alone. Idempotent."""
        await asyncio.gather(
            self._worker.leave(self._service, drain_s),
            self._worker.leave(self._chunk_service, drain_s),
            self._reads.drain(drain_s),
            self._writes.drain(drain_s),
            *([] if self.graph is None else [self.graph.close(drain_s)]),
        )
        for lane in (self._reads, self._writes, self._chunks):
            lane.close()
        self.models.close()

    # -- reads

    async def search(
        self,
        query: str,
        owner: Owner,
        *,
        top_k: int,
        threshold: float | None,
        given_filters: Mapping[str, Any] | None,
        with_recalls: bool = False,
    ) -> Page:
        """The owner's memories most similar to ``query`` (see ``recall.search``); their recalls are recorded after the
        answer. ``with_recalls``: also what was recorded of them before.
        """
        condition = _compiled(given_filters)
        async with self._reads.enter():
            await self._store.open()
            asked = self._counts_question(owner.user_id)
            vector = await self.models.embed(query)
            found = recall.search(
                self.models,
                self._store,
                query,
                vector,
                owner,
                top_k=top_k,
                threshold=threshold,
                condition=condition,
                keyword_order=self.settings.vector_store.keyword_order,
                beside=asked,
            )
            near = [] if self.graph is None else [self.graph.near(vector, owner, top_k, condition)]
            counted = [] if asked is not None else [self._counts(owner.user_id)]
            answer, *beside = await gather(found, *near, *counted)
            relations = beside.pop(0) if near else Relations()
            counts = asked.answer if asked is not None else beside.pop()
            pending, failed = counts or await self._counts(owner.user_id)
            rows = answer.rows
            known = await self._recalls(owner.user_id, rows) if with_recalls else None
            # Last: a search that is cut off while it still waits has shown nothing, and must strengthen nothing.
            after_answer(partial(self._recall_log.add, owner.user_id, rows))
            return Page(rows, len(rows), pending, failed, known, relations, answer.rerank_failure)

    async def page(self, owner: Owner, *, limit: int, offset: int, given_filters: Mapping[str, Any] | None) -> Page:
        """One page of the owner's memories, newest first."""
        condition = _compiled(given_filters)
        async with self._reads.enter():
            await self._store.open()
            asked = self._counts_question(owner.user_id)
            rows, total = await self._store.page(owner, limit, offset, condition, beside=asked)
            counts = asked.answer if asked is not None else None
            return Page(rows, total, *(counts or await self._counts(owner.user_id)))

    async def get(self, memory_id: str, user_id: str | None, agent_id: str | None) -> Row:
        """One memory by its id.

        Raises:
            NotFound: there is none, or it is not ``user_id``'s or ``agent_id``'s, if these are given.
        """
        async with self._reads.enter():
            return await self._existing(memory_id, user_id, agent_id)

    async def history(
        self, memory_id: str, user_id: str | None, agent_id: str | None, *, limit: int, offset: int
    ) -> tuple[list[history.Entry], int]:
        """One page of what happened to a memory, oldest first, and how many changes there are in all.

        Raises:
            NotFound: nothing is recorded and there is no such memory (of ``user_id`` and ``agent_id``).
        """
        async with self._reads.enter():
            entries, total = await self._state.read(
                lambda conn: history.of_memory(
                    conn, self._scope, memory_id, user_id, agent_id, limit=limit, offset=offset
                )
            )
            if not total:  # written by mem0 or an earlier plugin: it exists, but nobody recorded how it came to be
                await self._existing(memory_id, user_id, agent_id)
            return entries, total

    async def _existing(self, memory_id: str, user_id: str | None, agent_id: str | None) -> Row:
        await self._store.open()
        row = await self._store.get(memory_id)
        of_user = row is not None and row.user_id and user_id in (None, row.user_id)
        if row is None or not of_user or agent_id not in (None, row.agent_id):
            raise NotFound("error_not_found", memory_id=memory_id)
        return row

    async def _recalls(self, user_id: str, rows: Sequence[Row]) -> dict[str, recalls.Recall]:
        ids = [row.id for row in rows]
        return await self._state.read(lambda conn: recalls.of_memories(conn, self._scope, user_id, ids))

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[tuple[Store, StateStore, str]]:
        """A place in the read lane, for what walks through all memories of a user: the open store, the state store, and
        the scope of what that keeps.
        """
        await self._recalls_known()
        async with self._reads.enter():
            await self._store.open()
            yield self._store, self._state, self._scope

    async def _counts(self, user_id: str) -> tuple[int, int]:
        """How many writes of the user are pending, and how many have failed."""
        return await self._state.read(lambda conn: writes.counts(conn, self._scope, user_id))

    def _counts_question(self, user_id: str) -> Question | None:
        """The same for the round trip of a read; None where the memories are in another place than the state."""
        return Question(*writes.counts_question(self._scope, user_id)) if self._beside_state else None

    # -- writes

    async def add(self, user_id: str, **asked: Any) -> WriteResult:
        """Remember a message pair (fields of ``request.Add``)."""
        return await self._submit(user_id, Add(at=_now(), trace=log.trace.get(), **asked))

    async def update(
        self, memory_id: str, user_id: str | None, agent_id: str | None, text: str, metadata: Mapping[str, Any]
    ) -> WriteResult:
        """Replace a memory's text.

        Raises:
            NotFound: there is no such memory (see :meth:`get`); checked before the write is accepted.
        """
        row = await self.get(memory_id, user_id, agent_id)
        request = Update(at=_now(row), trace=log.trace.get(), memory_id=row.id, text=text, metadata=metadata)
        return await self._submit(str(row.user_id), request)

    async def delete(self, memory_id: str, user_id: str | None, agent_id: str | None) -> WriteResult:
        """Delete a memory.

        Raises:
            NotFound: there is no such memory (see :meth:`get`); checked before the write is accepted.
        """
        row = await self.get(memory_id, user_id, agent_id)
        return await self._submit(str(row.user_id), Delete(at=_now(row), trace=log.trace.get(), memory_id=row.id))

    async def delete_all(self, owner: Owner, *, purge_history: bool) -> WriteResult:
        """Delete every memory of the owner."""
        request = DeleteAll(at=_now(), trace=log.trace.get(), agent_id=owner.agent_id, purge_history=purge_history)
        return await self._submit(owner.user_id, request)

    async def submit_task(
        self, user_id: str, request: WriteRequest, task_id: str, wait_s: float
    ) -> Mapping[str, Any] | None:
        """Record a write of a further kind and wait for it; its result, or None when it goes on in the background.

        Args:
            user_id: whose memories it changes.
            request: what to do.
            task_id: the write's id.
            wait_s: how long to wait in seconds.

        Raises:
            WriteFailed, Superseded: as for the other writes.
        """
        async with self._writes.enter():
            await self._accept(self._new_write(user_id, request, task_id), request)
        self._worker.wake()
        try:
            async with asyncio.timeout(wait_s):
                return (await self._ended(task_id)).result or {}
        except TimeoutError:
            return None

    def _new_write(self, user_id: str, request: WriteRequest, write_id: str) -> writes.NewWrite:
        return writes.NewWrite(
            id=write_id,
            scope=self._scope,
            user_id=user_id,
            kind=request.kind,
            version=VERSION,
            payload=request.to_json(),
            fingerprint=self.settings.identity.client,
            accepted_by=self._id,
            waited_for=not self.settings.async_mode,
        )

    async def _submit(self, user_id: str, request: WriteRequest) -> WriteResult:
        """Record the write; in synchronous mode wait for its outcome, too."""
        write = self._new_write(user_id, request, str(uuid.uuid4()))
        async with self._writes.enter():
            await self._accept(write, request)
        if self.settings.async_mode:
            after_answer(lambda: self._worker.wake(self._service))
            return WriteResult(write.id)
        self._worker.wake(self._service)
        return await self._outcome(write.id, user_id)

    async def _accept(self, write: writes.NewWrite, request: WriteRequest) -> None:
        """Record the write. A delete_all ends what it makes pointless, in the same transaction.

        Raises:
            Overloaded: too many are waiting; nothing has been recorded, and nothing ended.
        """
        most_pending = self._writes.most_pending

        def accept(conn: Connection) -> None:
            if not writes.accept(conn, write, most_pending):
                raise Overloaded("error_overload", limit=most_pending)  # what was ended before it is undone

        def prepare_and_accept(conn: Connection) -> None:
            if isinstance(request, DeleteAll):
                kinds = SUPERSEDED_BY_DELETE_ALL if request.agent_id is None else SUPERSEDED_BY_DELETE_ALL_OF_AGENT
                writes.supersede(conn, write.scope, write.user_id, kinds, request.agent_id)
            if write.waited_for:
                writes.hasten(conn, write.scope, write.user_id)
            accept(conn)

        if isinstance(request, DeleteAll) or write.waited_for:
            return await self._state.write(prepare_and_accept)
        return await self._state.write_statement(accept)

    async def _outcome(self, write_id: str, user_id: str) -> WriteResult:
        """What the write has changed, when it has ended (see :meth:`_ended`) and the graph has learned of it."""
        result = (await self._ended(write_id)).result or {}
        entries = await self._state.read(lambda conn: history.of_write(conn, write_id))
        count = int(result.get("count", len(entries)))
        stored_already, newer = result.get("stored_already", {}), result.get("newer", ())
        relations = Relations()
        if self.graph is not None:
            changed_ids = [entry.memory_id for entry in entries if not entry.is_deleted]
            relations = await self.graph.of_write(write_id, Owner(user_id), changed_ids)
        return WriteResult(write_id, entries, count, stored_already, newer, result.get("refused", {}), relations)

    async def _ended(self, write_id: str) -> writes.WriteState:
        """Wait until the write has ended well, whoever ends it.

        Raises:
            WriteFailed: it failed for good.
            Superseded: a later delete_all has ended it, or taken it away after it failed.
        """
        while True:
            await self._worker.ended(write_id, _RECHECK_S)
            state = await self._state.read(lambda conn: writes.state_of(conn, self._scope, write_id))
            if state is None or state.status == SUPERSEDED:
                raise Superseded("error_write_superseded", write_id=write_id)
            if state.status == PENDING:
                continue
            if state.status == FAILED:
                reason = messages.from_json(state.error or "")
                raise WriteFailed("error_write_failed", write_id=write_id, reason=reason)
            return state


def _compiled(given: Mapping[str, Any] | None) -> Condition | None:
    return filters.parse(given) if given else None


def _now(row: Row | None = None) -> str:
    """The time of a call, never before what was said in the memory it names, which its caller may have seen: the clock
    of whoever stored that may be ahead.
    """
    now = datetime.now(UTC)
    return max(now, (row and observed(row)) or now).isoformat()
