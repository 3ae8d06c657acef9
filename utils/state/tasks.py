"""Tasks: work on many users that outlasts the call that asked for it. Extractions are tasks.

A task belongs to the process that leases its row. A process that dies leaves it behind: whoever is called next with
the same credentials adopts it (:func:`adopt`), as long as its time budget lasts; after that it reads as failed
(:func:`state_of`), and :func:`fail_abandoned` makes it so. What a task does commits under its lease (:func:`hold`).

What it has come to stands in ``task_users``, one row for each user; the counts are added up where what they count is
committed. Every function takes an open transaction; none commits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    and_,
    case,
    delete,
    func,
    insert,
    or_,
    select,
    update,
)

from utils.errors import PluginError
from utils.state.leases import LeasedTable, first_token, must_return, parameters
from utils.state.tables import COMPLETED, FAILED, QUEUED, RUNNING, SKIPPED, epoch_now, task_users, tasks

EXTRACT: Final = "extract"
MOST_UNFINISHED: Final = 10  # SPEC 5: of one vector store; a further one is refused
_BATCH: Final = 500  # rows of one INSERT


@dataclass(frozen=True, slots=True)
class NewTask:
    """A task about to begin.

    Attributes:
        id: what the caller asks for it by.
        scope: the vector store.
        kind: names the handler that carries it out, such as ``EXTRACT``.
        fingerprint: of the credentials it is done with.
        run_id: for the log, and in the report.
        request: what to do, as JSON without secrets and without the users' ids.
        secret: encrypted; None when there is none.
        budget_s: seconds from now after which nothing new is begun, and nobody adopts it any more.
        user_ids: whom it is about, in order.
    """

    id: str
    scope: str
    kind: str
    fingerprint: str
    run_id: str
    request: Mapping[str, Any]
    secret: str | None
    budget_s: float
    user_ids: Sequence[str]


@dataclass(frozen=True, slots=True)
class TaskLease:
    """The lease on a task."""

    id: str
    owner: str
    token: int


@dataclass(frozen=True, slots=True)
class Task:
    """A task as its holder sees it. ``budget_left_s``: seconds until its budget ends, by the database's clock."""

    id: str
    kind: str
    run_id: str
    request: Mapping[str, Any]
    secret: str | None
    budget_left_s: float


@dataclass(frozen=True, slots=True)
class Counts:
    """What was done for a user, or for all of a task's users."""

    scanned_conversations: int = 0
    scanned_messages: int = 0
    processed_conversations: int = 0
    processed_messages: int = 0
    deferred_messages: int = 0
    semantic: int = 0
    episodic: int = 0
    procedural: int = 0
    llm_calls: int = 0


@dataclass(frozen=True, slots=True)
class UserPart:
    """A task's part for one user.

    Attributes:
        place: where the user stands among the task's users.
        user_id: empty when the user has been erased since.
        status: ``QUEUED``, ``RUNNING``, ``COMPLETED``, ``FAILED`` or ``SKIPPED``.
        reason: why it was skipped.
        lock_holder: the task that had the user's history, if that is why.
        notes: what the task says about it, as JSON: errors and warnings.
        counts: what was done.
    """

    place: int
    user_id: str
    status: str
    reason: str | None
    lock_holder: str | None
    notes: Mapping[str, Any] | None
    counts: Counts


@dataclass(frozen=True, slots=True)
class TaskState:
    """What is known of a task from outside; times are epoch seconds of the database's clock.

    Attributes:
        error: why it failed (``PluginError.to_json``).
        abandoned: whoever had it is gone and its time is over; ``status`` is FAILED then.
        users: how many users it is about; ``users_by_status`` says how they stand.
    """

    id: str
    kind: str
    run_id: str
    status: str
    request: Mapping[str, Any]
    result: Mapping[str, Any] | None
    error: str | None
    abandoned: bool
    created_at: float
    started_at: float | None
    updated_at: float
    finished_at: float | None
    ends_at: float
    now: float
    users: int
    users_by_status: Mapping[str, int]
    counts: Counts


_LEASED: Final = LeasedTable(tasks, "id")
_UNFINISHED: Final = tasks.c.status.in_((QUEUED, RUNNING))
_ABANDONED: Final = and_(_UNFINISHED, _LEASED.free, tasks.c.ends_at < epoch_now())
_COUNTED: Final = tuple(task_users.c[field.name] for field in fields(Counts))

# -- the holder's side


