"""Accepted writes: from the moment they are promised until their effect is committed.

A write is pending, and then done, failed or superseded by a ``delete_all``. It is carried out by whoever holds the
lease on its user's queue (``queues``); how a lease is compared stands there, too. Every function takes an open
transaction; none commits. Promises that need two functions together say so.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from functools import cache
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    Integer,
    Select,
    String,
    and_,
    bindparam,
    case,
    delete,
    func,
    literal,
    literal_column,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from utils.errors import Superseded
from utils.state import queues
from utils.state.leases import first_token, is_due
from utils.state.queues import HELD, NEXT_ATTEMPT, PENDING_THERE, Claim, Known
from utils.state.tables import (
    DONE,
    DUE_NOW,
    FAILED,
    PENDING,
    SUPERSEDED,
    epoch_now,
    write_queues,
    writes,
)


@dataclass(frozen=True, slots=True)
class NewWrite:
    """A write about to be accepted.

    Attributes:
        id: chosen by the caller (a UUID in text form); answered to the user as ``write_id``.
        scope: the vector store it belongs to (``Identity.scope``).
        user_id: whose memories it changes.
        kind: names the handler that will carry it out.
        version: of the form of ``payload`` and of the plan that will be made of it.
        payload: what to do, as JSON.
        fingerprint: of the credentials it is accepted under.
        accepted_by: who accepts it, for the overload guard.
        waited_for: its caller waits for the outcome, and nothing must be done after that has been told.
    """

    id: str
    scope: str
    user_id: str
    kind: str
    version: int
    payload: Mapping[str, Any]
    fingerprint: str
    accepted_by: str
    waited_for: bool = False


@dataclass(frozen=True, slots=True)
class Write:
    """A pending write as the worker sees it; ``plan`` is None until one has been committed, and ``seq`` is its place
    among all writes. A ``parked`` one had failed and is late: writes that were accepted after it may have been carried
    out before it.
    """

    id: str
    seq: int
    user_id: str
    kind: str
    version: int
    payload: Mapping[str, Any]
    plan: Mapping[str, Any] | None
    attempts: int
    waited_for: bool
    parked: bool


@dataclass(frozen=True, slots=True)
class WriteState:
    """What is known of a write: its status, its result once done, its reason once failed or postponed."""

    user_id: str
    kind: str
    status: str
    attempts: int
    result: Mapping[str, Any] | None
    error_code: str | None
    error: str | None
    created_at: float
    finished_at: float | None


# -- accepting

_of_given_user: Final = and_(
    write_queues.c.scope == bindparam("scope"),
    write_queues.c.user_id == bindparam("user_id"),
)
# Writes of this acceptor that could be carried out now. Those that wait for a next attempt occupy nobody, and the
# write itself does not count when it is sent again after a lost connection.
_room: Final = (
    select(func.count())
    .where(writes.c.accepted_by == bindparam("accepted_by"), writes.c.status == PENDING)
    .where(is_due(writes.c.next_attempt_at), writes.c.id != bindparam("id"))
    .scalar_subquery()
) < bindparam("most_pending", type_=Integer())


def _wake(dialect_insert: Any) -> Any:
    """Make the queue due now, unless it is due at another time already; make it, if this is the user's first write."""
    queue = write_queues.c
    fresh = dialect_insert(write_queues).values(
        scope=bindparam("scope"),
        user_id=bindparam("user_id"),
        token=bindparam("first_token"),
        due_at=DUE_NOW,
        waiting_since=epoch_now(),
    )
    return fresh.on_conflict_do_update(
        index_elements=[queue.scope, queue.user_id],
        set_={
            "due_at": func.coalesce(queue.due_at, fresh.excluded.due_at),
            "waiting_since": case((queue.due_at.is_(None), epoch_now()), else_=queue.waiting_since),
        },
    )


