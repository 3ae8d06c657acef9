"""Leases: who alone may act on something, until when, and what stops everybody else.

A lease is kept in the row of what it is on: a user's queue, the history of a (user, app), a task. One conditional
statement takes it, and every taking raises the row's fencing token. It ends by itself when a dead holder no longer
renews it. Whatever a holder commits, it commits under a lock on that row after comparing owner and token, so a holder
that lost its lease cannot change anything any more.

:class:`LeasedTable` has the parts of those statements for any table; below it stand the leases on the history of a
(user, app), whose rows are there only while they are held. Every function takes an open transaction; none commits.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Final, Protocol

from sqlalchemy import (
    ColumnElement,
    Connection,
    Double,
    Executable,
    Row,
    Table,
    and_,
    bindparam,
    delete,
    func,
    or_,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from utils.errors import LeaseLost
from utils.state.tables import epoch_now, leases

# No attempt is postponed and no lease lasts longer. What lies further ahead was written before a clock was set back.
LONGEST_DELAY_S: Final = 3_600.0
_TOKEN_BITS: Final = 62  # a BIGINT, with room for as many leases as one likes


def is_due(moment: ColumnElement[float]) -> ColumnElement[bool]:
    """Whether ``moment``, of the database's clock, has come; one that lies too far ahead counts as come."""
    return or_(moment <= epoch_now(), moment > epoch_now() + LONGEST_DELAY_S)


def first_token() -> int:
    """Where the fencing tokens of a new row begin. A row may have been there before, and a holder may still believe in
    a lease on that one: its token must not come again.
    """
    return secrets.randbits(_TOKEN_BITS)


class Held(Protocol):
    """A lease as the database knows it: a frozen dataclass of the row's key, owner and token."""

    __dataclass_fields__: ClassVar[dict[str, Any]]


def parameters(held: Held, **more: Any) -> dict[str, Any]:
    """Parameters of the statements that compare the lease ``held``: its fields, named ``held_...``."""
    return {**{f"held_{field.name}": getattr(held, field.name) for field in fields(held)}, **more}


class LeasedTable:
    """The parts of statements about leases that are kept in the rows of one table. Built once for each.

    Args:
        table: has the columns ``owner``, ``token`` and ``lease_expires_at`` beside its key.
        key: names of the columns that tell its rows apart, as the fields of the lease's dataclass.

    Attributes:
        is_held: whether a row's lease is the one given (:func:`parameters`).
        hold: locks that row for the rest of the transaction; it returns one as long as the lease is held.
        free: whether nobody holds a row's lease.
        taken: values of a row that is leased to ``for_owner`` for ``lease_s`` seconds.
        extended: values of a row whose lease is to last ``lease_s`` seconds from now.
        given_back: values of a row that nobody holds.
    """

    def __init__(self, table: Table, *key: str) -> None:
        row = table.c
        same_row = [row[name] == bindparam(f"held_{name}") for name in key]
        self.is_held = and_(*same_row, row.owner == bindparam("held_owner"), row.token == bindparam("held_token"))
        self.hold = select(row.token).where(self.is_held).with_for_update()
        self.free = or_(row.lease_expires_at.is_(None), is_due(row.lease_expires_at))
        self.extended: Mapping[str, Any] = {"lease_expires_at": epoch_now() + bindparam("lease_s", type_=Double())}
        self.taken: Mapping[str, Any] = {"owner": bindparam("for_owner"), "token": row.token + 1, **self.extended}
        self.given_back: Mapping[str, Any] = {"owner": None, "lease_expires_at": None}


def must_return(conn: Connection, statement: Executable, values: Mapping[str, Any]) -> Row[Any]:
    """Send a statement that returns a row as long as the lease in ``values`` is held; that row.

    Raises:
        LeaseLost: it returned none.
    """
    row = conn.execute(statement, values).first()
    if row is None:
        raise LeaseLost("error_lease_lost")
    return row


# -- leases on the history of a (user, app)


