"""Carrying out accepted writes in the background.

One worker per credential set. It leases due queues (``state.writes``), plans and applies their heads one after the
other, and keeps the leases alive while it works. It promises exactly one effect per accepted write: the plan is
committed with the lease's fencing token before the first change, applying it again changes nothing, and whatever is
committed after the lease was lost is refused. When the process dies anywhere, another worker goes on: where the lease
ran out, or on the same machine as soon as it sees the death (``state.presence``).
"""

from __future__ import annotations

import asyncio
import logging
import random
import uuid
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from utils import log
from utils.aio.blocking import run_blocking
from utils.errors import LeaseLost, PluginError, ServiceError, ServiceUnavailable
from utils.memory import plan as plans
from utils.memory import remember
from utils.memory import requests as request
from utils.queue import retry
from utils.state import history, writes
from utils.state.presence import Presence
from utils.state.tables import DONE, FAILED
from utils.stores.protocol import Owner

if TYPE_CHECKING:
    from pathlib import Path

    from utils.aio.lanes import Lane
    from utils.models.models import Models
    from utils.state.engine import StateStore
    from utils.stores.protocol import Store

_log = logging.getLogger(__name__)

_LEASE_LOST: Final = "a lease was lost; its queue is another worker's now"
LEASE_S: Final = 10.0  # a dead worker's queues are taken over after this long
_RENEW_S: Final = 3.0
_MARGIN_S: Final = 1.5  # work stops this long before a lease that cannot be renewed ends
_POLL_S: Final = 2.0  # how soon work left by another process is noticed; work accepted here wakes the worker at once
_SETTLE_S: Final = 1.0  # what a worker that died had sent to a store may still land for so long
_OUTAGE_PAUSE_S: Final = 1.0
_WIPE_BATCH: Final = 200  # memories deleted between two commits of a delete_all
_KEEP_DONE_S: Final = 7 * 86_400.0
_KEEP_FAILED_S: Final = 30 * 86_400.0
_PURGE_EVERY_S: Final = 3_600.0
_PURGE_BATCH: Final = 500


