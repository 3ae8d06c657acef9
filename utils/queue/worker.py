"""Carrying out accepted writes in the background.

A worker belongs to one vector store and its state; it serves every credential set that reaches them (``Service``). It
leases due queues, carries out their heads one after the other, keeps the leases alive while it works, and says which
credentials it serves. It promises exactly one effect per accepted write: whatever is committed after the lease was lost
is refused, and handlers have the effect of once however often they are called. When the process dies anywhere, another
worker goes on where the lease runs out.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import random
import uuid
from collections.abc import Awaitable, Callable
from contextvars import Context
from dataclasses import dataclass, field
from typing import Any, Final

from utils import log
from utils.errors import LeaseLost, Overloaded, PluginError, ServiceError, Superseded
from utils.queue import retry
from utils.queue.handler import Outcome, QueueLease, Service
from utils.queue.lease import LEASE_S, RENEW_S, RENEW_TIMEOUT_S, Lease, now_s
from utils.state import parked, queues, scopes, workers, writes
from utils.state.engine import StateStore
from utils.state.writes import Write

_log = logging.getLogger(__name__)

_LEASE_LOST: Final = "a lease was lost; its queue is another worker's now"
_POLL_S: Final = 2.0  # how soon work left by another process is noticed; work accepted here wakes the worker at once
_SEEN_S: Final = 20.0  # several times within `queues.UNSEEN_AFTER_S`
_OUTAGE_PAUSE_S: Final = 1.0
_OVERLOAD_PAUSE_S: Final = 2.0
_KEEP_ENDED_S: Final = 7 * 86_400.0
_KEEP_WORKERS_S: Final = 86_400.0
_PURGE_EVERY_S: Final = 3_600.0
_PURGE_BATCH: Final = 500


@dataclass(slots=True)
class _Served:
    """One credential set while it is served."""

    service: Service
    used_at: float  # by `now_s`; when a call last brought these credentials
    working: dict[asyncio.Task[None], QueueLease] = field(default_factory=dict)
    due: bool = True  # there may be work for it: somebody said so, or the last look left some for want of a place
    leaving: bool = False  # finishes what is in work and claims nothing more

    @property
    def free(self) -> int:
        return 0 if self.leaving else self.service.lane.width - len(self.working)


class Worker:
    """Carries out the accepted writes of one vector store. Constructing it does no I/O; use it on the loop.

    Args:
        state: where writes are accepted and leased.
        scope: the vector store (``Identity.scope``).
    """

    def __init__(self, state: StateStore, scope: str) -> None:
        self.id = str(uuid.uuid4())
        self.scope = scope
        self._state = state
        self._served: dict[Service, _Served] = {}
        self._wake = asyncio.Event()
        self._ended: dict[str, asyncio.Event] = {}
        self._loops: list[asyncio.Task[None]] = []
        self._serving = asyncio.Lock()

    # -- whom it works for

    async def serve(self, service: Service) -> None:
        """Carry out writes with these handlers from now on, and begin to work if nobody was served before."""
        if service not in self._served:
            async with self._serving:
                if service not in self._served:
                    await self._begin(service)
        self._served[service].used_at = now_s()

    async def _begin(self, service: Service) -> None:
        # Before anything is accepted: else others could take it for work that nobody serves.
        await self._state.write(lambda conn: workers.seen(conn, self.id, self.scope, [service.fingerprint]))
        self._served[service] = _Served(service, now_s())
        self.wake()
        if not self._loops:
            steps = (self._claim_due, self._renew_leases, self._look_around, self._purge_old)
            # In a context of their own: they are not part of the call that happens to start them.
            self._loops = [asyncio.create_task(self._repeat(step), context=Context()) for step in steps]

    async def has_work(self, fingerprint: str) -> bool:
        """Whether writes accepted under these credentials are pending or in work."""
        if any(served.working for served in self._served.values() if served.service.fingerprint == fingerprint):
            return True
        return fingerprint in await self._state.read(lambda conn: writes.fingerprints_with_work(conn, self.scope))

    async def leave(self, service: Service, timeout_s: float) -> None:
        """Serve these handlers no longer: give what is in work ``timeout_s`` seconds, then leave it to its lease's
        end. Idempotent.
        """
        if (served := self._served.get(service)) is None:
            return
        served.leaving = True
        tasks = list(served.working)
        if tasks:
            await asyncio.wait(tasks, timeout=timeout_s)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._served.pop(service, None)

    async def close(self, timeout_s: float = 0.0) -> None:
        """Claim nothing more, give running writes ``timeout_s`` seconds, then leave them to their leases' end.
        Idempotent.
        """
        await asyncio.gather(*(self.leave(service, timeout_s) for service in list(self._served)))
        for task in self._loops:
            task.cancel()
        await asyncio.gather(*self._loops, return_exceptions=True)

    def wake(self, service: Service | None = None) -> None:
        """Look for due work now: for ``service``, or for all that are served."""
        for served in self._served.values():
            served.due = served.due or service in (None, served.service)
        self._wake.set()

    async def ended(self, write_id: str, timeout_s: float) -> None:
        """Return when this worker has ended the write, or after ``timeout_s`` seconds: another may have."""
        event = self._ended.setdefault(write_id, asyncio.Event())
        try:
            async with asyncio.timeout(timeout_s):
                await event.wait()
        except TimeoutError:
            pass
        finally:
            self._ended.pop(write_id, None)

    # -- its loops

    async def _repeat(self, step: Callable[[], Awaitable[None]]) -> None:
        """Run ``step`` again and again until cancelled; whatever it fails with, the next round comes."""
        while True:
            try:
                with log.unforeseen(_log, "the worker"):
                    await step()
            except PluginError as exc:  # the top of a background task, which must not end
                _log.warning("accepted writes cannot be reached (%s); trying again", exc)
                await asyncio.sleep(_OUTAGE_PAUSE_S)

    async def _claim_due(self) -> None:
        """Start on the queues that are due, as far as there are free places, then wait for a reason to look again."""
        self._wake.clear()
        # The latest first: of two sets with the same models the one in use decides about lanes and log level.
        for served in sorted(self._served.values(), key=lambda served: served.used_at, reverse=True):
            if served.due and served.free > 0:
                await self._claim_for(served)
        if not any(served.due and served.free > 0 for served in self._served.values()):
            try:
                async with asyncio.timeout(_POLL_S):
                    await self._wake.wait()
            except TimeoutError:
                self.wake()  # time to look, even though nobody asked

    async def _claim_for(self, served: _Served) -> None:
        free, asked_at = served.free, now_s()
        served.due = False  # before the question: who wakes it meanwhile is not overlooked
        try:
            claims = await self._state.write_statement(lambda conn: self._claim(conn, served.service, free))
        except ServiceError:
            served.due = True
            raise
        for claim in claims:
            lease = Lease(claim, asked_at, LEASE_S)
            served.working[asyncio.create_task(self._work(served, lease))] = lease
        served.due = served.due or len(claims) >= free

    def _claim(self, conn: Any, service: Service, most: int) -> list[queues.Claim]:
        return queues.claim(
            conn,
            scope=self.scope,
            fingerprint=service.fingerprint,
            known=service.known,
            owner=self.id,
            most=most,
            lease_s=LEASE_S,
        )

    async def _renew_leases(self) -> None:
        """Keep the leases alive. One that is not extended in time stops its own work (``Lease.held``)."""
        await asyncio.sleep(RENEW_S)
        leases = [lease for served in self._served.values() for lease in served.working.values()]
        claims, asked_at = [lease.claim for lease in leases], now_s()
        if not claims:
            return
        try:
            async with asyncio.timeout(RENEW_TIMEOUT_S):
                extended = set(await self._state.write_statement(lambda conn: queues.renew(conn, claims, LEASE_S)))
        except TimeoutError:
            _log.warning("leases could not be renewed within %.0f s", RENEW_TIMEOUT_S)
            return
        for lease in leases:
            if lease.claim in extended:
                lease.renewed(asked_at, LEASE_S)

    async def _look_around(self) -> None:
        """Say which credentials are served, and take up what nobody serves any more."""
        served = list(self._served)
        fingerprints = {service.fingerprint for service in served}
        await self._state.write(lambda conn: workers.seen(conn, self.id, self.scope, fingerprints))
        await self._state.write(lambda conn: scopes.collect(conn, self.scope))
        for service in served:
            await self.take_up(service)
        await asyncio.sleep(_SEEN_S)

    async def take_up(self, service: Service, *, own: bool = False) -> None:
        """Put failed writes that these credentials may cure back in line (``parked.unpark``)."""
        fingerprint, known = service.fingerprint, service.known
        revived = await self._state.write(lambda conn: parked.unpark(conn, self.scope, fingerprint, known, own=own))
        if revived:
            _log.info("failed writes taken up again: %d", revived)
            self.wake()

    async def _purge_old(self) -> None:
        """Erase the rows of writes that ended long ago, in small batches."""
        await self._state.write(lambda conn: workers.purge(conn, _KEEP_WORKERS_S))
        while await self._state.write(lambda conn: writes.purge(conn, older_than_s=_KEEP_ENDED_S, most=_PURGE_BATCH)):
            continue
        while await self._state.write(lambda conn: queues.purge(conn, idle_for_s=_KEEP_ENDED_S, most=_PURGE_BATCH)):
            continue
        await asyncio.sleep(_PURGE_EVERY_S)

    # -- its work

    async def _work(self, served: _Served, lease: QueueLease) -> None:
        """One queue, from its lease to its release. The top of a task: whatever goes wrong ends here."""
        served.service.lane.use_pool()
        log.belongs_to_set(self._in_use(served).service.log_level)
        try:
            with log.unforeseen(_log, "a queue's worker"):
                async with lease.held():
                    await self._work_off(served, lease)
        except LeaseLost:
            _log.info(_LEASE_LOST)
        except PluginError as exc:
            _log.warning("a queue is left to its lease's end (%s); the work is taken up again", exc)
        finally:
            served.working.pop(asyncio.current_task(), None)  # type: ignore[arg-type]  # this is a task
            if served.due:
                self._wake.set()

    def _in_use(self, served: _Served) -> _Served:
        """Of the sets with the same models the one used last: another may have been asking when its write came."""
        alike = [one for one in self._served.values() if one.service.fingerprint == served.service.fingerprint]
        return max(alike, key=lambda one: one.used_at, default=served)

    async def _work_off(self, served: _Served, lease: QueueLease) -> None:
        """Carry out the queue's writes until there is none left to carry out here, or the service leaves."""
        service = served.service
        write = await self._state.read(lambda conn: writes.head(conn, lease.claim, service.fingerprint, service.known))
        while write is not None and not served.leaving:
            write = await self._carry_out(service, lease, write)
            if write is None:
                return  # released in the transaction that ended the last one
        if await self._state.write(lambda conn: queues.hold_and_release(conn, lease.claim)):
            self.wake()

    async def _commit(
        self, service: Service, lease: QueueLease, change: Callable[[Any], None], *, forget_queue: bool = False
    ) -> Write | None:
        """Commit ``change``, which locks the queue, together with the way on: the next write, or the release."""

        def work(conn: Any) -> tuple[Write | None, bool]:
            change(conn)
            return writes.next_or_release(
                conn, lease.claim, service.fingerprint, service.known, forget_queue=forget_queue
            )

        following, others_due = await self._state.write_changes(work)
        if others_due:
            self.wake()
        return following

    async def _carry_out(self, service: Service, lease: QueueLease, write: Write) -> Write | None:
        """Carry out a write, or record why it could not be; the queue's next one, or None when it has been released.

        A passing failure of the state store itself can only be left to the lease.
        """
        # Not taken back when the lease is lost, which ends the task: the line about that is this write's, too.
        token = log.trace.set(str(write.payload.get("trace") or write.id))
        try:
            with log.unforeseen(_log, f"write {write.id}"):
                outcome = await service.handlers[write.kind](write, lease)
                finish = functools.partial(_finish_write, lease=lease, write=write, outcome=outcome)
                following = await self._commit(service, lease, finish, forget_queue=outcome.forget_queue)
            _log.info("write %s done (%s)", write.id, write.kind)
        except LeaseLost:
            raise
        except Superseded:
            following = await self._commit(service, lease, lambda conn: queues.hold(conn, lease.claim))
        except PluginError as exc:
            if isinstance(exc, ServiceError) and exc.part == "state_store" and exc.passing:
                raise
            following = await self._commit(service, lease, self._failure(service, lease, write, exc))
        log.trace.reset(token)
        if event := self._ended.get(write.id):
            event.set()
        return following

    def _failure(self, service: Service, lease: QueueLease, write: Write, error: PluginError) -> Callable[[Any], None]:
        """The change that records a failed attempt, and the next one if there is to be one."""
        code, reason = error.code, error.to_json()
        if isinstance(error, Overloaded) and not write.waited_for:  # it was not tried: there was no place for it
            return lambda conn: writes.postpone(
                conn,
                lease.claim,
                write.id,
                attempts=write.attempts,
                delay_s=_OVERLOAD_PAUSE_S,
                code=code,
                reason=reason,
            )
        failures = 1 if lease.made_progress else write.attempts + 1
        lease.made_progress = False
        chance = random.random()  # noqa: S311 - jitter, not a secret
        delay_s = retry.delay_s(
            error, failures, chance, waited_for=write.waited_for, until_it_works=service.until_it_works
        )
        if delay_s is not None:
            _log.warning("write %s failed (%s), try %d; next in %.0f s", write.id, code, failures, delay_s)
            return lambda conn: writes.postpone(
                conn, lease.claim, write.id, attempts=failures, delay_s=delay_s, code=code, reason=reason
            )
        _log.error("write %s failed for good after %d tries: %s", write.id, failures, code)
        parked = isinstance(error, ServiceError) and not write.waited_for  # who waited has been told that it failed
        return lambda conn: writes.fail(conn, lease.claim, write.id, code=code, reason=reason, parked=parked)


def _finish_write(conn: Any, lease: QueueLease, write: Write, outcome: Outcome) -> None:
    # First the row of the write, by way of the queue's: it compares the lease. Only then what the outcome changes.
    writes.finish(conn, lease.claim, write.id, outcome.result)
    for step in outcome.also:
        step(conn)
