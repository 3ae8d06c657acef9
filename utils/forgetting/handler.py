"""Forgetting as an accepted write: it goes through all of a user's memories and deletes the forgotten ones.

It takes its turn in the user's queue, so it never meets an add or a change of the same user. Searches go on meanwhile:
a memory that is recalled before its deletion commits is kept. Deletions are committed batch by batch, each with its
entry in the history; cut off anywhere and begun again, the write counts none twice and judges by the same moment.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Final

from sqlalchemy import Connection

from utils.forgetting.assessment import assess
from utils.graph.steps import RepairEdges
from utils.memory.handlers import shared_database
from utils.memory.reconcile import deletion
from utils.memory.requests import VERSION, WriteRequest
from utils.queue.handler import Outcome, QueueLease
from utils.state import checkpoints, history, leases, queues, recalls, writes
from utils.state.recalls import Recall
from utils.stores.protocol import Owner, Row, RowChanges
from utils.stores.values import instant

if TYPE_CHECKING:
    from utils.graph.graph import Graph
    from utils.state.engine import StateStore
    from utils.state.writes import Write
    from utils.stores.protocol import Store

PAGE: Final = 500  # memories looked at, and at most deleted, between two commits
REASON: Final = "forgotten"
_DAY_S: Final = 86_400.0
# SPEC 6. An extraction looks back up to 7 days: with its checkpoint gone sooner it would read a day twice.
LEAST_CHECKPOINT_TTL_DAYS: Final = 8


def oldest_checkpoint_s(ttl_days: int) -> float:
    """Seconds a checkpoint is kept for, of the days that the credentials say."""
    return max(ttl_days, LEAST_CHECKPOINT_TTL_DAYS) * _DAY_S


@dataclass(frozen=True, slots=True)
class Forget(WriteRequest):
    """Delete what is forgotten as of ``at``.

    Attributes:
        agent_id: of this app's memories only; None: of all.
        memory_ttl_days: age at which a memory goes whatever its recalls; None: at none.
        checkpoint_ttl_days: age at which an extraction checkpoint goes.
    """

    kind: ClassVar[str] = "forget"

    agent_id: str | None = None
    memory_ttl_days: int | None = None
    checkpoint_ttl_days: int = 90

    @property
    def now_s(self) -> float:
        """The moment that memories are judged by, in seconds since the epoch."""
        moment = instant(self.at)
        if moment is None:
            raise ValueError("a forgetting without a time")
        return moment.total_seconds()


class ForgetHandler:
    """Carries out a forgetting.

    Args:
        store: where the memories are.
        state: where recalls, history, checkpoints and leases are.
        recalls_known: returns when all recalls are there that were ever recorded (``legacy``).
        graph: learns of it, if there is one, and looks for what other programs have deleted.
    """

    version = VERSION

    def __init__(
        self,
        store: Store,
        state: StateStore,
        recalls_known: Callable[[], Awaitable[None]],
        graph: Graph | None = None,
    ) -> None:
        self._store = store
        self._state = state
        self._recalls_known = recalls_known
        self._graph = graph

    async def __call__(self, write: Write, lease: QueueLease) -> Outcome:
        """See ``Handler``."""
        await self._recalls_known()
        asked, graph = Forget.from_json(write.payload), self._graph
        run = _Run(self._store, self._state, write, lease, asked)
        cleaned = await run.clean()
        retained = await run.go_through()
        deleted = await self._state.read(lambda conn: history.count_of_write(conn, write.id))
        outcome = Outcome({**cleaned, "deleted_count": deleted, "retained_count": retained})
        if graph is None:
            return outcome
        step = RepairEdges(write.id, asked.at)
        return replace(outcome, also=(lambda conn: graph.accept(conn, write.user_id, step),))


class _Recalled(Exception):
    """Some of the memories about to be deleted have just been recalled: the transaction is rolled back.

    Args:
        still_forgotten: the others.
    """

    def __init__(self, still_forgotten: Sequence[Row]) -> None:
        super().__init__()
        self.still_forgotten = still_forgotten


@dataclass(slots=True)
class _Run:
    """One try to carry out a forgetting."""

    store: Store
    state: StateStore
    write: Write
    lease: QueueLease
    asked: Forget
    scope: str = field(init=False)

    def __post_init__(self) -> None:
        self.scope = self.lease.claim.scope

    async def clean(self) -> dict[str, int]:
        """Delete the user's expired checkpoints and leases. The counts are committed with it, as the write's plan."""
        user_id, app_id = self.write.user_id, self.asked.agent_id
        older_than_s = oldest_checkpoint_s(self.asked.checkpoint_ttl_days)

        def work(conn: Connection) -> dict[str, int]:
            queues.hold(conn, self.lease.claim)
            cleaned = {
                "checkpoints_cleaned": checkpoints.purge(conn, self.scope, user_id, app_id, older_than_s=older_than_s),
                "locks_cleaned": leases.purge_expired(conn, self.scope, user_id, app_id),
            }
            writes.record_plan(conn, self.lease.claim, self.write.id, cleaned)
            return cleaned

        return dict(self.write.plan) if self.write.plan is not None else await self.state.write_changes(work)

    async def go_through(self) -> int:
        """Judge every memory and delete the forgotten; how many are left."""
        owner, after_id, retained = Owner(self.write.user_id, self.asked.agent_id), None, 0
        await self.store.open()
        while rows := await self.store.scan(owner, after_id, PAGE):
            retained += len(rows) - await self._delete_forgotten(rows)
            await self._delete_orphans(after_id, rows[-1].id, {row.id for row in rows})
            after_id = rows[-1].id
        await self._delete_orphans(after_id, None, ())
        return retained

    async def _delete_forgotten(self, rows: Sequence[Row]) -> int:
        """Delete those of ``rows`` that are forgotten; how many. What this write has recorded as deleted in an earlier
        try is deleted now, whatever happened since: its deletion was committed then.
        """
        ids = [row.id for row in rows]

        def look(conn: Connection) -> tuple[set[str], dict[str, Recall]]:
            known = recalls.of_memories(conn, self.scope, self.write.user_id, ids)
            return history.deleted_by(conn, self.write.id, ids), known

        recorded, known = await self.state.read(look)
        doomed: Sequence[Row] = [row for row in rows if row.id in recorded or self._is_forgotten(row, known)]
        while doomed:
            try:
                await self._delete(doomed, recorded)
                break
            except _Recalled as exc:
                doomed = exc.still_forgotten
        return len(doomed)

    def _is_forgotten(self, row: Row, known: dict[str, Recall]) -> bool:
        return assess(row, known.get(row.id), self.asked.now_s, self.asked.memory_ttl_days).forget

    async def _delete(self, rows: Sequence[Row], recorded: Collection[str]) -> None:
        """Delete ``rows`` and commit that: in one transaction where that is possible, else its record first.

        Raises:
            _Recalled: some have been recalled since they were judged; nothing is done.
        """
        ids = [row.id for row in rows]
        entries = [deletion(row, self.asked.at).entry(REASON) for row in rows]
        user_id, shared = self.write.user_id, shared_database(self.store, self.state)
        changes = RowChanges(deleted=ids)
        statements = [] if shared is None else await shared.change_statements(Owner(user_id), changes)

        def commit(conn: Connection) -> None:
            queues.hold(conn, self.lease.claim)
            known = recalls.hold(conn, self.scope, user_id, ids)  # from here on nobody records a recall of these
            still = [row for row in rows if row.id in recorded or self._is_forgotten(row, known)]
            if len(still) < len(rows):
                raise _Recalled(still)
            history.record(conn, self.scope, user_id, self.write.id, entries)
            recalls.delete_of(conn, self.scope, user_id, ids)
            for statement in statements:
                cursor: Any = conn.connection.cursor()  # the driver's own, inside this very transaction
                shared.send(cursor, statement)  # type: ignore[union-attr]  # there are none without it

        await self.state.write_changes(commit)
        if shared is None:
            self.lease.must_be_held()
            await self.store.delete(ids)
        self.lease.made_progress = True

    async def _delete_orphans(self, after_id: str | None, up_to_id: str | None, there: Collection[str]) -> None:
        """Delete what is recorded of memories between two ids that are not ``there``: deleted by another program, or
        recalled at the moment they were deleted. Ids are scanned and recorded in the same order.
        """
        user_id, app_id = self.write.user_id, self.asked.agent_id
        more = True
        while more:
            found = await self.state.read(
                lambda conn, after_id=after_id: recalls.page(  # type: ignore[misc]
                    conn, self.scope, user_id, app_id, after_id=after_id, up_to_id=up_to_id, limit=PAGE
                )
            )
            missing = [memory_id for memory_id, at in found if memory_id not in there and at < self.asked.now_s]
            # A memory may have been added since this page was read, by a program that knows no queue: ask for each.
            orphans = [memory_id for memory_id in missing if await self.store.get(memory_id, to_change=True) is None]
            if orphans:
                await self.state.write_changes(
                    lambda conn, ids=orphans: recalls.delete_of(conn, self.scope, user_id, ids)  # type: ignore[misc]
                )
            more = len(found) == PAGE
            after_id = found[-1][0] if found else after_id