def create(conn: Connection, task: NewTask, *, owner: str, lease_s: float) -> TaskLease | None:
    """Record a task and lease it to ``owner``; None when :data:`MOST_UNFINISHED` others are not done yet."""
    unfinished = select(func.count()).where(tasks.c.scope == task.scope, _UNFINISHED, ~_ABANDONED)
    if conn.execute(unfinished).scalar_one() >= MOST_UNFINISHED:
        return None
    lease = TaskLease(task.id, owner, first_token())
    given = ("id", "scope", "kind", "fingerprint", "run_id", "request", "secret")
    row = {name: getattr(task, name) for name in given}
    times = {"created_at": epoch_now(), "updated_at": epoch_now(), "ends_at": epoch_now() + task.budget_s}
    leased = {"owner": owner, "token": lease.token, "lease_expires_at": epoch_now() + lease_s}
    conn.execute(insert(tasks).values(**row, **times, **leased, status=QUEUED))
    for begin in range(0, len(task.user_ids), _BATCH):
        rows = [
            {"task_id": task.id, "place": begin + index, "user_id": user_id, "status": QUEUED}
            for index, user_id in enumerate(task.user_ids[begin : begin + _BATCH])
        ]
        conn.execute(insert(task_users), rows)
    return lease


def adopt(
    conn: Connection, scope: str, fingerprint: str, kinds: Sequence[str], *, owner: str, lease_s: float
) -> TaskLease | None:
    """Lease one task that its holder has left behind and whose budget lasts; None when there is none."""
    orphan = (
        select(tasks.c.id)
        .where(tasks.c.scope == scope, tasks.c.fingerprint == fingerprint, tasks.c.kind.in_(kinds))
        .where(_UNFINISHED, _LEASED.free, tasks.c.ends_at >= epoch_now())
        .order_by(tasks.c.created_at)
        .limit(1)
        .with_for_update(skip_locked=True)
        .scalar_subquery()
    )
    taken = update(tasks).where(tasks.c.id == orphan).values(**_LEASED.taken, updated_at=epoch_now())
    row = conn.execute(
        taken.returning(tasks.c.id, tasks.c.owner, tasks.c.token), {"for_owner": owner, "lease_s": lease_s}
    ).first()
    return None if row is None else TaskLease(*row)


_RENEW: Final = (
    update(tasks).where(_LEASED.is_held).values(**_LEASED.extended, updated_at=epoch_now()).returning(tasks.c.token)
)


def renew(conn: Connection, held: TaskLease, lease_s: float) -> None:
    """Extend the lease, and say that the task is alive.

    Raises:
        LeaseLost: another process has it by now.
    """
    must_return(conn, _RENEW, parameters(held, lease_s=lease_s))


def hold(conn: Connection, held: TaskLease) -> None:
    """Lock the task's row for the rest of the transaction and make sure ``held`` is still its lease.

    Raises:
        LeaseLost: another process has it by now.
    """
    must_return(conn, _LEASED.hold, parameters(held))


def start(conn: Connection, held: TaskLease) -> Task:
    """Say that work on the task begins, or goes on in another process; what there is to do.

    Raises:
        LeaseLost: another process has it by now.
    """
    hold(conn, held)
    this = tasks.c.id == held.id
    started = {"status": RUNNING, "started_at": func.coalesce(tasks.c.started_at, epoch_now())}
    conn.execute(update(tasks).where(this).values(**started, updated_at=epoch_now()))
    left_s = tasks.c.ends_at - epoch_now()
    wanted = select(tasks.c.id, tasks.c.kind, tasks.c.run_id, tasks.c.request, tasks.c.secret, left_s).where(this)
    return Task(*conn.execute(wanted).one())


def waiting_users(conn: Connection, task_id: str) -> list[tuple[int, str]]:
    """Place and id of the users whose part is not done: not begun, or cut off."""
    wanted = select(task_users.c.place, task_users.c.user_id).where(task_users.c.task_id == task_id)
    wanted = wanted.where(task_users.c.status.in_((QUEUED, RUNNING)), task_users.c.user_id != "")
    return [(place, user_id) for place, user_id in conn.execute(wanted.order_by(task_users.c.place))]


def set_user(conn: Connection, held: TaskLease, place: int, status: str, **values: Any) -> None:
    """Say how a user's part stands (``status``), with ``reason``, ``lock_holder`` and ``notes`` of :class:`UserPart`.

    Raises:
        LeaseLost: another process has the task by now.
    """
    hold(conn, held)
    this = and_(task_users.c.task_id == held.id, task_users.c.place == place)
    conn.execute(update(task_users).where(this).values(status=status, **values))
    conn.execute(update(tasks).where(tasks.c.id == held.id).values(updated_at=epoch_now()))


def skip_waiting(conn: Connection, held: TaskLease, reason: str) -> None:
    """Give up the parts that have not begun.

    Raises:
        LeaseLost: another process has the task by now.
    """
    hold(conn, held)
    waiting = and_(task_users.c.task_id == held.id, task_users.c.status == QUEUED)
    conn.execute(update(task_users).where(waiting).values(status=SKIPPED, reason=reason))


def count(conn: Connection, task_id: str, user_id: str, more: Counts) -> None:
    """Add to the counts of a user's part. The task may have ended meanwhile, or be gone: then nothing happens."""
    added = {field.name: getattr(more, field.name) for field in fields(more) if getattr(more, field.name)}
    if added:
        this = and_(task_users.c.task_id == task_id, task_users.c.user_id == user_id)
        higher = {name: task_users.c[name] + value for name, value in added.items()}
        conn.execute(update(task_users).where(this).values(higher))


