"""Recalls: how often and how well each memory was found again, one row per memory that ever was.

The average of the qualities is an exponentially weighted moving one (EWMA, after Roberts, *Control Chart Tests Based on
Geometric Moving Averages*, Technometrics 1959): ``new = 0.3 * quality + 0.7 * old``, the first quality as it is. It is
updated by one statement on the row's own values, so that processes which record at the same time lose nothing. Several
recalls of one memory are folded into one update first (:class:`Folded`), which comes to the same as one by one.

Rows are always locked in the order of user and memory id, by their bytes: whoever records, forgets and deletes at the
same time waits for the other and never in a circle. Every function takes an open transaction; none commits.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Double, and_, bindparam, case, delete, select
from sqlalchemy.dialects import postgresql, sqlite

from utils.state.tables import recalls

WEIGHT: Final = 0.3  # of a new quality in the average (SPEC 6)
MOST_COUNTED: Final = 6  # recalls; further ones change the average and the time only


@dataclass(frozen=True, slots=True)
class Recall:
    """What is recorded of one memory.

    Attributes:
        quality_ema: average quality of its recalls, 0..1.
        recall_count: how many there were, at most :data:`MOST_COUNTED`.
        last_recalled_at: seconds since the epoch.
    """

    quality_ema: float
    recall_count: int
    last_recalled_at: float


@dataclass(slots=True)
class Folded:
    """Recalls of one memory that are not recorded yet, as what they do together to whatever is recorded of it.

    Recalls of qualities q1 ... qn turn an average ``old`` into ``0.7^n * old + (what they make of each other)``; with
    nothing recorded, q1 takes the place of ``old``. So ``quality_ema``, what they come to alone, becomes
    ``quality_ema + kept * (old - first_quality)``.

    Attributes:
        agent_id: the agent the memory belongs to.
        first_quality: q1, 0..1.
        quality_ema: their average when nothing is recorded.
        kept: 0.7^n; how much of an older average is left after them.
        times: n.
        at: when the last one was, in seconds since the epoch.
    """

    agent_id: str | None
    first_quality: float
    quality_ema: float
    kept: float
    times: int
    at: float

    @classmethod
    def first(cls, quality: float, at: float, agent_id: str | None = None) -> Folded:
        """One recall."""
        return cls(agent_id, quality, quality, 1.0 - WEIGHT, 1, at)

    def add(self, quality: float, at: float) -> None:
        """One more recall, after these."""
        self.quality_ema = WEIGHT * quality + (1.0 - WEIGHT) * self.quality_ema
        self.kept *= 1.0 - WEIGHT
        self.times += 1
        self.at = max(self.at, at)

    def then(self, later: Folded) -> Folded:
        """These recalls, and then ``later`` ones of the same memory."""
        quality_ema = later.quality_ema + later.kept * (self.quality_ema - later.first_quality)
        kept, times = self.kept * later.kept, self.times + later.times
        return Folded(self.agent_id, self.first_quality, quality_ema, kept, times, max(self.at, later.at))


type Unrecorded = Mapping[tuple[str, str], Folded]  # by user id and memory id


def _upsert(dialect_insert: Any) -> Any:
    given = ("scope", "user_id", "memory_id", "agent_id", "quality_ema", "recall_count", "last_recalled_at")
    fresh = dialect_insert(recalls).values({name: bindparam(name) for name in given})
    there, new = recalls.c, fresh.excluded
    kept: ColumnElement[float] = bindparam("kept", type_=Double())
    first: ColumnElement[float] = bindparam("first_quality", type_=Double())
    count = there.recall_count + new.recall_count
    return fresh.on_conflict_do_update(
        index_elements=[there.scope, there.user_id, there.memory_id],
        set_={
            "quality_ema": new.quality_ema + kept * (there.quality_ema - first),
            "recall_count": case((count > MOST_COUNTED, MOST_COUNTED), else_=count),
            "last_recalled_at": _later(there.last_recalled_at, new.last_recalled_at),
        },
    )


def _later(one: ColumnElement[float], other: ColumnElement[float]) -> ColumnElement[float]:
    return case((one > other, one), else_=other)


_UPSERT_POSTGRESQL: Final = _upsert(postgresql.insert)
_UPSERT_SQLITE: Final = _upsert(sqlite.insert)


def record(conn: Connection, scope: str, unrecorded: Unrecorded) -> None:
    """Add recalls to what is recorded. Not to be sent twice: they would count twice."""
    rows = [
        {
            "scope": scope,
            "user_id": user_id,
            "memory_id": memory_id,
            "agent_id": one.agent_id,
            "quality_ema": one.quality_ema,
            "recall_count": min(one.times, MOST_COUNTED),
            "last_recalled_at": one.at,
            "kept": one.kept,
            "first_quality": one.first_quality,
        }
        for (user_id, memory_id), one in sorted(unrecorded.items(), key=lambda item: item[0])
    ]
    if rows:
        conn.execute(_UPSERT_POSTGRESQL if conn.dialect.name == "postgresql" else _UPSERT_SQLITE, rows)


def _merge(dialect_insert: Any) -> Any:
    given = ("scope", "user_id", "memory_id", "agent_id", "quality_ema", "recall_count", "last_recalled_at")
    fresh = dialect_insert(recalls).values({name: bindparam(name) for name in given})
    there, new = recalls.c, fresh.excluded
    newer = new.last_recalled_at > there.last_recalled_at
    return fresh.on_conflict_do_update(
        index_elements=[there.scope, there.user_id, there.memory_id],
        set_={
            "quality_ema": case((newer, new.quality_ema), else_=there.quality_ema),
            "recall_count": _later(there.recall_count, new.recall_count),
            "last_recalled_at": _later(there.last_recalled_at, new.last_recalled_at),
        },
    )


_MERGE_POSTGRESQL: Final = _merge(postgresql.insert)
_MERGE_SQLITE: Final = _merge(sqlite.insert)


def merge(conn: Connection, scope: str, found: Iterable[tuple[str, str, str | None, Recall]]) -> None:
    """Take over what was recorded elsewhere: ``(user id, memory id, agent id, recall)``. Of two records of a memory the
    higher count stays, and the average of the later one; sent again it changes nothing.
    """
    rows = [
        {
            "scope": scope,
            "user_id": user_id,
            "memory_id": memory_id,
            "agent_id": agent_id,
            "quality_ema": one.quality_ema,
            "recall_count": one.recall_count,
            "last_recalled_at": one.last_recalled_at,
        }
        for user_id, memory_id, agent_id, one in sorted(found, key=lambda item: item[:2])
    ]
    if rows:
        conn.execute(_MERGE_POSTGRESQL if conn.dialect.name == "postgresql" else _MERGE_SQLITE, rows)


_found: Final = (recalls.c.memory_id, recalls.c.quality_ema, recalls.c.recall_count, recalls.c.last_recalled_at)
_OF_MEMORIES: Final = select(*_found).where(
    recalls.c.scope == bindparam("scope"),
    recalls.c.user_id == bindparam("user_id"),
    recalls.c.memory_id.in_(bindparam("memory_ids", expanding=True)),
)


def of_memories(conn: Connection, scope: str, user_id: str, memory_ids: Collection[str]) -> dict[str, Recall]:
    """What is recorded of these memories of a user, by memory id; nothing of those never recalled."""
    asked = {"scope": scope, "user_id": user_id, "memory_ids": list(memory_ids)}
    return _by_id(conn.execute(_OF_MEMORIES, asked)) if memory_ids else {}


def _by_id(rows: Iterable[Sequence[Any]]) -> dict[str, Recall]:
    return {memory_id: Recall(*rest) for memory_id, *rest in rows}


def _placeholder() -> Any:
    """Insert a row that stands for "never recalled", or lock the one that is there and leave it as it is."""
    given = ("scope", "user_id", "memory_id")
    never: dict[str, Any] = {"quality_ema": 0.0, "recall_count": 0, "last_recalled_at": 0.0}
    fresh = postgresql.insert(recalls).values({name: bindparam(name) for name in given} | never)
    key = [recalls.c[name] for name in given]
    return fresh.on_conflict_do_update(index_elements=key, set_={"recall_count": recalls.c.recall_count})


_PLACEHOLDER: Final = _placeholder()


def hold(conn: Connection, scope: str, user_id: str, memory_ids: Collection[str]) -> dict[str, Recall]:
    """As :func:`of_memories`, and until the transaction ends nobody records a recall of these memories: who tries
    waits. The caller deletes what is recorded of them all (:func:`delete_of`), or rolls back.
    """
    if conn.dialect.name == "postgresql" and memory_ids:  # on SQLite this transaction is the only writer
        # A lock on the rows that are there would not do: the first recall of a memory has none to wait for.
        rows = [{"scope": scope, "user_id": user_id, "memory_id": memory_id} for memory_id in sorted(memory_ids)]
        conn.execute(_PLACEHOLDER, rows)
    held = of_memories(conn, scope, user_id, memory_ids)
    return {memory_id: recall for memory_id, recall in held.items() if recall.recall_count}


def delete_of(conn: Connection, scope: str, user_id: str, memory_ids: Collection[str]) -> int:
    """Delete what is recorded of these memories; of how many that was."""
    return _delete(conn, and_(_mine(scope, user_id), recalls.c.memory_id.in_(memory_ids))) if memory_ids else 0


def delete_all(conn: Connection, scope: str, user_id: str, agent_id: str | None) -> int:
    """Delete what is recorded of all the user's memories (of one agent's, if given); of how many that was."""
    mine = _mine(scope, user_id)
    return _delete(conn, mine if agent_id is None else and_(mine, recalls.c.agent_id == agent_id))


def page(
    conn: Connection,
    scope: str,
    user_id: str,
    agent_id: str | None,
    *,
    after_id: str | None,
    up_to_id: str | None,
    limit: int,
) -> list[tuple[str, float]]:
    """The ids of the user's (one agent's) recalled memories above ``after_id`` and up to ``up_to_id``, in order, each
    with the time of its last recall; at most ``limit``. None: from the first, to the last.
    """
    wanted = [_mine(scope, user_id)]
    if agent_id is not None:
        wanted.append(recalls.c.agent_id == agent_id)
    if after_id is not None:
        wanted.append(recalls.c.memory_id > after_id)
    if up_to_id is not None:
        wanted.append(recalls.c.memory_id <= up_to_id)
    asked = select(recalls.c.memory_id, recalls.c.last_recalled_at).where(*wanted)
    return [(memory_id, at) for memory_id, at in conn.execute(asked.order_by(recalls.c.memory_id).limit(limit))]


def _mine(scope: str, user_id: str) -> ColumnElement[bool]:
    return and_(recalls.c.scope == scope, recalls.c.user_id == user_id)


def _delete(conn: Connection, gone: ColumnElement[bool]) -> int:
    if conn.dialect.name == "postgresql":
        in_order = select(recalls.c.memory_id).where(gone).order_by(recalls.c.user_id, recalls.c.memory_id)
        conn.execute(in_order.with_for_update())
    return conn.execute(delete(recalls).where(gone)).rowcount
