"""Forgetting as a caller sees it: for real, through the user's queue, or as a dry run, which changes nothing.

A dry run walks through the memories as the real run does, and judges them by the same function.
"""

from __future__ import annotations

import heapq
import secrets
import time
from array import array
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from sqlalchemy import Connection

from utils import log
from utils.forgetting.assessment import Assessment, assess
from utils.forgetting.handler import PAGE, Forget, oldest_checkpoint_s
from utils.state import checkpoints, leases, recalls
from utils.stores.protocol import Owner, Row

if TYPE_CHECKING:
    from utils.memory.memory import Memory
    from utils.state.recalls import Recall

MOST_SHOWN: Final = 1_000  # SPEC 3.1: forgotten memories in an answer, least retention first
SYNCHRONOUS_WAIT_S: Final = 240.0  # SPEC 4: Dify ends a call after 300 to 600 s
# Of a waiting call's time, for the answer to get out in time.
_TO_ANSWER_S: Final = 1.0
_TO_ANSWER_SHARE: Final = 0.2


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What a real run has come to.

    Attributes:
        task_id: by which its state can be asked for.
        counts: ``deleted_count``, ``retained_count``, ``checkpoints_cleaned``, ``locks_cleaned``; None when it goes on
            in the background.
    """

    task_id: str
    counts: Mapping[str, int] | None


@dataclass(slots=True)
class Kind:
    """The memories of one kind, for a picture of them: eight bytes each.

    Attributes:
        retention: what is left of each, 0..1.
        days_left: until each is forgotten, below 0 when it is already; infinite for those that never are.
        forgotten: how many are.
    """

    retention: array[float] = field(default_factory=lambda: array("f"))
    days_left: array[float] = field(default_factory=lambda: array("f"))
    forgotten: int = 0

    def add(self, judged: Assessment) -> None:
        """Count one more memory."""
        self.retention.append(judged.retention)
        self.days_left.append(float("inf") if judged.days_left is None else judged.days_left)
        self.forgotten += judged.forget


@dataclass(slots=True)
class Preview:
    """What a run would do.

    Attributes:
        forgotten: the memories it would delete, with what the curve says of them, least retention first; at most
            :data:`MOST_SHOWN`.
        kinds: all memories, by their ``memory_subtype`` ("other" where there is none).
        checkpoints: how many it would delete.
        leases: how many it would delete.
    """

    forgotten: list[tuple[Row, Assessment]] = field(default_factory=list)
    kinds: dict[str, Kind] = field(default_factory=lambda: defaultdict(Kind))
    checkpoints: int = 0
    leases: int = 0

    @property
    def deleted_count(self) -> int:
        """How many memories it would delete."""
        return sum(kind.forgotten for kind in self.kinds.values())

    @property
    def retained_count(self) -> int:
        """How many memories it would keep."""
        return sum(len(kind.retention) for kind in self.kinds.values()) - self.deleted_count

    def add(self, judged: Sequence[tuple[Row, Assessment]]) -> None:
        """Count a page of memories."""
        for _, one in judged:
            self.kinds[one.memory_subtype or "other"].add(one)
        forgotten = [pair for pair in judged if pair[1].forget]
        if forgotten:
            self.forgotten = heapq.nsmallest(
                MOST_SHOWN, [*self.forgotten, *forgotten], key=lambda pair: pair[1].retention
            )


async def forget(memory: Memory, owner: Owner, timeout_s: float) -> Forgotten:
    """Delete what is forgotten. It takes its turn behind the user's accepted writes, and goes on in the background when
    it takes longer than the caller waits.

    Args:
        memory: whose operation it is.
        owner: whose memories.
        timeout_s: how long the caller waits in asynchronous mode.

    Raises:
        WriteFailed: it failed for good.
    """
    settings = memory.settings
    request = Forget(
        at=datetime.now(UTC).isoformat(),
        trace=log.trace.get(),
        agent_id=owner.agent_id,
        memory_ttl_days=settings.memory_ttl_days,
        checkpoint_ttl_days=settings.checkpoint_ttl_days,
    )
    to_answer_s = min(_TO_ANSWER_S, timeout_s * _TO_ANSWER_SHARE)
    wait_s = timeout_s - to_answer_s if settings.async_mode else SYNCHRONOUS_WAIT_S
    task_id = f"forget_{secrets.token_hex(6)}"
    return Forgotten(task_id, await memory.submit_task(owner.user_id, request, task_id, wait_s))


async def preview(memory: Memory, owner: Owner) -> Preview:
    """What :func:`forget` would do now. It changes nothing and waits for no queue.

    Args:
        memory: whose operation it is.
        owner: whose memories.
    """
    found, now_s, ttl_days = Preview(), time.time(), memory.settings.memory_ttl_days
    async with memory.reading() as (store, state, scope):

        def known_of(conn: Connection, rows: Sequence[Row]) -> dict[str, Recall]:
            return recalls.of_memories(conn, scope, owner.user_id, [row.id for row in rows])

        def count_expired(conn: Connection) -> tuple[int, int]:
            older_than_s = oldest_checkpoint_s(memory.settings.checkpoint_ttl_days)
            of_user = (scope, owner.user_id, owner.agent_id)
            old = checkpoints.purge(conn, *of_user, older_than_s=older_than_s, dry_run=True)
            return old, leases.count_expired(conn, *of_user)

        after_id: str | None = None
        while rows := await store.scan(owner, after_id, PAGE):
            known = await state.read(lambda conn, rows=rows: known_of(conn, rows))  # type: ignore[misc]
            found.add([(row, assess(row, known.get(row.id), now_s, ttl_days)) for row in rows])
            after_id = rows[-1].id
        found.checkpoints, found.leases = await state.read(count_expired)
    return found
