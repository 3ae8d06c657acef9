"""One user's part of an extraction: read what is new, record it chunk by chunk, wait until it is remembered.

It promises, for any number of runs cut anywhere: a chunk becomes an accepted write in the very transaction that moves
its conversation's checkpoint and the task's counts, under the lease on the user's history. So a crash loses nothing and
doubles nothing, and a run that lost its lease records nothing. The write is waited for before the next conversation is
read: later facts meet earlier ones, and little text is ever waiting. A write that failed for good stays what it is, a
failed write with its text; the next run puts it back in line before it reads on.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import Connection

from utils import log
from utils.errors import PluginError, ServiceError, ServiceRefused
from utils.extraction.checkpoint import ConversationCheckpoint, UserCheckpoint
from utils.extraction.dify_api import DifyApi
from utils.extraction.reader import list_conversations, read_chunk
from utils.extraction.request import ExtractionRequest
from utils.extraction.scan import Chunk, Selected, select
from utils.memory.requests import VERSION, Said
from utils.memory.requests import Chunk as ChunkWrite
from utils.messages import Sentence
from utils.queue.worker import Worker
from utils.state import checkpoints, chunks, leases, tasks, writes
from utils.state.engine import StateStore
from utils.state.leases import HistoryLease
from utils.state.tables import DONE, FAILED, PENDING
from utils.state.tasks import Counts

_CHUNK_IDS: Final = uuid.UUID("b1a6f0a4-2f0b-4a57-9d0d-6b7d9f6a3c55")  # namespace of the ids of chunks
_RECHECK_S: Final = 1.0  # how often to look whether another process has carried a chunk out
_NO_GUARD: Final = 2**31 - 1  # one chunk of a user waits at a time: there is nothing to guard
MOST_ERRORS: Final = 3  # in a row; then the service is down, and the rest of the user is left to the next run


@dataclass(frozen=True, slots=True)
class Parts:
    """What all users of a task share.

    Attributes:
        state: where checkpoints, chunks and counts are committed.
        worker: carries out the chunks.
        fingerprint: of the credentials they are accepted under.
        wake: makes the worker look for chunks.
        api: of the app.
        task_id: counts what is done.
        request: what was asked for.
        clock: monotonic seconds; tests have their own.
        stop_at: when the time budget ends, by that clock.
    """

    state: StateStore
    worker: Worker
    fingerprint: str
    wake: Callable[[], None]
    api: DifyApi
    task_id: str
    request: ExtractionRequest
    clock: Callable[[], float]
    stop_at: float

    @property
    def out_of_time(self) -> bool:
        """Whether nothing new is to be begun."""
        return self.clock() >= self.stop_at

    @property
    def lost_patience(self) -> bool:
        """Whether nothing is waited for any more either (SPEC 5: a lease lasts 1.2 times the budget at most)."""
        return self.clock() >= self.stop_at + 0.2 * self.request.budget_s


@dataclass(slots=True)
class Report:
    """What is said about a user's part: errors and warnings as sentences in no language yet."""

    reason: str | None = None
    scanned_conversations: int = 0
    errors: list[dict[str, Any]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def notes(self) -> dict[str, Any]:
        """As the state store keeps it."""
        return {"errors": self.errors, "warnings": self.warnings}

    def failed(self, error: PluginError, conversation_id: str = "") -> None:
        """Add an error."""
        self.errors.append({"type": error.code, "message": error.to_json(), "conversation_id": conversation_id})

    def warn(self, sentence: Sentence) -> None:
        """Add a warning."""
        self.warnings.append(sentence.to_json())


class UserRun:
    """Extracts one user's conversations, under a lease that the caller keeps.

    Args:
        parts: what the task's users share.
        held: the lease on the user's history.
        report: to be filled in.
    """

    def __init__(self, parts: Parts, held: HistoryLease, report: Report) -> None:
        self._parts = parts
        self._held = held
        self._now = time.time()
        self._report = report

    async def __call__(self) -> None:
        """Read and record everything that is new, as far as time and limits allow.

        Raises:
            LeaseLost: another task reads the user's history by now.
            ServiceError: Dify or the state store failed.
        """
        if await self._finish_earlier():
            await self._extract()

    # -- what earlier runs have left in the queue

    async def _finish_earlier(self) -> bool:
        """Put failed chunks back in line and wait for all there are; whether there is time to go on."""
        parts, held = self._parts, self._held
        asked = {"kind": ChunkWrite.kind, "fingerprint": parts.fingerprint, "task_id": parts.task_id}
        waiting = await parts.state.write(
            lambda conn: chunks.take_up(conn, held.scope, held.user_id, held.app_id, **asked)
        )
        for write_id, conversation_id in waiting:
            parts.wake()
            await self._wait_for(write_id, conversation_id)
        return not self._stopped()

    def _stopped(self) -> bool:
        if self._parts.out_of_time:
            self._report.reason = "time_budget_exceeded"
        return self._report.reason is not None

    # -- what is new

    async def _extract(self) -> None:
        held = self._held
        found = await self._parts.state.read(lambda conn: checkpoints.load(conn, held.scope, held.user_id, held.app_id))
        user = UserCheckpoint.from_json(found.state) if found.state else UserCheckpoint()
        read = {id_: ConversationCheckpoint.from_json(state) for id_, state in found.conversations.items()}
        wanted = user.settled(self._now)
        if not wanted:
            return
        listed = await list_conversations(self._parts.api, held.user_id, wanted)
        self._report.scanned_conversations = len(listed)
        limit = self._parts.request.conversations_limit
        selection = select(listed, read, wanted, wanted - self._parts.request.range, limit)
        if not listed and not selection.chosen:
            self._report.reason = "no_conversations"
        if await self._read_all(selection.chosen):
            now = self._now
            await self._change_checkpoint(lambda current: current.seen_to(wanted, selection.left, now))

    async def _read_all(self, chosen: tuple[Selected, ...]) -> bool:
        """Whether all were read; one that cannot be read now is in the report, and read by the next run."""
        complete, in_a_row = True, 0
        for selected in chosen:
            if self._stopped():
                return False
            try:
                await self._read_one(selected)
                in_a_row = 0
            except ServiceError as exc:
                if exc.part == "state_store":
                    raise
                self._report.failed(exc, selected.conversation_id)
                complete, in_a_row = False, in_a_row + 1
                if isinstance(exc, ServiceRefused) or in_a_row >= MOST_ERRORS:
                    return False
        return complete

    async def _read_one(self, selected: Selected) -> None:
        """Read a conversation, record its chunk, and wait for that."""
        parts = self._parts
        chunk = await read_chunk(parts.api, self._held.user_id, selected, self._now, parts.request.max_tokens)
        for warning in chunk.warnings:
            self._report.warn(warning)
        write = await self._record(chunk)
        if write is not None:
            self._parts.wake()
            await self._wait_for(write.id, chunk.conversation_id)

    async def _record(self, chunk: Chunk) -> writes.NewWrite | None:
        """Commit the chunk as an accepted write with the checkpoint and the counts; None when nothing was said."""
        held, task_id = self._held, self._parts.task_id
        write = self._write(chunk) if chunk.turns else None
        counts = Counts(
            scanned_messages=chunk.found,
            processed_conversations=1 if chunk.taken else 0,
            processed_messages=chunk.taken,
            deferred_messages=chunk.found - chunk.taken,
        )

        def commit(conn: Connection) -> None:
            # In the order in which everybody locks: the lease, the queue, the checkpoint, the task.
            leases.hold(conn, held)
            if write is not None:
                writes.accept(conn, write, _NO_GUARD)
            state = chunk.checkpoint.to_json()
            checkpoints.save_conversation(conn, held.scope, held.user_id, held.app_id, chunk.conversation_id, state)
            tasks.count(conn, task_id, held.user_id, counts)

        await self._parts.state.write(commit)
        return write

    def _write(self, chunk: Chunk) -> writes.NewWrite:
        held = self._held
        said = tuple(Said(turn.id, turn.at, turn.user, turn.assistant) for turn in chunk.turns)
        request = ChunkWrite(
            at=datetime.now(UTC).isoformat(),
            trace=log.trace.get(),
            agent_id=held.app_id,
            conversation_id=chunk.conversation_id,
            said=said,
            task_id=self._parts.task_id,
        )
        return writes.NewWrite(
            id=chunk_id(held, chunk.conversation_id, said[0].id, said[-1].id),
            scope=held.scope,
            user_id=held.user_id,
            kind=request.kind,
            version=VERSION,
            payload=request.to_json(),
            fingerprint=self._parts.fingerprint,
            accepted_by=self._parts.task_id,
        )

    async def _wait_for(self, write_id: str, conversation_id: str) -> None:
        """Return when the write has ended, whoever ends it; one that failed for good is in the report."""
        state: writes.WriteState | None = None
        while not self._parts.lost_patience:
            await self._parts.worker.ended(write_id, _RECHECK_S)
            state = await self._parts.state.read(lambda conn: writes.state_of(conn, self._held.scope, write_id))
            if state is None or state.status != PENDING:
                break
        if state is not None and state.status == FAILED:
            error = {"type": state.error_code, "message": state.error, "conversation_id": conversation_id}
            self._report.errors.append(error)
        elif state is not None and state.status == PENDING:
            self._report.warn(Sentence("extraction_chunk_pending", {"conversation_id": conversation_id}))
        elif state is None or state.status != DONE:
            self._report.warn(Sentence("extraction_chunk_superseded", {"conversation_id": conversation_id}))

    async def _change_checkpoint(self, change: Callable[[UserCheckpoint], UserCheckpoint]) -> None:
        held = self._held

        def work(conn: Connection) -> None:
            leases.hold(conn, held)
            change_checkpoint(conn, held.scope, held.user_id, held.app_id, change)

        await self._parts.state.write(work)


def change_checkpoint(
    conn: Connection,
    scope: str,
    user_id: str,
    app_id: str,
    change: Callable[[UserCheckpoint], UserCheckpoint],
) -> None:
    """Change a user's checkpoint as it is now, under a lock: tasks add to it what they want, whoever reads."""
    stored = checkpoints.lock(conn, scope, user_id, app_id)
    current = UserCheckpoint.from_json(stored) if stored else UserCheckpoint()
    checkpoints.save(conn, scope, user_id, app_id, change(current).to_json())


def chunk_id(held: HistoryLease, conversation_id: str, first_message_id: str, last_message_id: str) -> str:
    """The id of a chunk's write: the same whenever the same messages of a user are recorded in the same store."""
    of_user = uuid.uuid5(_CHUNK_IDS, f"{held.scope}/{held.user_id}")
    return str(uuid.uuid5(of_user, f"{held.app_id}/{conversation_id}/{first_message_id}/{last_message_id}"))
