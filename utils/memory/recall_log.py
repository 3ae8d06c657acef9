"""The recall log: what searches found, recorded after they were answered.

A search leaves here what it answered with. Within a second everything left by then is recorded in one go, several
recalls of one memory folded into one. So no search waits for its record, and a busy process writes once a second.
What waits is bounded: beyond that the memories whose recalls wait longest lose them. A process that is killed loses its
last second.

Credential sets that share a vector store and its state share the log.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable, Mapping
from contextvars import Context
from typing import TYPE_CHECKING, Any, Final

from utils import log
from utils.errors import PluginError, ServiceError
from utils.state import recalls
from utils.state.recalls import Folded
from utils.stores.values import is_encodable

if TYPE_CHECKING:
    from utils.state.engine import StateStore
    from utils.stores.protocol import Row

_log = logging.getLogger(__name__)

LEAST_QUALITY: Final = 0.5  # SPEC 6: a memory that matched worse was shown, but not what was looked for
EVERY_S: Final = 1.0
_MOST_WAITING: Final = 10_000  # memories; some 3 MB
_BATCH: Final = 500  # memories to a transaction, whose rows are locked for that long
_CLOSE_S: Final = 2.0  # a state store that is gone must not keep a process from ending


class RecallLog:
    """Takes recalls and records them. Constructing it does no I/O; use it on the loop.

    Args:
        state: where they are recorded.
        scope: the vector store (``Identity.scope``).
    """

    def __init__(self, state: StateStore, scope: str) -> None:
        self._state = state
        self._scope = scope
        self._waiting: dict[tuple[str, str], Folded] = {}  # by user and memory id, the longest waiting first
        self._recording: asyncio.Task[None] | None = None
        self._flushing = asyncio.Lock()
        self._dropped = 0
        self._failing = False

    def add(self, user_id: str, rows: Iterable[Row], now_s: float | None = None) -> None:
        """Take what a search answered with. It does no I/O and takes microseconds.

        Args:
            user_id: whose memories they are.
            rows: the memories, with their scores.
            now_s: when it was, in seconds since the epoch; the present if not given.
        """
        at = time.time() if now_s is None else now_s
        for row in rows:
            quality = row.score if row.rerank_score is None else row.rerank_score
            if quality is not None and quality >= LEAST_QUALITY:
                self._add(user_id, row, quality, at)
        if self._waiting and self._recording is None:
            # In a context of its own: it is not part of the call that happens to start it.
            self._recording = asyncio.create_task(self._record_until_empty(), context=Context())

    def _add(self, user_id: str, row: Row, quality: float, at: float) -> None:
        if known := self._waiting.get((user_id, row.id)):
            known.add(quality, at)
            return
        self._make_room()
        self._waiting[user_id, row.id] = Folded.first(quality, at, _storable(row.agent_id))

    def _make_room(self) -> None:
        if len(self._waiting) >= _MOST_WAITING:
            del self._waiting[next(iter(self._waiting))]
            self._dropped += 1

    async def flush(self) -> None:
        """Record what is waiting.

        What a transaction that certainly did not happen would have recorded waits again. Where that is not certain,
        as the connection was lost at the commit, it is dropped: recorded twice, it would count twice.
        """
        async with self._flushing:
            waiting, self._waiting = self._waiting, {}
            left = list(waiting.items())
            try:
                while left:
                    batch, left = left[:_BATCH], left[_BATCH:]  # cut off, it may have been committed
                    if not await self._record(dict(batch)):
                        left = batch + left
                        break
            finally:
                self._put_back(dict(left))

    async def forget(self, user_id: str) -> None:
        """Drop what waits of a user whose data are being erased, also what a recording that fails right now would have
        let wait again: recorded later, it would bring back that there was such a user.
        """
        async with self._flushing:
            self._waiting = {key: folded for key, folded in self._waiting.items() if key[0] != user_id}

    async def _record(self, batch: Mapping[tuple[str, str], Folded]) -> bool:
        """Record a batch; whether it is done with."""
        sent = False

        def record(conn: Any) -> None:
            nonlocal sent
            recalls.record(conn, self._scope, batch)
            sent = True

        try:
            await self._state.write_changes(record)  # it may wait for who decides about a deletion
        except ServiceError as exc:
            keep = exc.passing and not sent
            self._say_failing(exc, 0 if keep else len(batch))
            return not keep
        self._say_recorded()
        return True

    def _put_back(self, earlier: dict[tuple[str, str], Folded]) -> None:
        """Let recalls wait again, before those that came meanwhile."""
        later, self._waiting = self._waiting, earlier
        for key, folded in later.items():
            if known := self._waiting.get(key):
                self._waiting[key] = known.then(folded)
            else:
                self._make_room()
                self._waiting[key] = folded

    async def _record_until_empty(self) -> None:
        """The top of a background task: whatever goes wrong, recalls are recorded a second later."""
        try:
            while self._waiting:
                await asyncio.sleep(EVERY_S)
                try:
                    with log.unforeseen(_log, "the recall log"):
                        await self.flush()
                except PluginError:  # logged
                    continue
        finally:
            self._recording = None

    def _say_failing(self, error: ServiceError, lost: int) -> None:
        self._dropped += lost
        if not self._failing:
            self._failing = True
            _log.warning("recalls cannot be recorded at the moment (%s)", error)

    def _say_recorded(self) -> None:
        if self._failing or self._dropped:
            _log.warning("recalls are recorded again; dropped meanwhile: those of %d memories", self._dropped)
        self._failing, self._dropped = False, 0

    async def close(self) -> None:
        """Record what is waiting, for as long as that takes a state store that is there. Idempotent."""
        if self._recording is not None:
            self._recording.cancel()
            await asyncio.wait([self._recording])
        waiting = len(self._waiting)
        try:
            async with asyncio.timeout(_CLOSE_S):
                await self.flush()
        except TimeoutError:
            _log.warning("recalls of up to %d memories are lost: the state store does not answer", waiting)
        self._waiting = {}


def _storable(agent_id: object) -> str | None:
    """An agent id as stored by whomever: one that no database takes would keep a whole batch from being recorded."""
    return agent_id if isinstance(agent_id, str) and is_encodable(agent_id) else None