def _record(dialect_insert: Any, due_at: ColumnElement[float]) -> Any:
    """Insert the write, if there is room; sent again it finds itself there already, which is as good.

    Behind a head that waits for its next attempt it waits as long.
    """
    given = [field.name for field in fields(NewWrite)]
    values: dict[str, ColumnElement[Any]] = {name: bindparam(name, type_=writes.c[name].type) for name in given}
    values["status"] = literal(PENDING)
    values["next_attempt_at"] = case((is_due(due_at), DUE_NOW), else_=due_at)
    values["created_at"] = epoch_now()
    fresh = dialect_insert(writes).from_select(list(values), select(*values.values()).where(_room))
    once = fresh.on_conflict_do_update(index_elements=[writes.c.id], set_={"id": fresh.excluded.id})
    return once.returning(writes.c.seq)


# On PostgreSQL one round trip: `woken` has its row when the queue is locked, and only then the write gets its number.
_woken: Final = _wake(postgresql.insert).returning(write_queues.c.due_at).cte("woken")
_ACCEPT_POSTGRESQL: Final = _record(postgresql.insert, _woken.c.due_at)
_WAKE_SQLITE: Final = _wake(sqlite.insert)
_RECORD_SQLITE: Final = _record(sqlite.insert, select(write_queues.c.due_at).where(_of_given_user).scalar_subquery())


def accept(conn: Connection, write: NewWrite, most_pending: int) -> bool:
    """Record a write and wake its queue; False when ``most_pending`` of its acceptor are already waiting.

    The queue's row is locked first, so that writes accepted at once for one user get their numbers in commit order.
    One statement on PostgreSQL, which may be sent twice: it has the same effect as once.
    """
    values = {field.name: getattr(write, field.name) for field in fields(write)}
    values |= {"most_pending": most_pending, "first_token": first_token()}
    if conn.dialect.name == "postgresql":
        return conn.execute(_ACCEPT_POSTGRESQL, values).first() is not None
    conn.execute(_WAKE_SQLITE, values)
    return conn.execute(_RECORD_SQLITE, values).first() is not None


def supersede(conn: Connection, scope: str, user_id: str, kinds: Collection[str], agent_id: str | None) -> int:
    """End the user's pending writes of these kinds without carrying them out; how many it were.

    Call it in the transaction that accepts the ``delete_all`` they are superseded by, and before that: a worker that
    has one of them in work finds out when it commits.

    Args:
        conn: an open transaction.
        scope: the vector store.
        user_id: whose writes.
        kinds: which of them.
        agent_id: only those that name this agent in their payload; None: all.
    """
    here = {"held_scope": scope, "held_user_id": user_id}
    queue = and_(write_queues.c.scope == scope, write_queues.c.user_id == user_id)
    queues.lock(conn, queue)  # a worker locks the queue before it changes a write: in the same order here
    superseded = and_(PENDING_THERE, writes.c.kind.in_(kinds))
    if agent_id is not None:
        superseded = and_(superseded, writes.c.payload["agent_id"].as_string() == agent_id)
    ended = {"status": SUPERSEDED, "payload": None, "plan": None, "finished_at": epoch_now()}
    count = conn.execute(update(writes).where(superseded).values(ended), here).rowcount
    if count:  # what is left may have waited for one of those
        conn.execute(update(writes).where(PENDING_THERE).values(next_attempt_at=DUE_NOW), here)
        conn.execute(update(write_queues).where(queue).values(due_at=NEXT_ATTEMPT), here)
    return count


def hasten(conn: Connection, scope: str, user_id: str) -> None:
    """Let the user's pending writes be tried now, although the first of them waits for its next attempt: behind them
    comes one that a caller waits for. Call it in the transaction that accepts that one, and before that.
    """
    here = {"held_scope": scope, "held_user_id": user_id}
    queue = and_(write_queues.c.scope == scope, write_queues.c.user_id == user_id, write_queues.c.due_at > DUE_NOW)
    queues.lock(conn, queue)
    if conn.execute(update(write_queues).where(queue).values(due_at=DUE_NOW)).rowcount:
        conn.execute(update(writes).where(PENDING_THERE).values(next_attempt_at=DUE_NOW), here)


