"""Queues and their leases: who works on a user's writes.

A *queue* is one user's writes in one vector store. A worker leases it, carries out its head, then the next, and lets
go; so a user's writes are carried out one at a time, in the order they were accepted, whoever does it. What a lease is
stands in ``leases``. Whatever a worker commits, it commits under a lock on the queue's row after comparing the lease's
token (:func:`hold`), so a worker that lost its lease cannot change anything any more.

Statements are built once: building one anew for each call costs several times what the database takes to carry it out.
Values come as parameters; a lease's are named ``held_...``. A statement that ends in ``RETURNING`` tells by an empty
answer that its condition did not hold. Every function takes an open transaction; none commits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    Integer,
    Select,
    Update,
    and_,
    bindparam,
    case,
    collate,
    delete,
    false,
    or_,
    select,
    tuple_,
    update,
)

from utils.state.leases import LeasedTable, is_due, must_return, parameters
from utils.state.tables import DUE_NOW, FAILED, PENDING, epoch_now, workers, write_queues, writes

# A fingerprint that no worker has served for this long is nobody's any more.
UNSEEN_AFTER_S: Final = 120.0


@dataclass(frozen=True, slots=True)
class Claim:
    """A lease on one queue as the database knows it: only its owner, and only with this token, may commit anything
    about the queue's writes.
    """

    scope: str
    user_id: str
    owner: str
    token: int

    def parameters(self, **more: Any) -> dict[str, Any]:
        """Parameters of the statements that compare the lease."""
        return parameters(self, **more)


_LEASED: Final = LeasedTable(write_queues, "scope", "user_id")
PENDING_THERE: Final = and_(
    writes.c.scope == bindparam("held_scope"),
    writes.c.user_id == bindparam("held_user_id"),
    writes.c.status == PENDING,
)

_TO_CARRY_OUT: Final = and_(
    writes.c.scope == bindparam("held_scope"),
    writes.c.user_id == bindparam("held_user_id"),
    writes.c.status.in_((PENDING, FAILED)),
)

# -- claiming

type Known = frozenset[tuple[str, int]]  # kinds of writes with the highest version of each that a process knows


def may_carry_out(known: Known) -> ColumnElement[bool]:
    """Whether a write may be carried out by a process that knows ``known``, under the credentials
    ``for_fingerprint``: its own, or such as nobody has served for a while.
    """
    understood = [and_(writes.c.kind == kind, writes.c.version <= version) for kind, version in sorted(known)]
    served = (
        select(workers.c.id)
        .where(workers.c.scope == writes.c.scope, workers.c.fingerprint == writes.c.fingerprint)
        .where(workers.c.seen_at > epoch_now() - UNSEEN_AFTER_S)
        .exists()
    )
    own = writes.c.fingerprint == bindparam("for_fingerprint")
    return and_(or_(false(), *understood), or_(own, ~served))


@cache
def _claim(known: Known) -> Update:
    queue = write_queues.c
    head_may = (
        select(case((may_carry_out(known), 1), else_=0))
        .where(writes.c.scope == queue.scope, writes.c.user_id == queue.user_id, writes.c.status == PENDING)
        .order_by(writes.c.seq)
        .limit(1)
        .correlate(write_queues)
        .scalar_subquery()
    )
    due = (
        select(queue.scope, queue.user_id)
        .where(queue.scope == bindparam("for_scope"), is_due(queue.due_at), _LEASED.free, head_may == 1)
        .order_by(queue.waiting_since)
        .limit(bindparam("most", type_=Integer()))
        .with_for_update(of=write_queues, skip_locked=True)  # SQLite has one writer at a time and compiles it away
        .cte("due")
    )
    return (
        update(write_queues)
        .where(queue.scope == due.c.scope, queue.user_id == due.c.user_id)
        .values(_LEASED.taken)
        .returning(queue.scope, queue.user_id, queue.owner, queue.token)
    )


def claim(
    conn: Connection, *, scope: str, fingerprint: str, known: Known, owner: str, most: int, lease_s: float
) -> list[Claim]:
    """Lease up to ``most`` due queues of ``scope`` that nobody holds, longest waiting first.

    Args:
        conn: an open transaction.
        scope: the vector store.
        fingerprint: of the credentials the writes will be carried out with; a queue whose head was accepted under
            others is left to those, unless nobody has served them for :data:`UNSEEN_AFTER_S`.
        known: what the process can carry out; a queue whose head is of another kind or a newer version is left alone.
        owner: the worker, in the lease.
        most: how many queues it can work on.
        lease_s: seconds until the leases end unless renewed.

    One statement; sent twice, the leases it took the first time run out unused.
    """
    values = {"for_scope": scope, "for_fingerprint": fingerprint, "for_owner": owner, "most": most, "lease_s": lease_s}
    return [Claim(*row) for row in conn.execute(_claim(known), values)]


# -- holding

HELD: Final = _LEASED.hold.cte("held")  # for statements that lock the queue and change something else, all in one


def hold(conn: Connection, held: Claim) -> None:
    """Lock the queue for the rest of the transaction and make sure ``held`` is still its lease.

    Raises:
        LeaseLost: another worker has it by now.
    """
    must_return(conn, _LEASED.hold, held.parameters())


_mine: Final = and_(
    write_queues.c.scope == bindparam("for_scope"),
    write_queues.c.owner == bindparam("for_owner"),
    write_queues.c.user_id.in_(bindparam("user_ids", expanding=True)),
)
_RENEW_SQLITE: Final = (
    update(write_queues).where(_mine).values(_LEASED.extended).returning(write_queues.c.user_id, write_queues.c.token)
)


def _in_lock_order(queues: ColumnElement[bool]) -> Select[tuple[str]]:
    """Whoever locks several queues goes by the bytes of the user ids, so that no two wait for each other."""
    return select(write_queues.c.user_id).where(queues).order_by(collate(write_queues.c.user_id, "C"))


# SKIP LOCKED: a queue that is being committed right now must not keep the others' leases from being renewed.
_unlocked: Final = _in_lock_order(_mine).with_for_update(skip_locked=True).cte("unlocked")
_RENEW_POSTGRESQL: Final = _RENEW_SQLITE.where(write_queues.c.user_id == _unlocked.c.user_id)


def renew(conn: Connection, claims: Sequence[Claim], lease_s: float) -> list[Claim]:
    """Extend the leases of one worker, in one statement; those that were extended are returned.

    A lease that is missing was lost, or its queue is locked at this moment and will be there next time.
    """
    if not claims:
        return []
    statement = _RENEW_POSTGRESQL if conn.dialect.name == "postgresql" else _RENEW_SQLITE
    values = {"for_scope": claims[0].scope, "for_owner": claims[0].owner, "lease_s": lease_s}
    rows = conn.execute(statement, {**values, "user_ids": [held.user_id for held in claims]})
    extended = {(user_id, token) for user_id, token in rows}
    return [held for held in claims if (held.user_id, held.token) in extended]


# -- letting go

NEXT_ATTEMPT: Final = (  # null when nothing is pending
    select(writes.c.next_attempt_at).where(PENDING_THERE).order_by(writes.c.seq).limit(1).scalar_subquery()
)
_RELEASE: Final = (
    update(write_queues)
    .where(_LEASED.is_held)
    .values(due_at=NEXT_ATTEMPT, waiting_since=epoch_now(), **_LEASED.given_back)
    .returning(is_due(write_queues.c.due_at))
)


def hold_and_release(conn: Connection, held: Claim) -> bool:
    """Lock the queue, then give it back; as :func:`release`.

    Raises:
        LeaseLost: another worker has it by now.
    """
    hold(conn, held)
    return release(conn, held)


def release(conn: Connection, held: Claim) -> bool:
    """Give the queue back; it becomes due again when its head is. Whether it is so already.

    The queue must be locked already, by an earlier statement of this transaction: only then does this one see a write
    that was being accepted meanwhile.

    Raises:
        LeaseLost: another worker has it by now.
    """
    return bool(must_return(conn, _RELEASE, held.parameters())[0])


_FORGET: Final = (
    delete(write_queues)
    .where(write_queues.c.scope == bindparam("held_scope"), write_queues.c.user_id == bindparam("held_user_id"))
    .where(write_queues.c.owner.is_(None), ~select(writes.c.seq).where(_TO_CARRY_OUT).exists())
)


def forget(conn: Connection, held: Claim) -> None:
    """Delete the row of a queue that was released in this very transaction, unless writes of the user are pending, or
    have failed and may be taken up again. The row of the user's next write begins at another token (see
    ``leases.first_token``).
    """
    conn.execute(_FORGET, held.parameters())


def purge(conn: Connection, *, idle_for_s: float, most: int) -> int:
    """Delete up to ``most`` rows of queues that have long had nothing to do, of users no write is kept of; how many."""
    queue = write_queues.c
    kept = select(writes.c.seq).where(writes.c.scope == queue.scope, writes.c.user_id == queue.user_id)
    idle = (
        select(queue.scope, queue.user_id)
        .where(queue.due_at.is_(None), queue.owner.is_(None), queue.waiting_since < epoch_now() - idle_for_s)
        .where(~kept.exists())
        .limit(most)
        .with_for_update(of=write_queues, skip_locked=True)
        .cte("idle")
    )
    unused = delete(write_queues).where(tuple_(queue.scope, queue.user_id).in_(select(idle.c.scope, idle.c.user_id)))
    gone = unused.where(queue.due_at.is_(None), queue.owner.is_(None)).returning(queue.user_id)
    return len(conn.execute(gone).all())  # SQLite has no row count for a statement that begins WITH


def is_in_work(conn: Connection, scope: str, write_id: str) -> bool:
    """Whether the write is at the head of a queue that somebody has leased."""
    earlier = writes.alias()
    before = (
        select(earlier.c.seq)
        .where(earlier.c.scope == writes.c.scope, earlier.c.user_id == writes.c.user_id)
        .where(earlier.c.status == PENDING, earlier.c.seq < writes.c.seq)
    )
    queue = and_(write_queues.c.scope == writes.c.scope, write_queues.c.user_id == writes.c.user_id)
    leased = select(write_queues.c.token).where(queue, ~_LEASED.free)
    this = and_(writes.c.scope == scope, writes.c.id == write_id, writes.c.status == PENDING)
    return conn.execute(select(writes.c.seq).where(this, leased.exists(), ~before.exists())).first() is not None


def lock(conn: Connection, queues: ColumnElement[bool]) -> None:
    """Lock several queues, in the order everybody keeps. SQLite has one writer at a time."""
    if conn.dialect.name == "postgresql":
        conn.execute(_in_lock_order(queues).with_for_update())


def lock_free(conn: Connection, queues: ColumnElement[bool], most: int) -> list[str]:
    """Lock those of the queues that nobody has locked, up to ``most``; the users they are of. It waits for none: who
    waits with other queues locked keeps the renewal of their leases from them.
    """
    free = select(write_queues.c.user_id).where(queues)
    if conn.dialect.name == "postgresql":
        free = _in_lock_order(queues).with_for_update(skip_locked=True)
    return [user_id for (user_id,) in conn.execute(free.limit(most))]


def make_due(conn: Connection, queues: ColumnElement[bool]) -> None:
    """Let the queues be worked on as soon as somebody has room."""
    conn.execute(update(write_queues).where(queues).values(due_at=DUE_NOW))
