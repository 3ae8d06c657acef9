"""How the queue's writes change memories: the handlers of add, update, delete and delete_all.

Each has the effect of once however often it is called. What a write does is decided once (the plan), committed, and
then applied. Where memories and state share one PostgreSQL, applying is part of the transaction that finishes the
write, behind the lock on the queue's row: a worker that lost its lease changes nothing. Elsewhere the lease is asked
before every change, and applying twice equals applying once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from sqlalchemy import Connection

from utils.errors import ServiceUnavailable
from utils.memory import remember
from utils.memory.plan import Plan, apply
from utils.memory.requests import VERSION, Add, Delete, DeleteAll, Update, read
from utils.queue.handler import Handler, Outcome
from utils.state import history, queues, writes
from utils.stores.protocol import Owner, Row

if TYPE_CHECKING:
    from utils.models.models import Models
    from utils.queue.lease import Lease
    from utils.state.engine import StateStore
    from utils.state.writes import Write
    from utils.stores.protocol import Store

_BATCH: Final = 200  # memories deleted between two commits of a delete_all
_VISIBLE_WITHIN_S: Final = 30.0  # OpenSearch shows a deletion after up to ten seconds, Elasticsearch after one
_LOOK_AGAIN_S: Final = 1.0
# What a delete_all of the whole user makes pointless, and what a delete_all of one agent's memories does.
SUPERSEDED_BY_DELETE_ALL: Final = (Add.kind, Update.kind, Delete.kind)
SUPERSEDED_BY_DELETE_ALL_OF_AGENT: Final = (Add.kind,)


def handlers(models: Models, store: Store, state: StateStore) -> Mapping[str, Handler]:
    """The handlers of one credential set, by kind of write."""
    change = ChangeHandler(models, store, state)
    return {Add.kind: change, Update.kind: change, Delete.kind: change, DeleteAll.kind: DeleteAllHandler(store, state)}


class ChangeHandler:
    """Carries out add, update and delete: plan, commit the plan, apply it.

    Args:
        models: model and embedder.
        store: where the memories are.
        state: where plans are committed.
    """

    version = VERSION

    def __init__(self, models: Models, store: Store, state: StateStore) -> None:
        self._models = models
        self._store = store
        self._state = state

    async def __call__(self, write: Write, lease: Lease) -> Outcome:
        """See ``Handler``."""
        plan = await self._plan(write, lease)
        applied = await apply(plan, self._store, Owner(write.user_id), lease.must_be_held)
        entries = [change.entry() for change in applied]
        return Outcome(also=(_recording(lease, write, entries),))

    async def _plan(self, write: Write, lease: Lease) -> Plan:
        """The committed plan: the one there is, or a new one. An empty one is not committed: it repeats nothing."""
        if write.plan is not None:
            return Plan.from_json(write.plan)
        request = read(write.kind, write.payload)
        plan = await remember.plan(self._models, self._store, write.id, write.user_id, request)
        if plan.changes:
            packed = plan.to_json()
            await self._state.write_statement(lambda conn: writes.record_plan(conn, lease.claim, write.id, packed))
        return plan


class DeleteAllHandler:
    """Carries out delete_all: page by page, each recorded before it goes. Cut off and begun again, it counts no memory
    twice.

    Args:
        store: where the memories are.
        state: where what is deleted is recorded.
    """

    version = VERSION

    def __init__(self, store: Store, state: StateStore) -> None:
        self._store = store
        self._state = state

    async def __call__(self, write: Write, lease: Lease) -> Outcome:
        """See ``Handler``."""
        request = read(write.kind, write.payload)
        if not isinstance(request, DeleteAll):
            raise TypeError(f"not a delete_all: {write.kind}")
        await self._delete_rows(write, lease, request)
        count = await self._deleted(write)

        def clear(conn: Connection) -> None:
            claim = lease.claim
            if request.purge_history:
                history.purge(conn, claim.scope, claim.user_id, request.agent_id)
            writes.drop_failed_before(conn, claim, write.id, request.agent_id)

        return Outcome({"count": count}, (clear,))

    async def _delete_rows(self, write: Write, lease: Lease, request: DeleteAll) -> None:
        """Go through the owner's memories until none is left.

        Raises:
            ServiceUnavailable: memories that were deleted are still shown, and no others.
        """
        waited_s, deleted = 0.0, await self._deleted(write)
        while await self._pass(write, lease, request):
            before, deleted = deleted, await self._deleted(write)
            if deleted > before:
                waited_s = 0.0
                continue
            # Everything that is left has been deleted: the store shows its deletions late, or does not delete.
            if waited_s >= _VISIBLE_WITHIN_S:
                lease.made_progress = False
                raise ServiceUnavailable("service_unavailable", part="vector_store", reason="deleted memories remain")
            await asyncio.sleep(_LOOK_AGAIN_S)
            waited_s += _LOOK_AGAIN_S

    async def _pass(self, write: Write, lease: Lease, request: DeleteAll) -> bool:
        """Delete every memory that is shown; whether there was any."""
        owner, after_id = Owner(write.user_id, request.agent_id), None
        while rows := await self._store.scan(owner, after_id, _BATCH):
            await self._delete(write, lease, rows, request.at)
            after_id = rows[-1].id
        return after_id is not None

    async def _delete(self, write: Write, lease: Lease, rows: list[Row], at: str) -> None:
        record = _recording(lease, write, [remember.deletion(row, at).entry() for row in rows])

        def commit(conn: Connection) -> None:
            queues.hold(conn, lease.claim)
            record(conn)

        await self._state.write(commit)
        lease.must_be_held()
        await self._store.delete([row.id for row in rows])
        lease.made_progress = True

    async def _deleted(self, write: Write) -> int:
        return await self._state.read(lambda conn: history.count_of_write(conn, write.id))


def _recording(lease: Lease, write: Write, entries: list[history.Entry]) -> Callable[[Connection], None]:
    """The step that adds a write's changes to the history."""
    return lambda conn: history.record(conn, lease.claim.scope, write.user_id, write.id, entries)
