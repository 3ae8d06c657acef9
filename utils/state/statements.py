"""The statements every accepted write needs, built once; ``writes`` sends them and says what they are for.

Building one anew for each call costs several times what the database takes to carry it out: SQLAlchemy makes some
hundred objects and compares them with those it has compiled. Values come as parameters; a lease's are named
``held_...``. A statement that ends in ``RETURNING`` tells by an empty answer that its condition did not hold.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import ColumnElement, Double, Integer, and_, bindparam, case, func, literal, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite

from utils.state.tables import DONE, PENDING, epoch_now, write_queues, writes

_of_given_user: Final = and_(
    write_queues.c.scope == bindparam("scope"),
    write_queues.c.user_id == bindparam("user_id"),
)
_is_held: Final = and_(
    write_queues.c.scope == bindparam("held_scope"),
    write_queues.c.user_id == bindparam("held_user_id"),
    write_queues.c.owner == bindparam("held_owner"),
    write_queues.c.token == bindparam("held_token"),
)
_is_pending_there: Final = and_(
    writes.c.scope == bindparam("held_scope"),
    writes.c.user_id == bindparam("held_user_id"),
    writes.c.status == PENDING,
)


# -- accepting

# Writes of this process that could be carried out now; those that wait for a next attempt occupy nobody.
_room: Final = (
    select(func.count())
    .where(writes.c.accepted_by == bindparam("accepted_by"), writes.c.status == PENDING)
    .where(writes.c.next_attempt_at <= epoch_now())
    .scalar_subquery()
) < bindparam("most_pending", type_=Integer())


def _wake(dialect_insert: Any) -> Any:
    """Make the queue due now, unless it is due at another time already; make it, if this is the user's first write."""
    fresh = dialect_insert(write_queues).values(
        scope=bindparam("scope"),
        user_id=bindparam("user_id"),
        fingerprint=bindparam("fingerprint"),
        due_at=epoch_now(),
    )
    return fresh.on_conflict_do_update(
        index_elements=[write_queues.c.scope, write_queues.c.user_id],
        set_={
            "fingerprint": fresh.excluded.fingerprint,
            "due_at": func.coalesce(write_queues.c.due_at, fresh.excluded.due_at),
        },
    )


def _record(dialect_insert: Any, due_at: ColumnElement[float]) -> Any:
    """Insert the write, if there is room; sent again it finds itself there already, which is as good.

    Behind a head that waits for its next attempt it waits as long.
    """
    given = ("id", "scope", "user_id", "kind", "payload", "fingerprint", "accepted_by")
    values: dict[str, ColumnElement[Any]] = {name: bindparam(name, type_=writes.c[name].type) for name in given}
    values["status"] = literal(PENDING)
    values["next_attempt_at"] = case((due_at > epoch_now(), due_at), else_=epoch_now())
    values["created_at"] = epoch_now()
    fresh = dialect_insert(writes).from_select(list(values), select(*values.values()).where(_room))
    once = fresh.on_conflict_do_update(index_elements=[writes.c.id], set_={"id": fresh.excluded.id})
    return once.returning(writes.c.seq)


# On PostgreSQL one round trip: `woken` has its row when the queue is locked, and only then the write gets its number.
_woken: Final = _wake(postgresql.insert).returning(write_queues.c.due_at).cte("woken")
ACCEPT_POSTGRESQL: Final = _record(postgresql.insert, _woken.c.due_at)
WAKE_SQLITE: Final = _wake(sqlite.insert)
RECORD_SQLITE: Final = _record(sqlite.insert, select(write_queues.c.due_at).where(_of_given_user).scalar_subquery())


# -- leases


def _due_queues() -> Any:
    queue = write_queues.c
    free = or_(queue.lease_expires_at.is_(None), queue.lease_expires_at <= epoch_now())
    orphaned = queue.due_at <= epoch_now() - bindparam("orphaned_s", type_=Double())
    return (
        select(queue.scope, queue.user_id)
        .where(queue.scope == bindparam("for_scope"), queue.due_at <= epoch_now(), free)
        .where(or_(queue.fingerprint == bindparam("for_fingerprint"), orphaned))
        .order_by(queue.due_at)
        .limit(bindparam("most", type_=Integer()))
        .with_for_update(skip_locked=True)  # SQLite has one writer at a time and compiles it away
        .cte("due")
    )


_due: Final = _due_queues()
CLAIM: Final = (
    update(write_queues)
    .where(write_queues.c.scope == _due.c.scope, write_queues.c.user_id == _due.c.user_id)
    .values(
        owner=bindparam("for_owner"),
        token=write_queues.c.token + 1,
        lease_expires_at=epoch_now() + bindparam("lease_s", type_=Double()),
    )
    .returning(write_queues.c.scope, write_queues.c.user_id, write_queues.c.owner, write_queues.c.token)
)
RENEW: Final = (
    update(write_queues)
    .where(_is_held)
    .values(lease_expires_at=epoch_now() + bindparam("lease_s", type_=Double()))
    .returning(write_queues.c.token)
)
HOLD: Final = select(write_queues.c.token).where(_is_held).with_for_update()
_oldest: Final = select(writes.c.next_attempt_at).where(_is_pending_there).order_by(writes.c.seq).limit(1)
RELEASE: Final = (
    update(write_queues)
    .where(_is_held)
    .values(owner=None, lease_expires_at=None, due_at=_oldest.scalar_subquery())
    .returning(write_queues.c.token)
)


# -- what a lease's holder does

HEAD: Final = (
    select(
        writes.c.id,
        writes.c.user_id,
        writes.c.kind,
        writes.c.payload,
        writes.c.plan,
        writes.c.attempts,
        (writes.c.next_attempt_at - epoch_now()).label("wait_s"),
    )
    .where(_is_pending_there)
    .order_by(writes.c.seq)
    .limit(1)
)
_held: Final = HOLD.cte("held")
_held_write: Final = and_(writes.c.id == bindparam("write_id"), select(_held.c.token).exists())
RECORD_PLAN: Final = (
    update(writes)
    .where(_held_write)
    .values(plan=bindparam("the_plan", type_=writes.c.plan.type))
    .returning(writes.c.id)
)
FINISH: Final = (
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
