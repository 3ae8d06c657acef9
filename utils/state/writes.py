"""Accepted writes: from the moment they are promised until their effect is committed.

The unit of work is a *queue*: one user's writes in one vector store. A worker leases a queue, carries out its head,
then the next, and lets go; so a user's writes are carried out one at a time, in the order they were accepted, whoever
does it. A lease is a row changed by one conditional statement; it ends by itself when a dead worker no longer renews
it, and every new lease raises the queue's fencing token. Whatever a worker commits, it commits under a lock on the
queue's row after comparing that token (:func:`hold`), so a worker that lost its lease cannot change anything any
more.

Every function takes an open transaction; none commits. Promises that need two functions together say so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    Executable,
    and_,
    bindparam,
    case,
    collate,
    delete,
    func,
    select,
    update,
)

from utils.errors import LeaseLost
from utils.state import statements
from utils.state.tables import DONE, FAILED, PENDING, epoch_now, write_queues, writes

# A queue whose own credentials nobody uses any more is taken over by other credentials of the same store after this
# long.
ORPHANED_AFTER_S: Final = 15.0


@dataclass(frozen=True, slots=True)
class NewWrite:
    """A write about to be accepted.

    Attributes:
        id: chosen by the caller (a UUID in text form); answered to the user as ``write_id``.
        scope: the vector store it belongs to (``Settings.store_identity``).
        user_id: whose memories it changes.
        kind: add, update, delete or delete_all.
        payload: what to do, as JSON.
        fingerprint: of the credentials it was accepted under.
        accepted_by: the accepting process.
    """

    id: str
    scope: str
    user_id: str
    kind: str
    payload: Mapping[str, Any]
    fingerprint: str
    accepted_by: str


@dataclass(frozen=True, slots=True)
class Claim:
    """A lease on one queue: only its holder, and only with this token, may commit anything about the queue's writes."""

    scope: str
    user_id: str
    owner: str
    token: int


@dataclass(frozen=True, slots=True)
class Write:
    """A pending write as the worker sees it; ``plan`` is None until one has been committed."""

    id: str
    user_id: str
    kind: str
    payload: Mapping[str, Any]
    plan: Mapping[str, Any] | None
    attempts: int
    wait_s: float


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


def accept(conn: Connection, write: NewWrite, most_pending: int) -> bool:
    """Record a write and wake its queue; False when ``most_pending`` of the accepting process are already waiting.

    The queue's row is locked first, so that writes accepted at once for one user get their numbers in commit order.
    Writes that wait for a next attempt, their own or that of one before them, do not count against the guard: they
    occupy nobody. One statement on PostgreSQL, which may be sent twice: it has the same effect as once.
    """
    values = {**_fields(write), "most_pending": most_pending}
    if conn.dialect.name == "postgresql":
        return conn.execute(statements.ACCEPT_POSTGRESQL, values).first() is not None
    conn.execute(statements.WAKE_SQLITE, values)
    return conn.execute(statements.RECORD_SQLITE, values).first() is not None


def claim(conn: Connection, *, scope: str, fingerprint: str, owner: str, most: int, lease_s: float) -> list[Claim]:
    """Lease up to ``most`` due queues of ``scope`` that nobody holds, longest waiting first.

    Args:
        scope: the vector store.
        fingerprint: the worker's credentials; queues accepted under others are left to those for
            :data:`ORPHANED_AFTER_S`.
        owner: the worker, in the lease.
        most: how many queues it can work on.
        lease_s: seconds until the leases end unless renewed.

    One statement; sent twice, the leases it took the first time run out unused.
    """
    values = {"for_scope": scope, "for_fingerprint": fingerprint, "for_owner": owner, "most": most}
    leased = conn.execute(statements.CLAIM, {**values, "lease_s": lease_s, "orphaned_s": ORPHANED_AFTER_S})
    return [Claim(*row) for row in leased]


def renew(conn: Connection, claims: Sequence[Claim], lease_s: float) -> list[Claim]:
    """Extend the leases in ``claims`` that are still held; the ones that were lost are returned."""
    in_order = sorted(claims, key=lambda one: one.user_id.encode())  # see _lock_in_order
    return [held for held in in_order if conn.execute(statements.RENEW, _named(held, lease_s=lease_s)).first() is None]