# -- what a lease's holder does


@cache
def _head(known: Known) -> Select[Any]:
    wanted = [writes.c[field.name] for field in fields(Write)]
    ready = and_(is_due(writes.c.next_attempt_at), queues.may_carry_out(known))
    return select(case((ready, 1), else_=0), *wanted).where(PENDING_THERE).order_by(writes.c.seq).limit(1)


def head(conn: Connection, held: Claim, fingerprint: str, known: Known) -> Write | None:
    """The oldest pending write of the queue; None when there is none, when its time has not come, or when it is one
    that may not be carried out here (see ``queues.claim``).
    """
    row = conn.execute(_head(known), held.parameters(for_fingerprint=fingerprint)).first()
    return Write(*row[1:]) if row is not None and row[0] else None


_held_write: Final = and_(
    writes.c.id == bindparam("write_id"), writes.c.status == PENDING, select(HELD.c.token).exists()
)
_RECORD_PLAN: Final = (
    update(writes)
    .where(_held_write)
    .values(plan=bindparam("the_plan", type_=writes.c.plan.type))
    .returning(writes.c.id)
)
_FINISH: Final = (
    update(writes)
    .where(_held_write)
    .values(
        status=DONE,
        payload=None,
        plan=None,
        result=bindparam("the_result", type_=writes.c.result.type),
        finished_at=epoch_now(),
        error_code=None,
        error=None,
    )
    .returning(writes.c.id)
)


def record_plan(conn: Connection, held: Claim, write_id: str, plan: Mapping[str, Any]) -> None:
    """Commit what a write will do, before any of it is done. From here on nothing about it is decided again.

    One statement, which may be sent twice.

    Raises:
        LeaseLost: another worker has the queue by now; nothing was changed.
        Superseded: the write has been superseded meanwhile; nothing was changed.
    """
    if conn.execute(_RECORD_PLAN, held.parameters(write_id=write_id, the_plan=plan)).first() is None:
        _refuse(conn, held, write_id)


def finish(conn: Connection, held: Claim, write_id: str, result: Mapping[str, Any]) -> None:
    """Mark a write as carried out and erase its text; ``result`` keeps ids, events and counts only. It locks the queue
    first, like ``queues.hold``: what is changed after it in the same transaction is changed by the lease's holder.

    Raises:
        LeaseLost, Superseded: as :func:`record_plan`.
    """
    if conn.execute(_FINISH, held.parameters(write_id=write_id, the_result=result)).first() is None:
        _refuse(conn, held, write_id)


def _refuse(conn: Connection, held: Claim, write_id: str) -> None:
    queues.hold(conn, held)
    raise Superseded("error_write_superseded", write_id=write_id)


def fail(conn: Connection, held: Claim, write_id: str, *, code: str, reason: str, parked: bool) -> None:
    """Give a write up, with its reason. It keeps its payload; a parked one is taken up again (``parked.unpark``).

    Raises:
        LeaseLost: another worker has the queue by now; nothing was changed.
    """
    queues.hold(conn, held)
    conn.execute(
        update(writes)
        .where(writes.c.id == write_id, writes.c.status == PENDING)
        .values(status=FAILED, parked=parked, finished_at=epoch_now(), error_code=code, error=reason)
    )


def postpone(
    conn: Connection, held: Claim, write_id: str, *, attempts: int, delay_s: float, code: str, reason: str
) -> None:
    """Record how many attempts have failed and set the next one; the queue's other writes wait with it, so that order
    is kept. One that a caller waits for fails with it: nobody waits through another's retries.

    Raises:
        LeaseLost: another worker has the queue by now; nothing was changed.
    """
    queues.hold(conn, held)
    next_attempt_at = epoch_now() + delay_s
    pending = and_(writes.c.scope == held.scope, writes.c.user_id == held.user_id, writes.c.status == PENDING)
    conn.execute(update(writes).where(pending).values(next_attempt_at=next_attempt_at))
    behind = and_(pending, writes.c.id != write_id, writes.c.waited_for.is_(True))
    failed = {"status": FAILED, "finished_at": epoch_now(), "error_code": code, "error": reason}
    conn.execute(update(writes).where(behind).values(failed))
    conn.execute(
        update(writes)
        .where(writes.c.id == write_id, writes.c.status == PENDING)
        .values(attempts=attempts, error_code=code, error=reason)
    )