class Worker:
    """Carries out the accepted writes of one vector store.

    Args:
        models: the parts that plan.
        store: where plans are applied.
        state: where writes are accepted and leased.
        scope: the vector store's identity.
        fingerprint: of the credentials ``client`` was built from.
        lane: the write lane: how many queues at once, and the workers for blocking calls.
        folder: where the workers of this machine see each other; None: nowhere.
    """

    def __init__(
        self,
        models: Models,
        store: Store,
        state: StateStore,
        scope: str,
        fingerprint: str,
        lane: Lane,
        folder: Path | None,
    ) -> None:
        self.id = str(uuid.uuid4())
        self._models = models
        self._store = store
        self._state = state
        self._scope = scope
        self._fingerprint = fingerprint
        self._lane = lane
        self._presence = Presence(folder, scope, self.id)
        self._wake = asyncio.Event()
        self._held: dict[writes.Claim, _Lease] = {}
        self._finished: dict[str, asyncio.Event] = {}
        self._loops: list[asyncio.Task[None]] = []
        self._stopping = False
        self._queues_left = False  # the last look may have left some for want of a place

    def start(self) -> None:
        """Begin to work. Idempotent; on the loop."""
        if not self._loops:
            self._presence.show()
            steps = (self._claim_due, self._renew_leases, self._end_leases_of_the_dead, self._purge_old)
            self._loops = [asyncio.create_task(self._repeat(step)) for step in steps]

    async def stop(self, timeout_s: float) -> None:
        """Claim nothing more, give running writes ``timeout_s`` seconds, then leave them to their leases' end."""
        self._stopping = True
        self._wake.set()
        running = [lease.task for lease in self._held.values()]
        if running:
            await asyncio.wait(running, timeout=timeout_s)
        unfinished = [*self._loops, *(lease.task for lease in self._held.values())]
        for task in unfinished:
            task.cancel()
        await asyncio.gather(*unfinished, return_exceptions=True)
        self._presence.withdraw()

    def wake(self) -> None:
        """Look for due work now."""
        self._wake.set()

    async def finished(self, write_id: str, timeout_s: float) -> None:
        """Return when this worker has ended the write, or after ``timeout_s`` seconds; another worker may have ended
        it.
        """
        event = self._finished.setdefault(write_id, asyncio.Event())
        try:
            async with asyncio.timeout(timeout_s):
                await event.wait()
        except TimeoutError:
            pass
        finally:
            self._finished.pop(write_id, None)

    async def _repeat(self, step: Callable[[], Awaitable[None]]) -> None:
        """Run ``step`` again and again until cancelled; whatever it fails with, the next round comes."""
        while True:
            try:
                await step()
            except ServiceError as exc:
                _log.warning("accepted writes cannot be reached (%s); trying again", exc.reason)
                await asyncio.sleep(_OUTAGE_PAUSE_S)
            except Exception as exc:  # noqa: BLE001 - the top of a background task, which must not end
                log.unexpected(_log, "the worker failed and goes on", exc)
                await asyncio.sleep(_OUTAGE_PAUSE_S)

    async def _claim_due(self) -> None:
        """Start on the queues that are due, as far as there are free places, then wait for a reason to look again."""
        self._wake.clear()
        free = 0 if self._stopping else self._lane.width - len(self._held)
        started = asyncio.get_running_loop().time()
        claims = await self._state.write_statement(lambda conn: self._claim(conn, free)) if free > 0 else []
        for held in claims:
            self._held[held] = _Lease(asyncio.create_task(self._work(held)), started + LEASE_S)
        self._queues_left = len(claims) >= free
        place_came_free = free > 0 and len(self._held) < self._lane.width
        if not (self._queues_left and place_came_free):
            await self._idle()

    def _claim(self, conn: Any, most: int) -> list[writes.Claim]:
        return writes.claim(
            conn, scope=self._scope, fingerprint=self._fingerprint, owner=self.id, most=most, lease_s=LEASE_S
        )

    async def _idle(self) -> None:
        try:
            async with asyncio.timeout(_POLL_S):
                await self._wake.wait()
        except TimeoutError:
            return

    async def _renew_leases(self) -> None:
        """Keep the leases alive, and stop work whose lease was lost or is about to end."""
        await asyncio.sleep(_RENEW_S)
        claims, started = list(self._held), asyncio.get_running_loop().time()
        if not claims:
            return
        try:
            lost = await self._state.write(lambda conn: writes.renew(conn, claims, LEASE_S))
        except ServiceError:
            lost = [held for held in claims if self._ends_before(held, started + _RENEW_S + _MARGIN_S)]
        else:
            for held in claims:
                if held in self._held:
                    self._held[held].ends_at = started + LEASE_S
        for held in lost:
            if held in self._held:
                _log.info(_LEASE_LOST)
                self._held[held].task.cancel()

    def _ends_before(self, held: writes.Claim, moment: float) -> bool:
        return held in self._held and self._held[held].ends_at < moment

    async def _end_leases_of_the_dead(self) -> None:
        """Do not wait for the leases of workers that have died on this machine."""
        if dead := await run_blocking(self._presence.find_dead):
            await self._state.write(lambda conn: writes.end_leases(conn, self._scope, dead, _SETTLE_S))
            await asyncio.sleep(_SETTLE_S)
            self._wake.set()
        await asyncio.sleep(_POLL_S)

    async def _purge_old(self) -> None:
        """Erase the rows of writes that ended long ago, in small batches."""
        for status, kept_s in ((DONE, _KEEP_DONE_S), (FAILED, _KEEP_FAILED_S)):
            while await self._purge_batch(status, kept_s):
                continue
        await asyncio.sleep(_PURGE_EVERY_S)

    async def _purge_batch(self, status: str, kept_s: float) -> int:
        return await self._state.write(
            lambda conn: writes.purge(conn, status=status, older_than_s=kept_s, most=_PURGE_BATCH)
        )

    async def _work(self, held: writes.Claim) -> None:
        """One queue, from its lease to its release. The top of a task: whatever goes wrong ends here."""
        self._lane.use_pool()
        try:
            write = await self._state.read(lambda conn: writes.head(conn, held))
            if write is None or write.wait_s > 0:
                await self._state.write(lambda conn: writes.release(conn, held))
                return
            while write is not None and not self._stopping:
                write = await self._end(held, write)
            if write is not None:  # stopping
                await self._state.write(lambda conn: writes.release(conn, held))
        except LeaseLost:
            _log.info(_LEASE_LOST)
        except ServiceError as exc:
            _log.warning(
                "the state store failed (%s); the lease runs out and the work is taken up again", exc.params["reason"]
            )
        except Exception as exc:  # noqa: BLE001 - the top of a background task
            log.unexpected(_log, "a queue's worker failed; the lease runs out and the work is taken up again", exc)
        finally:
            self._held.pop(held, None)
            if self._queues_left:
                self._wake.set()

    async def _end(self, held: writes.Claim, write: writes.Write) -> writes.Write | None:
        """Carry out a write, or record why it could not be, and go on to the queue's next; without one it is released.

        A failure of the state store itself can only be left to the lease.
        """
        token = log.trace.set(str(write.payload.get("trace") or write.id))
        try:
            following = await self._carry_out(held, write)
        except LeaseLost:
            raise
        except PluginError as exc:
            if isinstance(exc, ServiceError) and exc.part == "state_store":
                raise
            following = await self._record_failure(held, write, exc)
        except Exception as exc:  # noqa: BLE001 - one write must not stop its queue for ever
            log.unexpected(_log, f"write {write.id} failed unexpectedly", exc)
            following = await self._record_failure(held, write, PluginError("error_internal", error_id=write.id))
        finally:
            log.trace.reset(token)
        if event := self._finished.get(write.id):
            event.set()
        return following

    async def _record_failure(self, held: writes.Claim, write: writes.Write, error: PluginError) -> writes.Write | None:
        failures = write.attempts + 1
        delay_s = retry.delay_s(error, failures, random.random())  # noqa: S311 - jitter, not a secret
        code, reason = error.code, str(error)
        if delay_s is None:
            _log.error("write %s failed for good after %d tries: %s", write.id, failures, code)
        else:
            _log.warning("write %s failed (%s), try %d; next in %.0f s", write.id, code, failures, delay_s)

        def record(conn: Any) -> writes.Write | None:
            if delay_s is None:
                parked = isinstance(error, ServiceError)
                writes.fail(conn, held, write.id, code=code, reason=reason, parked=parked)
            else:
                writes.postpone(conn, held, write.id, delay_s=delay_s, code=code, reason=reason)
            return writes.next_or_release(conn, held)

        return await self._state.write(record)

    async def _carry_out(self, held: writes.Claim, write: writes.Write) -> writes.Write | None:
        asked = request.read(write.kind, write.payload)
        if isinstance(asked, request.DeleteAll):
            return await self._delete_all(held, write, asked)
        plan = await self._plan(held, write, asked)
        self._must_hold(held)
        await plans.apply(plan, self._store, Owner(held.user_id))
        entries = [change.entry() for change in plan.changes]

        def finish(conn: Any) -> writes.Write | None:
            writes.finish(conn, held, write.id, {"count": len(entries)})
            history.record(conn, held.scope, held.user_id, write.id, entries)
            return writes.next_or_release(conn, held)

        following = await self._state.write(finish)
        _log.info("write %s done: %d changes", write.id, len(entries))
        return following

    async def _plan(self, held: writes.Claim, write: writes.Write, asked: request.WriteRequest) -> plans.Plan:
        """The committed plan: the one there is, or a new one. An empty one is not committed: it repeats nothing."""
        if write.plan is not None:
            return plans.Plan.from_json(write.plan)
        plan = await remember.plan(self._models, self._store, write.id, held.user_id, asked)
        if plan.changes:
            packed: Mapping[str, Any] = plan.to_json()
            await self._state.write_statement(lambda conn: writes.record_plan(conn, held, write.id, packed))
        return plan

    def _must_hold(self, held: writes.Claim) -> None:
        """Called right before memories change, which no fencing token guards: the process may have stood still since
        its last commit, long enough for another to have gone on.

        Raises:
            LeaseLost: by this machine's clock the lease has ended.
        """
        if self._ends_before(held, asyncio.get_running_loop().time()):
            raise LeaseLost("error_lease_lost")

    async def _delete_all(
        self, held: writes.Claim, write: writes.Write, asked: request.DeleteAll
    ) -> writes.Write | None:
        """Delete in batches, recording each before it goes; cut off and begun again, it counts no memory twice."""
        owner = Owner(held.user_id, asked.agent_id)
        before: set[str] = set()
        while rows := await self._store.batch(owner, _WIPE_BATCH):
            if before >= {row.id for row in rows}:  # a store that shows its deletions late, or does not delete
                raise ServiceUnavailable("service_unavailable", part="vector_store", reason="deleted memories remain")
            before = {row.id for row in rows}
            entries = [remember.deletion(row, asked.at).entry() for row in rows]

            def record(conn: Any, batch: list[history.Entry] = entries) -> None:
                writes.hold(conn, held)
                history.record(conn, held.scope, held.user_id, write.id, batch)

            await self._state.write(record)
            self._must_hold(held)
            await self._store.delete([row.id for row in rows])

        def finish(conn: Any) -> writes.Write | None:
            count = history.count_of_write(conn, write.id)
            if asked.purge_history:
                history.purge(conn, held.scope, held.user_id, asked.agent_id)
            writes.drop_failed_before(conn, held, write.id, asked.agent_id)
            writes.finish(conn, held, write.id, {"count": count})
            return writes.next_or_release(conn, held)

        following = await self._state.write(finish)
        _log.info("write %s done: all memories deleted", write.id)
        return following


class _Lease:
    """A lease in work: its task, and when it ends on this machine's monotonic clock if it is not renewed."""

    __slots__ = ("ends_at", "task")

    def __init__(self, task: asyncio.Task[None], ends_at: float) -> None:
        self.task = task
        self.ends_at = ends_at