def finish(
    conn: Connection,
    held: TaskLease,
    *,
    result: Mapping[str, Any] | None = None,
    error: PluginError | None = None,
) -> None:
    """End the task, failed if there is an ``error``; its secret is erased and its lease given back.

    Raises:
        LeaseLost: another process has the task by now.
    """
    hold(conn, held)
    ended: dict[str, Any] = {"status": FAILED, "error": error.to_json()} if error else {"status": COMPLETED}
    if result is not None:
        ended["result"] = result
    _end(conn, tasks.c.id == held.id, ended)


def release(conn: Connection, held: TaskLease) -> None:
    """Give the lease back with the task unfinished, so that another process adopts it at once; nothing happens when it
    has been lost.
    """
    conn.execute(update(tasks).where(_LEASED.is_held).values(_LEASED.given_back), parameters(held))


def fail_abandoned(conn: Connection, scope: str, error: PluginError) -> int:
    """End the tasks of ``scope`` that nobody has and whose time is over, as failed; how many."""
    return _end(conn, and_(tasks.c.scope == scope, _ABANDONED), {"status": FAILED, "error": error.to_json()})


def _end(conn: Connection, which: ColumnElement[bool], ended: Mapping[str, Any]) -> int:
    values = {**ended, **_LEASED.given_back, "secret": None, "updated_at": epoch_now(), "finished_at": epoch_now()}
    return conn.execute(update(tasks).where(which).values(values)).rowcount


# -- looking


def state_of(conn: Connection, scope: str, task_id: str) -> TaskState | None:
    """What is known of a task; None when there is none of that id (or it is old enough to be gone)."""
    abandoned = case((_ABANDONED, True), else_=False).label("abandoned")
    named = [field.name for field in fields(TaskState) if field.name in tasks.c]
    wanted = select(*(tasks.c[name] for name in named), abandoned, epoch_now().label("now"))
    row = conn.execute(wanted.where(tasks.c.scope == scope, tasks.c.id == task_id)).first()
    if row is None:
        return None
    there = {**row._mapping, "status": FAILED if row.abandoned else row.status, "abandoned": bool(row.abandoned)}
    totals = [func.coalesce(func.sum(column), 0) for column in _COUNTED]
    by_status = select(task_users.c.status, func.count(), *totals).where(task_users.c.task_id == task_id)
    rows = conn.execute(by_status.group_by(task_users.c.status)).all()
    sums = [sum(int(each[place]) for each in rows) for place in range(2, 2 + len(_COUNTED))]
    users = {status: int(number) for status, number, *_ in rows}
    return TaskState(**there, users=sum(users.values()), users_by_status=users, counts=Counts(*sums))


_WORST_FIRST: Final = case((task_users.c.status == FAILED, 0), (task_users.c.status == SKIPPED, 1), else_=2)


def users_of(conn: Connection, task_id: str, most: int) -> list[UserPart]:
    """The parts of up to ``most`` users: failed ones first, then skipped ones, then in the order they were given."""
    names = [field.name for field in fields(UserPart) if field.name in task_users.c]
    wanted = select(*(task_users.c[name] for name in names), *_COUNTED).where(task_users.c.task_id == task_id)
    rows = conn.execute(wanted.order_by(_WORST_FIRST, task_users.c.place).limit(most))
    return [UserPart(**dict(zip(names, row, strict=False)), counts=Counts(*row[len(names) :])) for row in rows]


def has_unfinished(conn: Connection, scope: str, fingerprint: str) -> bool:
    """Whether a task of these credentials is to be gone on with."""
    mine = and_(tasks.c.scope == scope, tasks.c.fingerprint == fingerprint, _UNFINISHED, ~_ABANDONED)
    return conn.execute(select(tasks.c.id).where(mine).limit(1)).first() is not None


def forget_user(conn: Connection, scope: str, user_id: str) -> None:
    """Take the user's id and what was noted about the user out of all tasks; counts stay."""
    here = select(tasks.c.id).where(tasks.c.scope == scope)
    theirs = and_(task_users.c.user_id == user_id, task_users.c.task_id.in_(here))
    conn.execute(update(task_users).where(theirs).values(user_id="", notes=None))


def purge(conn: Connection, *, older_than_s: float, most: int) -> int:
    """Delete up to ``most`` tasks that ended, or were given up, more than ``older_than_s`` ago; how many."""
    ended_at = case((tasks.c.finished_at.is_(None), tasks.c.ends_at), else_=tasks.c.finished_at)
    old = or_(tasks.c.finished_at.is_not(None), _ABANDONED)
    wanted = select(tasks.c.id).where(old, ended_at < epoch_now() - older_than_s).limit(most)
    gone = [task_id for (task_id,) in conn.execute(wanted)]
    if gone:
        conn.execute(delete(task_users).where(task_users.c.task_id.in_(gone)))
        conn.execute(delete(tasks).where(tasks.c.id.in_(gone)))
    return len(gone)