def next_or_release(
    conn: Connection, held: Claim, fingerprint: str, known: Known, *, forget_queue: bool = False
) -> tuple[Write | None, bool]:
    """The queue's next write, as :func:`head`; where there is None, the queue is given back, and with ``forget_queue``
    its row goes if it can. With it, whether the queue is due all the same: for whoever carries out other writes.

    Call it in a transaction that has locked the queue: then it sees a write that was being accepted meanwhile.
    """
    write = head(conn, held, fingerprint, known)
    if write is not None:
        return write, False
    others_due = queues.release(conn, held)
    if forget_queue:
        queues.forget(conn, held)
    return None, others_due


# -- looking

# Written into the statement: each parameter costs its sender something.
_pending, _failed = literal_column(f"'{PENDING}'", String), literal_column(f"'{FAILED}'", String)
_counts = select(
    func.count().filter(writes.c.status == _pending), func.count().filter(writes.c.status == _failed)
).where(writes.c.scope == bindparam("scope"), writes.c.status.in_((_pending, _failed)))
_counts_of_user = _counts.where(writes.c.user_id == bindparam("user_id"))


def counts(conn: Connection, scope: str, user_id: str | None = None) -> tuple[int, int]:
    """How many writes are pending and how many have failed, of one user or of the whole store."""
    if user_id is None:
        row = conn.execute(_counts, {"scope": scope}).one()
    else:
        row = conn.execute(_counts_of_user, {"scope": scope, "user_id": user_id}).one()
    return int(row[0]), int(row[1])


@cache
def _counts_sql() -> str:
    """:func:`counts` of a user as psycopg takes it; its parameters are ``asked_...``: it is sent as part of others."""
    dialect = postgresql.psycopg.dialect()  # type: ignore[no-untyped-call]
    statement = str(_counts_of_user.compile(dialect=dialect))
    return statement.replace("%(scope)s", "%(asked_scope)s").replace("%(user_id)s", "%(asked_user_id)s")


def counts_question(scope: str, user_id: str) -> tuple[str, dict[str, Any]]:
    """What :func:`counts` asks of one user, as a SELECT for psycopg and its parameters; for whoever asks the same
    PostgreSQL database something anyway.
    """
    return _counts_sql(), {"asked_scope": scope, "asked_user_id": user_id}


def fingerprints_with_work(conn: Connection, scope: str) -> frozenset[str]:
    """The fingerprints under which writes of ``scope`` are pending."""
    waiting = select(writes.c.fingerprint).where(writes.c.scope == scope, writes.c.status == PENDING).distinct()
    return frozenset(conn.execute(waiting).scalars())


def state_of(conn: Connection, scope: str, write_id: str) -> WriteState | None:
    """What became of a write; None when it is unknown here (or old enough to be gone)."""
    wanted = [writes.c[field.name] for field in fields(WriteState)]
    row = conn.execute(select(*wanted).where(writes.c.scope == scope, writes.c.id == write_id)).first()
    return None if row is None else WriteState(*row)


def purge(conn: Connection, *, older_than_s: float, most: int) -> int:
    """Delete up to ``most`` writes that were done or superseded more than ``older_than_s`` ago; how many it were.

    Failed ones stay, with their reason, until their user's memories are deleted.
    """
    old = (
        select(writes.c.seq)
        .where(writes.c.status.in_((DONE, SUPERSEDED)), writes.c.finished_at < epoch_now() - older_than_s)
        .limit(most)
    )
    return conn.execute(delete(writes).where(writes.c.seq.in_(old))).rowcount
