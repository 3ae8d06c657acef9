"""Extraction as the tools see it: start one, ask how it stands, look at a user's checkpoint."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Final

from utils.errors import NotFound
from utils.extraction.request import ExtractionRequest
from utils.extraction.sealing import seal
from utils.extraction.task import ExtractionTask
from utils.queue.task_runner import TaskRunner
from utils.state import checkpoints, queues, tasks, writes
from utils.state.checkpoints import Checkpoint
from utils.state.tasks import EXTRACT, NewTask, TaskState, UserPart
from utils.state.writes import WriteState

if TYPE_CHECKING:
    from utils.config.settings import Settings
    from utils.queue.worker import Worker
    from utils.state.engine import StateStore

SYNCHRONOUS_WAIT_S: Final = 240.0  # SPEC 4: Dify ends a call after 300 to 600 s
MOST_USERS_SHOWN: Final = 500  # SPEC 3.1: of ``per_user``


class Extraction:
    """Extractions of one credential set. Constructing it does no I/O; use it on the loop.

    Args:
        settings: the credentials, read.
        state: the state store they name.
        worker: carries out the writes of their vector store.
        wake: makes the worker look for chunks.
        places: how many users the process extracts at once, whoever asked for it.
        checkpoints_known: returns when all checkpoints are there that were ever recorded (``legacy``).
    """

    def __init__(
        self,
        settings: Settings,
        state: StateStore,
        worker: Worker,
        wake: Callable[[], None],
        places: asyncio.Semaphore,
        checkpoints_known: Callable[[], Awaitable[None]],
    ) -> None:
        self.settings = settings
        self._state = state
        self._scope = worker.scope
        self._checkpoints_known = checkpoints_known
        handlers = {EXTRACT: ExtractionTask(settings, state, worker, wake, places, checkpoints_known)}
        self._runner = TaskRunner(state, worker.scope, settings.identity.client, handlers, settings.log_level)

    def open(self) -> None:
        """Go on with what earlier processes have left behind. Idempotent."""
        self._runner.open()

    async def has_work(self) -> bool:
        """Whether tasks of these credentials are unfinished."""
        return await self._runner.has_work()

    async def close(self) -> None:
        """Stop; what is unfinished goes on in another process. Idempotent."""
        await self._runner.close()

    async def start(
        self, user_ids: Sequence[str], request: ExtractionRequest, api_key: str, run_id: str
    ) -> tuple[TaskState, list[UserPart]]:
        """Begin an extraction; in synchronous mode wait for its end, as long as a call may take. How it stands then.

        Args:
            user_ids: whose conversations.
            request: what to do.
            api_key: of the app.
            run_id: for the log and the report; empty: the task's id.

        Raises:
            Overloaded: too many tasks are unfinished.
        """
        task_id = f"extract_{secrets.token_hex(6)}"
        new = NewTask(
            id=task_id,
            scope=self._scope,
            kind=EXTRACT,
            fingerprint=self.settings.identity.client,
            run_id=run_id or task_id,
            request=request.to_json(),
            secret=seal(api_key, self.settings),
            budget_s=request.budget_s,
            user_ids=user_ids,
        )
        await self._runner.begin(new)
        if not self.settings.async_mode:
            await self._runner.ended(task_id, SYNCHRONOUS_WAIT_S)
        found = await self.task(task_id)
        if found is None:
            raise NotFound("error_task_not_found", task_id=task_id)
        return found

    async def task(self, task_id: str) -> tuple[TaskState, list[UserPart]] | None:
        """How a task stands, and its users' parts, failed ones first."""
        state = await self._state.read(lambda conn: tasks.state_of(conn, self._scope, task_id))
        if state is None:
            return None
        return state, await self._state.read(lambda conn: tasks.users_of(conn, task_id, MOST_USERS_SHOWN))

    async def write(self, write_id: str) -> tuple[WriteState, bool] | None:
        """How an accepted write stands, and whether it is being carried out right now."""
        state = await self._state.read(lambda conn: writes.state_of(conn, self._scope, write_id))
        if state is None:
            return None
        return state, await self._state.read(lambda conn: queues.is_in_work(conn, self._scope, write_id))

    async def checkpoint(self, user_id: str, app_id: str | None) -> Checkpoint:
        """A user's checkpoint: of one app, or the one that was changed last.

        Raises:
            NotFound: there is none.
        """
        await self._checkpoints_known()
        if app_id is None:
            app_id = await self._state.read(lambda conn: checkpoints.newest_app(conn, self._scope, user_id))
        if app_id is not None:
            of_app = app_id
            found = await self._state.read(lambda conn: checkpoints.load(conn, self._scope, user_id, of_app))
            if found.state is not None:
                return found
        raise NotFound("error_checkpoint_not_found")
