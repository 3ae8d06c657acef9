"""How the queue's writes change memories: the handlers of add, chunk, update, delete and delete_all.

Each has the effect of once however often it is called. What a write does is decided once (the plan), committed, and
then applied. Where memories and state share one PostgreSQL, applying is part of the transaction that finishes the
write, behind the lock on the queue's row: a worker that lost its lease changes nothing. Elsewhere the lease is asked
before every change, and applying twice equals applying once.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, cast

from sqlalchemy import Connection

from utils.aio import congestion
from utils.config.state_location import PostgresLocation
from utils.errors import CannotList, ServiceUnavailable, TimedOut
from utils.graph import steps
from utils.graph.relations import Edge
from utils.graph.steps import ChangeEdges, DeleteAllEdges, GraphStep, RepairEdges
from utils.memory import remember
from utils.memory.observed import is_new_since
from utils.memory.plan import Change, Plan, apply, transaction
from utils.memory.recall_log import EVERY_S, RecallLog
from utils.memory.reconcile import deletion
from utils.memory.requests import VERSION, Add, Chunk, Delete, DeleteAll, Update, WriteRequest, read
from utils.messages import Sentence
from utils.queue.handler import Handler, Outcome, QueueLease, Step
from utils.state import erasure, history, queues, recalls, tasks, writes
from utils.state.tasks import Counts
from utils.stores.protocol import Owner, Row, RowChanges, TransactionalStore, text_hash

if TYPE_CHECKING:
    from psycopg import Cursor

    from utils.graph.graph import Graph
    from utils.models.models import Models
    from utils.state.engine import StateStore
    from utils.state.writes import Write
    from utils.stores.protocol import Store

_log = logging.getLogger(__name__)

_BATCH: Final = 200  # memories deleted between two commits of a delete_all
_SHORTEST_WAIT_S: Final = 3.0  # for deletions to be seen, of a store that promises them sooner
_WAIT_FACTOR: Final = 3  # how much longer than it promises a store may show what was deleted
_LOOK_AGAIN_S: Final = 1.0
_PATIENCE_S: Final = 5.0  # of a chunk in an overloaded process; an extraction must come to its end all the same
_RECALLS_RECORDED_S: Final = 3 * EVERY_S  # by then every process has recorded what was recalled before
# What a delete_all of the whole user makes pointless, and what a delete_all of one agent's memories does.
SUPERSEDED_BY_DELETE_ALL: Final = (Add.kind, Chunk.kind, Update.kind, Delete.kind)
SUPERSEDED_BY_DELETE_ALL_OF_AGENT: Final = (Add.kind, Chunk.kind)


def handlers(
    models: Models, store: Store, state: StateStore, recall_log: RecallLog, graph: Graph | None
) -> Mapping[str, Handler]:
    """The handlers of one credential set, by kind of write; all but that of chunks."""
    change = ChangeHandler(models, store, state, graph)
    delete_all = DeleteAllHandler(store, state, recall_log, graph)
    return {Add.kind: change, Update.kind: change, Delete.kind: change, DeleteAll.kind: delete_all}


class ChangeHandler:
    """Carries out add, update and delete: plan, commit the plan, apply it.

    Args:
        models: model and embedder.
        store: where the memories are.
        state: where plans are committed.
        graph: learns of the changes, if there is one.
    """

    version = VERSION

    def __init__(self, models: Models, store: Store, state: StateStore, graph: Graph | None) -> None:
        self._models = models
        self._store = store
        self._state = state
        self._graph = graph

    async def __call__(self, write: Write, lease: QueueLease) -> Outcome:
        """See ``Handler``."""
        plan, owner = await self._plan(write, lease), Owner(write.user_id)
        if plan.newer:
            newer = ", ".join(plan.newer)
            _log.warning("write %s is older than memories it would change; they stay as they are: %s", write.id, newer)
        result = {
            "stored_already": dict(plan.stored_already),
            "newer": list(plan.newer),
            "refused": dict(plan.refused),
        }
        more = (*self._counted(write, plan), *self._to_learn(write, plan))
        if (shared := shared_database(self._store, self._state)) is not None:
            send = await transaction(plan, shared, owner)
            return Outcome(result, (lambda conn: _record(conn, lease, write, send(_cursor(conn))), *more))
        applied = await apply(plan, self._store, owner, lease.must_be_held)
        return Outcome(result, (lambda conn: _record(conn, lease, write, applied), *more))

    def _counted(self, _write: Write, _plan: Plan) -> Iterable[Step]:
        """What else is committed with the end of a write."""
        return ()

    def _to_learn(self, write: Write, plan: Plan) -> Iterable[Step]:
        """What of a write the graph has to learn, accepted with the end of the write."""
        graph, step = self._graph, edges_of(plan, write)
        return () if graph is None or step is None else (lambda conn: graph.accept(conn, write.user_id, step),)

    async def _plan(self, write: Write, lease: QueueLease) -> Plan:
        """The committed plan: the one there is, or a new one. An empty one is not committed: it repeats nothing."""
        if write.plan is not None:
            return Plan.from_json(write.plan)
        request = read(write.kind, write.payload)
        plan = await self._planned(write, request)
        if plan.changes:
            packed = plan.to_json()
            await self._state.write_statement(lambda conn: writes.record_plan(conn, lease.claim, write.id, packed))
        return plan

    async def _planned(self, write: Write, request: WriteRequest) -> Plan:
        """A new plan. Where a caller waits it may take as long as one request of a working model, and not as long as
        all the retries of one that hangs.

        Raises:
            TimedOut: it took longer.
        """
        patience_s = self._models.patience_s if write.waited_for else None
        try:
            async with asyncio.timeout(patience_s):
                return await remember.plan(
                    self._models,
                    self._store,
                    write.id,
                    write.user_id,
                    request,
                    with_relations=self._graph is not None,
                )
        except TimeoutError as exc:
            raise TimedOut("error_timeout", seconds=f"{patience_s:g}") from exc


class ChunkHandler(ChangeHandler):
    """Carries out a chunk of a conversation, and adds what became of it to its task's counts. People's calls go first:
    where they have to wait for each other, a chunk waits a while before it begins.
    """

    async def __call__(self, write: Write, lease: QueueLease) -> Outcome:
        """See ``Handler``."""
        await congestion.calm(_PATIENCE_S)
        return await super().__call__(write, lease)

    def _counted(self, write: Write, plan: Plan) -> Iterable[Step]:
        types = Counter(change.metadata.get("memory_subtype") for change in plan.changes)
        counts = Counts(
            semantic=types["semantic"],
            episodic=types["episodic"],
            procedural=types["procedural"],
            llm_calls=plan.model_calls,
        )
        task_id = str(write.payload["task_id"])
        return (lambda conn: tasks.count(conn, task_id, write.user_id, counts),)


class DeleteAllHandler:
    """Carries out delete_all: page by page, each recorded before it goes. Cut off and begun again, it counts no memory
    twice. One that had failed and is taken up late leaves what was said or stored since it was accepted; of the history
    that it purges nothing stays all the same, as what it holds of a newer memory may be an older text.

    Args:
        store: where the memories are.
        state: where what is deleted is recorded.
        recall_log: where recalls wait to be recorded.
        graph: learns of it, if there is one.
    """

    version = VERSION

    def __init__(self, store: Store, state: StateStore, recall_log: RecallLog, graph: Graph | None) -> None:
        self._store = store
        self._state = state
        self._recall_log = recall_log
        self._graph = graph

    async def __call__(self, write: Write, lease: QueueLease) -> Outcome:
        """See ``Handler``."""
        request = read(write.kind, write.payload)
        if not isinstance(request, DeleteAll):
            raise TypeError(f"not a delete_all: {write.kind}")
        kept = await self._delete_rows(write, lease, request)
        if kept:
            _log.warning("write %s is older than %d memories it would delete; they stay as they are", write.id, kept)
        count = await self._deleted(write)
        erases_user = request.purge_history and request.agent_id is None  # of one agent's deletion the user stays
        if erases_user:  # what a search found just before may still be in some process's recall log
            await asyncio.sleep(_RECALLS_RECORDED_S)
            await self._recall_log.forget(write.user_id)  # after an outage they may still wait

        def clear(conn: Connection) -> None:
            claim = lease.claim
            if request.purge_history:
                history.purge(conn, claim.scope, claim.user_id, request.agent_id)
            if not kept:  # those of each memory went with it
                recalls.delete_all(conn, claim.scope, claim.user_id, request.agent_id)
            erasure.drop_failed_before(conn, claim, write.id, request.agent_id)
            step: GraphStep = RepairEdges(write.id, request.at)  # what is newer keeps its edges
            if not kept:
                steps.drop(conn, claim.scope, claim.user_id, request.agent_id)  # also where there is no graph any more
                step = DeleteAllEdges(write.id, request.at, request.agent_id, purge=erases_user)
            if self._graph is not None:
                self._graph.accept(conn, claim.user_id, step)
            if erases_user:
                erasure.forget_user(conn, claim, write.id)

        return Outcome({"count": count}, (clear,), forget_queue=erases_user)

    async def _delete_rows(self, write: Write, lease: QueueLease, request: DeleteAll) -> int:
        """Go through the owner's memories until none is left to delete; how many are left all the same, as they are
        newer.

        Raises:
            ServiceUnavailable: memories that were deleted are still shown, and no others.
        """
        longest_s = max(_SHORTEST_WAIT_S, _WAIT_FACTOR * self._store.visible_after_s)
        waited_s, deleted = 0.0, await self._deleted(write)
        while True:
            found, kept = await self._pass(write, lease, request)
            if not found:
                return kept
            before, deleted = deleted, await self._deleted(write)
            if deleted > before:
                waited_s = 0.0
                continue
            # Everything that is left has been deleted: the store shows its deletions late, or does not delete.
            if waited_s >= longest_s:
                lease.made_progress = False
                reason = Sentence("reason_deletions_shown", {})
                raise ServiceUnavailable("service_unavailable", part="vector_store", reason=reason)
            await asyncio.sleep(_LOOK_AGAIN_S)
            waited_s += _LOOK_AGAIN_S

    async def _pass(self, write: Write, lease: QueueLease, request: DeleteAll) -> tuple[int, int]:
        """Delete every memory that is shown and not kept; how many either are."""
        owner, after_id, found, kept = Owner(write.user_id, request.agent_id), None, 0, 0
        try:
            while rows := await self._store.scan(owner, after_id, _BATCH):
                gone = [row for row in rows if not (write.parked and is_new_since(row, request.at))]
                await self._delete(write, lease, gone, request.at)
                after_id, found, kept = rows[-1].id, found + len(gone), kept + len(rows) - len(gone)
        except CannotList:
            # A store that lists only so many cannot go on from an id; the next pass sees what has moved up.
            if not found:
                raise
        return found, kept

    async def _delete(self, write: Write, lease: QueueLease, rows: list[Row], at: str) -> None:
        """Delete one page and commit its record: in one transaction where that is possible, else the record first."""
        if not rows:
            return
        plan = Plan(tuple(deletion(row, at) for row in rows))
        shared = shared_database(self._store, self._state)
        statements = (
            []
            if shared is None
            else await shared.change_statements(Owner(write.user_id), RowChanges(deleted=[row.id for row in rows]))
        )

        def commit(conn: Connection) -> None:
            queues.hold(conn, lease.claim)
            _record(conn, lease, write, plan.changes, reason=DeleteAll.kind)
            for statement in statements:
                shared.send(_cursor(conn), statement)  # type: ignore[union-attr]  # there are none without it

        await self._state.write_changes(commit)
        if shared is None:
            lease.must_be_held()
            await self._store.delete([row.id for row in rows])
        lease.made_progress = True

    async def _deleted(self, write: Write) -> int:
        return await self._state.read(lambda conn: history.count_of_write(conn, write.id))


def edges_of(plan: Plan, write: Write) -> ChangeEdges | None:
    """What the graph has to learn of a plan; None when it is nothing: new memories without relations, and those that
    were only said again.
    """
    changed = [change for change in plan.changes if change.event != "NONE"]
    if all(change.event == "ADD" and not change.relations for change in changed):
        return None
    stored = {change.memory_id: text_hash(change.text) for change in changed if change.text is not None}
    edges = [
        Edge(*relation, change.memory_id, change.agent_id, stored[change.memory_id])
        for change in changed
        for relation in change.relations
    ]
    removed = [change.memory_id for change in changed if change.event == "DELETE"]
    agent_id, at = write.payload.get("agent_id"), changed[0].changed_at
    return ChangeEdges(write.id, at, agent_id, stored, removed, edges, plan.entities)


def shared_database(store: Store, state: StateStore) -> TransactionalStore | None:
    """The store, if its memories live in the very database of the state: then one transaction can change both."""
    if not isinstance(store, TransactionalStore) or not isinstance(state.location, PostgresLocation):
        return None
    return store if store.conninfo == state.location.conninfo else None


def _cursor(conn: Connection) -> Cursor[Any]:
    """The driver's own cursor, inside the transaction of ``conn``."""
    return cast("Cursor[Any]", conn.connection.cursor())


def _record(
    conn: Connection, lease: QueueLease, write: Write, changes: Iterable[Change], *, reason: str | None = None
) -> None:
    """Add a write's changes to the history, and drop what was recorded of the recalls of deleted memories; ``reason``
    says why memories went that nobody named.
    """
    entries = [change.entry(reason) for change in changes]
    history.record(conn, lease.claim.scope, write.user_id, write.id, entries)
    gone = [entry.memory_id for entry in entries if entry.is_deleted]
    recalls.delete_of(conn, lease.claim.scope, write.user_id, gone)