def end_leases(conn: Connection, scope: str, owners: Sequence[str], in_s: float) -> None:
    """Let the leases of ``owners``, who are dead, end in ``in_s`` seconds, unless they end sooner anyway."""
    queue, ends = write_queues.c, epoch_now() + in_s
    theirs = and_(queue.scope == scope, queue.owner.in_(owners), queue.lease_expires_at > ends)
    _lock_in_order(conn, theirs)
    conn.execute(update(write_queues).where(theirs).values(lease_expires_at=ends))


def hold(conn: Connection, held: Claim) -> None:
    """Lock the queue for the rest of the transaction and make sure ``held`` is still its lease.

    Raises:
        LeaseLost: another worker has it by now.
    """
    _must_return(conn, statements.HOLD, _named(held))


def head(conn: Connection, held: Claim) -> Write | None:
    """The oldest pending write of the queue, with the seconds until its next attempt; None when there is none."""
    row = conn.execute(statements.HEAD, _named(held)).first()
    return None if row is None else Write(*row)


def record_plan(conn: Connection, held: Claim, write_id: str, plan: Mapping[str, Any]) -> None:
    """Commit what a write will do, before any of it is done. From here on nothing about it is decided again.

    One statement, which may be sent twice.

    Raises:
        LeaseLost: another worker has the queue by now; nothing was changed.
    """
    _must_return(conn, statements.RECORD_PLAN, _named(held, write_id=write_id, the_plan=plan))


def finish(conn: Connection, held: Claim, write_id: str, result: Mapping[str, Any]) -> None:
    """Mark a write as carried out and erase its text; ``result`` keeps ids, events and counts only. Like :func:`hold`,
    it locks the queue.

    Raises:
        LeaseLost: another worker has the queue by now; nothing was changed.
    """
    _must_return(conn, statements.FINISH, _named(held, write_id=write_id, the_result=result))


def fail(conn: Connection, held: Claim, write_id: str, *, code: str, reason: str, parked: bool) -> None:
    """Give a write up, with its reason. It keeps its payload; a parked one is taken up again by :func:`unpark`."""
    hold(conn, held)
    conn.execute(
        update(writes)
        .where(writes.c.id == write_id)
        .values(status=FAILED, parked=parked, finished_at=epoch_now(), error_code=code, error=reason)
    )


def postpone(conn: Connection, held: Claim, write_id: str, *, delay_s: float, code: str, reason: str) -> None:
    """Count a failed attempt and set the next one; the queue's other writes wait with it, so that order is kept."""
    hold(conn, held)
    next_attempt_at = epoch_now() + delay_s
    behind = and_(writes.c.scope == held.scope, writes.c.user_id == held.user_id, writes.c.status == PENDING)
    conn.execute(update(writes).where(behind, writes.c.id != write_id).values(next_attempt_at=next_attempt_at))
    conn.execute(
        update(writes)
        .where(writes.c.id == write_id)
        .values(attempts=writes.c.attempts + 1, next_attempt_at=next_attempt_at, error_code=code, error=reason)
    )


def release(conn: Connection, held: Claim) -> None:
    """Give the queue back; it becomes due again when its head is.

    Two statements on purpose: the first locks the row, and only a statement begun after that sees a write that was
    being accepted meanwhile.

    Raises:
        LeaseLost: another worker has it by now.
    """
    hold(conn, held)
    _must_return(conn, statements.RELEASE, _named(held))


def next_or_release(conn: Connection, held: Claim) -> Write | None:
    """The queue's next write, if it is due; else the queue is given back and there is None.

    Call it in a transaction that has locked the queue (:func:`hold`, :func:`finish`, :func:`fail`, :func:`postpone`):
    then it sees a write that was being accepted meanwhile.
    """
    write = head(conn, held)
    if write is not None and write.wait_s <= 0:
        return write
    _must_return(conn, statements.RELEASE, _named(held))
    return None


def _lock_in_order(conn: Connection, these: ColumnElement[bool]) -> None:
    """Lock several queues as everybody does who locks more than one: by the bytes of the user ids, so that no two wait
    for each other. SQLite has one writer at a time.
    """
    if conn.dialect.name == "postgresql":
        queues = select(write_queues.c.user_id).where(these).order_by(collate(write_queues.c.user_id, "C"))
        conn.execute(queues.with_for_update())


