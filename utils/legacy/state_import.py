"""Checkpoints and recalls that earlier plugins kept among the memories, taken over into the state store, once for each
store of memories.

It begins with the first call of a credential set, in the background, and holds up no search. What would go wrong
without it, an extraction, a forgetting, a look at a checkpoint, waits for its end: a run that knew nothing of what was
read would read it all again. What is taken over is merged with what is there, in any order and any number of times to
the same result; so it needs no lock, and whoever is killed over it begins anew. Afterwards one row in the state store
says that it is done. The rows themselves stay where they are, for who goes back.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import time
from collections.abc import Sequence
from contextvars import Context
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from sqlalchemy import Connection

from utils.aio.blocking import ThreadPool, use_pool
from utils.errors import ServiceRejected
from utils.extraction.checkpoint import ConversationCheckpoint, UserCheckpoint
from utils.legacy import internal_rows
from utils.legacy.internal_rows import ACCESS_LOG, CHECKPOINT
from utils.state import checkpoints, imports, recalls

if TYPE_CHECKING:
    from utils.state.engine import StateStore
    from utils.stores.protocol import Row, Store

_log: Final = logging.getLogger(__name__)
_PAGE: Final = 200  # rows; each holds all of a user's, and is committed with the others of its page
_RETRY_S: Final = 30.0  # how soon it is begun again in the background after it failed


class StateImport:
    """The import for one store of memories. Constructing it does no I/O; use it on the loop.

    Args:
        store: where the memories are.
        state: where what is taken over goes.
        scope: the store's name there.
    """

    def __init__(self, store: Store, state: StateStore, scope: str) -> None:
        self._store = store
        self._state = state
        self._scope = scope
        self._task: asyncio.Task[None] | None = None
        self._retry_at = 0.0

    def start(self) -> None:
        """Begin in the background, unless it is running, done, or has failed a moment ago."""
        if self._task is None and time.monotonic() >= self._retry_at:
            self._begin()

    async def done(self) -> None:
        """Return when everything is taken over.

        Raises:
            ServiceError: the store or the state store failed.
        """
        running = self._task or self._begin()
        await asyncio.shield(running)  # others wait for it, too

    async def close(self) -> None:
        """Stop. Idempotent."""
        task, self._task, self._retry_at = self._task, None, float("inf")
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def _begin(self) -> asyncio.Task[None]:
        self._task = asyncio.create_task(self._run(), context=Context())
        self._task.add_done_callback(self._ended)
        return self._task

    def _ended(self, task: asyncio.Task[None]) -> None:
        if task.cancelled():
            return
        error = task.exception()
        if error is not None:
            _log.warning("what an earlier plugin kept among the memories is not taken over yet: %s", error)
            self._task, self._retry_at = None, max(self._retry_at, time.monotonic() + _RETRY_S)

    async def _run(self) -> None:
        if await self._state.read(lambda conn: imports.is_done(conn, self._scope)):
            return
        pool = ThreadPool("mem0-legacy-import", 1)
        use_pool(pool)
        try:
            await self._take_over()
        finally:
            pool.close()

    async def _take_over(self) -> None:
        await self._store.open()
        after_id, count = None, 0
        try:
            while rows := await self._store.internal_rows((CHECKPOINT, ACCESS_LOG), after_id, _PAGE):
                await self._state.write(functools.partial(_merge, scope=self._scope, rows=rows))
                after_id, count = rows[-1].id, count + len(rows)
        except ServiceRejected as exc:  # asking again would not help, and nothing may wait for ever
            _log.warning("what an earlier plugin may have kept among the memories cannot be read: %s", exc)
            return
        await self._state.write(lambda conn: imports.set_done(conn, self._scope))
        if count:
            _log.info("taken over from an earlier plugin: %d rows of checkpoints and recalls", count)


def _merge(conn: Connection, scope: str, rows: Sequence[Row]) -> None:
    """What ``rows`` say, merged with what is there. In an order of users, as everybody locks them."""
    found: list[tuple[str, str, str | None, recalls.Recall]] = []
    for row in sorted(rows, key=lambda row: (str(row.user_id), str(row.agent_id), row.id)):
        user_id, app_id = row.user_id, row.agent_id
        if not isinstance(user_id, str) or not isinstance(app_id, str | None):
            continue
        if internal_rows.kind_of(row) == ACCESS_LOG:
            found += [(user_id, memory_id, app_id, one) for memory_id, one in internal_rows.recalls(row).items()]
        elif app_id is not None:
            _merge_checkpoint(conn, scope, user_id, app_id, row)
    recalls.merge(conn, scope, found)


def _merge_checkpoint(conn: Connection, scope: str, user_id: str, app_id: str, row: Row) -> None:
    kept = checkpoints.lock(conn, scope, user_id, app_id)
    mine = UserCheckpoint.from_json(kept) if kept else UserCheckpoint()
    theirs = internal_rows.user_checkpoint(row)
    both = UserCheckpoint(mine.wanted | theirs.wanted, mine.resume or theirs.resume)
    checkpoints.save(conn, scope, user_id, app_id, both.to_json())
    there = checkpoints.load(conn, scope, user_id, app_id).conversations
    for conversation_id, one in internal_rows.conversations(row).items():
        known = there.get(conversation_id)
        merged = one if known is None else _joined(ConversationCheckpoint.from_json(known), one)
        checkpoints.save_conversation(conn, scope, user_id, app_id, conversation_id, merged.to_json())


def _joined(one: ConversationCheckpoint, other: ConversationCheckpoint) -> ConversationCheckpoint:
    done = one.done | other.done
    return replace(
        one,
        last=max((place for place in (one.last, other.last) if place), default=None),
        done=done,
        pending=one.pending - done,
        seen=frozenset(place for place in (*one.seen, *other.seen) if place[0] not in done),
    )