@dataclass(frozen=True, slots=True)
class HistoryLease:
    """A lease on the history of one user's conversations with one app."""

    scope: str
    user_id: str
    app_id: str
    owner: str
    token: int


_KEY: Final = ("scope", "user_id", "app_id")
_LEASED: Final = LeasedTable(leases, *_KEY)


def _take(dialect_insert: Any) -> Any:
    """Whose task was cut off takes its own lease again at once: the token shuts out what may still run of it."""
    fresh = dialect_insert(leases).values(
        **{name: bindparam(name) for name in _KEY},
        token=bindparam("first_token"),
        owner=bindparam("for_owner"),
        **_LEASED.extended,
    )
    mine = leases.c.owner == bindparam("for_owner")
    taken = fresh.on_conflict_do_update(
        index_elements=[leases.c[name] for name in _KEY], set_=_LEASED.taken, where=or_(_LEASED.free, mine)
    )
    return taken.returning(*(leases.c[name] for name in _KEY), leases.c.owner, leases.c.token)


_TAKE_POSTGRESQL: Final = _take(postgresql.insert)
_TAKE_SQLITE: Final = _take(sqlite.insert)
_RENEW: Final = update(leases).where(_LEASED.is_held).values(_LEASED.extended).returning(leases.c.token)
_RELEASE: Final = delete(leases).where(_LEASED.is_held)


def take(
    conn: Connection, scope: str, user_id: str, app_id: str, *, owner: str, lease_s: float
) -> HistoryLease | str | None:
    """Lease the history of (user, app), if nobody but ``owner`` itself holds it; else who holds it. None: it was given
    back between the two questions, and may be asked for again.

    Args:
        conn: an open transaction.
        scope: the vector store.
        user_id: whose conversations.
        app_id: with which app.
        owner: the task that will read them.
        lease_s: seconds until the lease ends unless renewed.
    """
    key = {"scope": scope, "user_id": user_id, "app_id": app_id}
    statement = _TAKE_POSTGRESQL if conn.dialect.name == "postgresql" else _TAKE_SQLITE
    values = {**key, "for_owner": owner, "lease_s": lease_s, "first_token": first_token()}
    row = conn.execute(statement, values).first()
    if row is not None:
        return HistoryLease(*row)
    this = and_(*(leases.c[name] == value for name, value in key.items()))
    holder: str | None = conn.execute(select(leases.c.owner).where(this)).scalar()
    return holder


def renew(conn: Connection, held: Sequence[HistoryLease], lease_s: float) -> list[HistoryLease]:
    """Extend leases; those that were extended are returned, the others are lost."""
    return [one for one in held if conn.execute(_RENEW, parameters(one, lease_s=lease_s)).first() is not None]


def hold(conn: Connection, held: HistoryLease) -> None:
    """Lock the lease's row for the rest of the transaction and make sure ``held`` is still its lease.

    Raises:
        LeaseLost: another task has it by now.
    """
    must_return(conn, _LEASED.hold, parameters(held))


def release(conn: Connection, held: HistoryLease) -> None:
    """Give the lease back; nothing happens when it has been lost."""
    conn.execute(_RELEASE, parameters(held))


def purge_expired(conn: Connection, scope: str, user_id: str | None = None, app_id: str | None = None) -> int:
    """Delete the rows of leases that ended without being given back, of one user (and app) or of all; how many."""
    return conn.execute(delete(leases).where(_expired(scope, user_id, app_id))).rowcount


def count_expired(conn: Connection, scope: str, user_id: str | None = None, app_id: str | None = None) -> int:
    """How many rows :func:`purge_expired` would delete."""
    return conn.execute(select(func.count()).where(_expired(scope, user_id, app_id))).scalar_one()


def _expired(scope: str, user_id: str | None, app_id: str | None) -> ColumnElement[bool]:
    given = {"user_id": user_id, "app_id": app_id}
    theirs = [leases.c[name] == value for name, value in given.items() if value is not None]
    return and_(leases.c.scope == scope, _LEASED.free, *theirs)
