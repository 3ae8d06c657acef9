"""Carrying out tasks: work on whole histories or on all memories of a user, which outlasts the call that asked for it.

A runner belongs to one credential set. It records a task and begins it in one step, keeps the task's lease alive while
its handler works, and adopts what processes with the same credentials have left behind. It promises that a task is
worked on by one process at a time, and that it ends: completed, failed with its reason, or, when nobody came back to it
within its time budget, abandoned (``state.tasks``). A handler is called again from the start after a crash.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import uuid
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from contextvars import Context
from typing import Any, Final, Protocol

from utils import log
from utils.errors import LeaseLost, Overloaded, PluginError, ServiceError
from utils.queue.lease import LEASE_S, Lease, now_s
from utils.state import tasks
from utils.state.engine import StateStore
from utils.state.tasks import NewTask, Task, TaskLease

_log = logging.getLogger(__name__)

_LOOK_S: Final = 5.0  # how soon a task that another process has left behind is noticed
_OUTAGE_PAUSE_S: Final = 1.0
_CLEAN_EVERY_S: Final = 600.0
_KEEP_ENDED_S: Final = 30 * 86_400.0
_PURGE_BATCH: Final = 100


class TaskHandler(Protocol):
    """Carries out one kind of task."""

    async def __call__(self, task: Task, held: TaskLease) -> Mapping[str, Any] | None:
        """Carry out ``task``; called again from the start after a crash.

        Args:
            task: what to do.
            held: the lease under which it commits.

        Returns:
            What is kept as the task's result; None where its users' parts say it all.

        Raises:
            LeaseLost: another process has the task by now.
            PluginError: the task as a whole has failed.
        """


class TaskRunner:
    """Carries out the tasks of one credential set. Constructing it does no I/O; use it on the loop.

    Args:
        state: where tasks are recorded and leased.
        scope: the vector store (``Worker.scope``).
        fingerprint: of the credentials; tasks of others are left to them.
        handlers: by kind of task.
        log_level: for the lines about its tasks.
    """

    def __init__(
        self, state: StateStore, scope: str, fingerprint: str, handlers: Mapping[str, TaskHandler], log_level: str
    ) -> None:
        self._state = state
        self._scope = scope
        self._fingerprint = fingerprint
        self._handlers = dict(handlers)
        self._log_level = log_level
        self._owner = str(uuid.uuid4())
        self._running: dict[TaskLease, asyncio.Task[None]] = {}
        self._loops: list[asyncio.Task[None]] = []

    def open(self) -> None:
        """Look for tasks that were left behind from now on. Idempotent."""
        if not self._loops:
            # In a context of their own: they are not part of the call that happens to start them.
            self._loops = [
                asyncio.create_task(self._repeat(step), context=Context()) for step in (self._adopt, self._clean)
            ]

    async def begin(self, task: NewTask) -> None:
        """Record ``task`` and begin it. It can be asked about when this returns.

        Raises:
            Overloaded: as many tasks as there may be are unfinished; nothing has been recorded.
        """
        asked_at = now_s()
        lease = await self._state.write(lambda conn: tasks.create(conn, task, owner=self._owner, lease_s=LEASE_S))
        if lease is None:
            raise Overloaded("error_too_many_tasks", limit=tasks.MOST_UNFINISHED)
        self._start(lease, asked_at)

    async def ended(self, task_id: str, timeout_s: float) -> None:
        """Return when this process works on the task no longer, or after ``timeout_s`` seconds."""
        running = [working for held, working in self._running.items() if held.id == task_id]
        if running:
            await asyncio.wait(running, timeout=timeout_s)

    async def has_work(self) -> bool:
        """Whether tasks of these credentials are unfinished."""
        return bool(self._running) or await self._state.read(
            lambda conn: tasks.has_unfinished(conn, self._scope, self._fingerprint)
        )

    async def close(self) -> None:
        """Stop working. What is unfinished can be adopted at once. Idempotent."""
        running = dict(self._running)
        for each in (*self._loops, *running.values()):
            each.cancel()
        await asyncio.gather(*self._loops, *running.values(), return_exceptions=True)
        self._loops = []
        for held in running:
            with suppress(ServiceError):  # its lease ends by itself
                await self._state.write(functools.partial(tasks.release, held=held))

    # -- its loops

    async def _repeat(self, step: Callable[[], Awaitable[None]]) -> None:
        """Run ``step`` again and again until cancelled; whatever it fails with, the next round comes."""
        while True:
            try:
                with log.unforeseen(_log, "the task runner"):
                    await step()
            except PluginError as exc:  # the top of a background task, which must not end
                _log.warning("tasks cannot be reached (%s); trying again", exc)
                await asyncio.sleep(_OUTAGE_PAUSE_S)

    async def _adopt(self) -> None:
        """Go on with every task that was left behind, then wait a while."""
        kinds, asked_at = sorted(self._handlers), now_s()
        lease = await self._state.write(
            lambda conn: tasks.adopt(conn, self._scope, self._fingerprint, kinds, owner=self._owner, lease_s=LEASE_S)
        )
        if lease is not None:
            _log.info("task %s is gone on with here", lease.id)
            self._start(lease, asked_at)
            return
        await asyncio.sleep(_LOOK_S)

    async def _clean(self) -> None:
        """Say of tasks nobody came back to that they have failed, and erase what ended long ago."""
        abandoned = PluginError("error_task_abandoned")
        await self._state.write(lambda conn: tasks.fail_abandoned(conn, self._scope, abandoned))
        while await self._state.write(lambda conn: tasks.purge(conn, older_than_s=_KEEP_ENDED_S, most=_PURGE_BATCH)):
            continue
        await asyncio.sleep(_CLEAN_EVERY_S)

    # -- its work

    def _start(self, lease: TaskLease, asked_at: float) -> None:
        working = asyncio.create_task(self._work(lease, asked_at), context=Context())
        self._running[lease] = working
        working.add_done_callback(lambda _: self._running.pop(lease, None))

    async def _work(self, held: TaskLease, asked_at: float) -> None:
        """One task, from its lease to its end. The top of a background task: whatever goes wrong ends here."""
        log.belongs_to_set(self._log_level)
        log.trace.set(held.id)
        lease = Lease(held, asked_at, LEASE_S)
        try:
            with log.unforeseen(_log, f"task {held.id}"):
                async with lease.kept_alive(lambda: self._renew(held)):
                    await self._carry_out(held)
        except LeaseLost:
            _log.info("a lease was lost; task %s is another process's now", held.id)
        except PluginError as exc:
            _log.warning("task %s is left to its lease's end (%s); it is gone on with", held.id, exc)

    async def _renew(self, held: TaskLease) -> bool:
        try:
            await self._state.write(lambda conn: tasks.renew(conn, held, LEASE_S))
        except LeaseLost:
            return False
        return True

    async def _carry_out(self, held: TaskLease) -> None:
        """Do the work and record how it ended; a passing failure of the state store can only be left to the lease."""
        try:
            with log.unforeseen(_log, f"task {held.id}"):
                task = await self._state.write(lambda conn: tasks.start(conn, held))
                log.trace.set(task.run_id)
                result = await self._handlers[task.kind](task, held)
                await self._state.write(lambda conn: tasks.finish(conn, held, result=result))
            _log.info("task %s done (%s)", held.id, task.kind)
        except LeaseLost:
            raise
        except PluginError as exc:
            if isinstance(exc, ServiceError) and exc.part == "state_store" and exc.passing:
                raise
            _log.error("task %s failed: %s", held.id, exc.code)
            failure = exc
            await self._state.write(lambda conn: tasks.finish(conn, held, error=failure))