def _named(held: Claim, **more: Any) -> dict[str, Any]:
    return {**{f"held_{name}": value for name, value in _fields(held).items()}, **more}


def _fields(given: NewWrite | Claim) -> dict[str, Any]:
    return {field.name: getattr(given, field.name) for field in fields(given)}


def _must_return(conn: Connection, statement: Executable, values: Mapping[str, Any]) -> None:
    if conn.execute(statement, values).first() is None:
        raise LeaseLost("error_lease_lost")


def unpark(conn: Connection, scope: str, fingerprint: str, *, tried_too: bool = False) -> int:
    """Put the parked writes of ``scope`` back in line, each in its old place; how many there were.

    Args:
        conn: an open transaction.
        scope: the vector store.
        fingerprint: the credentials that will carry them out.
        tried_too: also the ones that failed under these very credentials (they have just been validated).
    """
    parked = and_(writes.c.scope == scope, writes.c.status == FAILED, writes.c.parked.is_(True))
    if not tried_too:
        parked = and_(parked, writes.c.fingerprint != fingerprint)
    users = select(writes.c.user_id).where(parked).distinct()
    theirs = and_(write_queues.c.scope == scope, write_queues.c.user_id.in_(users))
    _lock_in_order(conn, theirs)
    conn.execute(update(write_queues).where(theirs).values(due_at=epoch_now(), fingerprint=fingerprint))
    fresh = {"status": PENDING, "parked": False, "attempts": 0, "finished_at": None, "error": None, "error_code": None}
    revived = update(writes).where(parked)
    return conn.execute(revived.values(fingerprint=fingerprint, next_attempt_at=epoch_now(), **fresh)).rowcount


def drop_failed_before(conn: Connection, held: Claim, write_id: str, agent_id: str | None) -> None:
    """Drop the queue's failed writes that were accepted before ``write_id``, a delete_all: taken up later, they would
    bring back what has just been deleted. With ``agent_id`` only that agent's additions.
    """
    mine = and_(writes.c.scope == held.scope, writes.c.user_id == held.user_id, writes.c.status == FAILED)
    accepted_at = select(writes.c.seq).where(writes.c.id == write_id).scalar_subquery()
    earlier = conn.execute(select(writes.c.id, writes.c.payload).where(mine, writes.c.seq < accepted_at)).all()
    superseded = [row.id for row in earlier if agent_id is None or row.payload.get("agent_id") == agent_id]
    conn.execute(delete(writes).where(writes.c.id.in_(superseded)))


_counts = select(
    func.coalesce(func.sum(case((writes.c.status == PENDING, 1), else_=0)), 0),
    func.coalesce(func.sum(case((writes.c.status == FAILED, 1), else_=0)), 0),
).where(writes.c.scope == bindparam("scope"), writes.c.status != DONE)
_counts_of_user = _counts.where(writes.c.user_id == bindparam("user_id"))


def counts(conn: Connection, scope: str, user_id: str | None = None) -> tuple[int, int]:
    """How many writes are pending and how many have failed, of one user or of the whole store."""
    if user_id is None:
        row = conn.execute(_counts, {"scope": scope}).one()
    else:
        row = conn.execute(_counts_of_user, {"scope": scope, "user_id": user_id}).one()
    return int(row[0]), int(row[1])


def state_of(conn: Connection, scope: str, write_id: str) -> WriteState | None:
    """What became of a write; None when it is unknown here (or old enough to be gone)."""
    columns = writes.c
    row = conn.execute(
        select(
            columns.user_id,
            columns.kind,
            columns.status,
            columns.attempts,
            columns.result,
            columns.error_code,
            columns.error,
            columns.created_at,
            columns.finished_at,
        ).where(columns.scope == scope, columns.id == write_id)
    ).first()
    return None if row is None else WriteState(**row._mapping)


def purge(conn: Connection, *, status: str, older_than_s: float, most: int) -> int:
    """Delete up to ``most`` writes of ``status`` that ended more than ``older_than_s`` ago; how many it were."""
    old = (
        select(writes.c.seq)
        .where(writes.c.status == status, writes.c.finished_at < epoch_now() - older_than_s)
        .limit(most)
    )
    return conn.execute(delete(writes).where(writes.c.seq.in_(old))).rowcount
