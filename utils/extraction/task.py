"""An extraction as a task: its users, a few at a time, within its time budget.

Users take places that all tasks of the process share. A place is waited for before a user begins, so a slow user holds
up nobody but the place it has. When the budget is over no user begins, and a running one stops at its next chunk; both
are reported, and what they leave is wanted by the next run: the range asked for is recorded for every user before the
first of them begins. A user's failure is the user's alone.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from itertools import batched
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Connection

from utils import log
from utils.errors import CredentialError, LeaseLost, PluginError, ServiceError
from utils.extraction.dify_api import DifyApi
from utils.extraction.request import ExtractionRequest
from utils.extraction.sealing import unseal
from utils.extraction.user_run import Parts, Report, UserRun, change_checkpoint
from utils.queue.lease import LEASE_S, Lease, now_s
from utils.state import leases, tasks
from utils.state.leases import HistoryLease
from utils.state.tables import COMPLETED, FAILED, RUNNING, SKIPPED
from utils.state.tasks import Counts, Task, TaskLease

if TYPE_CHECKING:
    from utils.config.settings import Settings
    from utils.queue.worker import Worker
    from utils.state.engine import StateStore

_log = logging.getLogger(__name__)

_BATCH: Final = 100  # users whose range is recorded in one transaction


class ExtractionTask:
    """Carries out extractions of one credential set.

    Args:
        settings: the credentials.
        state: where everything is recorded.
        worker: carries out the chunks.
        wake: makes the worker look for chunks.
        places: how many users of all tasks of the process are extracted at once.
        checkpoints_known: returns when all checkpoints are there that were ever recorded (``legacy``).
        clock: monotonic seconds.
    """

    def __init__(
        self,
        settings: Settings,
        state: StateStore,
        worker: Worker,
        wake: Callable[[], None],
        places: asyncio.Semaphore,
        checkpoints_known: Callable[[], Awaitable[None]],
        clock: Callable[[], float] = now_s,
    ) -> None:
        self._settings = settings
        self._state = state
        self._worker = worker
        self._wake = wake
        self._places = places
        self._checkpoints_known = checkpoints_known
        self._clock = clock

    async def __call__(self, task: Task, held: TaskLease) -> None:
        """See ``TaskHandler``.

        Raises:
            CredentialError: the key was recorded under other credentials.
        """
        request = ExtractionRequest.from_json(task.request)
        key = unseal(task.secret or "", self._settings)
        if key is None:
            raise CredentialError("error_task_key")
        stop_at = self._clock() + task.budget_left_s
        await self._checkpoints_known()
        waiting = await self._state.read(lambda conn: tasks.waiting_users(conn, task.id))
        await self._want(request, [user_id for _, user_id in waiting])
        async with DifyApi(request.base_url, key) as api:
            fingerprint = self._settings.identity.client
            parts = Parts(
                self._state, self._worker, fingerprint, self._wake, api, task.id, request, self._clock, stop_at
            )
            await self._run_users(parts, held, waiting)
        await self._state.write(lambda conn: tasks.skip_waiting(conn, held, "time_budget_exceeded"))

    async def _want(self, request: ExtractionRequest, user_ids: Sequence[str]) -> None:
        """Record for every user what is wanted: whoever is not reached has then left it to the next run."""
        for batch in batched(sorted(user_ids), _BATCH):

            def work(conn: Connection, batch: Sequence[str] = batch) -> None:
                for user_id in batch:
                    change_checkpoint(
                        conn,
                        self._worker.scope,
                        user_id,
                        request.app_id,
                        lambda current: current.asked(request.start, request.end),
                    )

            await self._state.write(work)

    async def _run_users(self, parts: Parts, held: TaskLease, waiting: Sequence[tuple[int, str]]) -> None:
        """Every user, each as soon as there is a place, until the budget is over.

        Raises:
            PluginError: as :meth:`_run_user`; the others have been cancelled by then.
        """
        try:
            async with asyncio.TaskGroup() as running:
                for place, user_id in waiting:
                    await self._places.acquire()
                    if parts.out_of_time:
                        self._places.release()
                        return
                    one = running.create_task(self._run_user(parts, held, place, user_id))
                    one.add_done_callback(lambda _: self._places.release())
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None

    async def _run_user(self, parts: Parts, held: TaskLease, place: int, user_id: str) -> None:
        """One user, from the lease on the history to its end. What goes wrong with it stays its own, but for what the
        whole task stands on.

        Raises:
            LeaseLost: the task is another process's by now.
            ServiceError: the state store failed.
        """
        while True:
            asked_at = now_s()
            lease = await self._lease(parts, user_id)
            if isinstance(lease, str):
                return await self._set(held, place, SKIPPED, reason="lock_held", lock_holder=lease)
            await self._set(held, place, RUNNING)
            report = await self._extract(parts, lease, asked_at)
            if report is not None:
                return await self._end(held, place, lease, report)

    async def _set(self, held: TaskLease, place: int, status: str, **values: Any) -> None:
        await self._state.write(lambda conn: tasks.set_user(conn, held, place, status, **values))

    async def _end(self, held: TaskLease, place: int, lease: HistoryLease, report: Report) -> None:
        """Commit how a user's part ended, and give the history back."""
        status = FAILED if report.errors else COMPLETED
        counts = Counts(scanned_conversations=report.scanned_conversations)

        def work(conn: Connection) -> None:
            leases.release(conn, lease)
            tasks.count(conn, held.id, lease.user_id, counts)
            tasks.set_user(conn, held, place, status, reason=report.reason, notes=report.notes)

        await self._state.write(work)

    async def _lease(self, parts: Parts, user_id: str) -> HistoryLease | str:
        """The lease on the user's history, or the task that has it."""
        scope, app_id, owner = self._worker.scope, parts.request.app_id, parts.task_id
        found = None
        while found is None:
            found = await self._state.write(
                lambda conn: leases.take(conn, scope, user_id, app_id, owner=owner, lease_s=LEASE_S)
            )
        return found

    async def _extract(self, parts: Parts, lease: HistoryLease, asked_at: float) -> Report | None:
        """What there is to say about the user; None when the lease ran out before it could be renewed. What was
        recorded until then stays, and the rest is read under another lease, if nobody else has it by then.
        """
        report = Report()
        run = UserRun(parts, lease, report)
        try:
            with log.unforeseen(_log, f"extracting a user of {parts.task_id}"):
                async with Lease(lease, asked_at, LEASE_S).kept_alive(lambda: self._renew(lease)):
                    await run()
        except LeaseLost:
            _log.warning("the lease on a user's history ran out; it is asked for again")
            return None
        except ServiceError as exc:
            if exc.part == "state_store":
                raise
            report.failed(exc)
        except PluginError as exc:
            report.failed(exc)
        return report

    async def _renew(self, lease: HistoryLease) -> bool:
        return bool(await self._state.write(lambda conn: leases.renew(conn, [lease], LEASE_S)))
