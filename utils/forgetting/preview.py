"""What forgetting would do now: a dry run. It walks through the memories as the real run does, judges them by the same
function, changes nothing and waits for no queue.
"""

from __future__ import annotations

import heapq
import time
from array import array
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from sqlalchemy import Connection

from utils.forgetting.assessment import Assessment, assess
from utils.forgetting.handler import PAGE, oldest_checkpoint_s
from utils.state import checkpoints, leases, recalls
from utils.stores.protocol import Owner, Row

if TYPE_CHECKING:
    from utils.memory.memory import Memory
    from utils.state.recalls import Recall

MOST_SHOWN: Final = 1_000  # SPEC 3.1: forgotten memories in an answer, least retention first


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


async def preview(memory: Memory, owner: Owner) -> Preview:
    """What forgetting would do now.

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
