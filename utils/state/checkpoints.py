"""Checkpoints: how far the conversations of a user with an app have been read.

One row for the (user, app) and one for each conversation, so that recording a chunk writes two small rows however
many conversations there are. What the values mean is ``extraction.checkpoint``'s; here they are JSON. Checkpoints stay
when a user's memories are deleted: without them the next run would bring everything back. Every function takes an open
transaction; none commits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Table, and_, delete, func, select
from sqlalchemy.dialects import postgresql, sqlite

from utils.state.tables import checkpoint_conversations, checkpoints, epoch_now


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What is kept of one (user, app).

    Attributes:
        user_id: whose conversations.
        app_id: with which app.
        state: of the whole, as it was saved; None when there is none.
        conversations: of each conversation, by its id.
        updated_at: epoch seconds of the last change, by the database's clock.
    """

    user_id: str
    app_id: str
    state: Mapping[str, Any] | None
    conversations: Mapping[str, Mapping[str, Any]]
    updated_at: float


def _of(table: Table, scope: str, user_id: str, app_id: str | None) -> ColumnElement[bool]:
    here = and_(table.c.scope == scope, table.c.user_id == user_id)
    return here if app_id is None else and_(here, table.c.app_id == app_id)


def load(conn: Connection, scope: str, user_id: str, app_id: str) -> Checkpoint:
    """Everything kept of (user, app)."""
    whole = select(checkpoints.c.state, checkpoints.c.updated_at).where(_of(checkpoints, scope, user_id, app_id))
    row = conn.execute(whole).first()
    part = checkpoint_conversations
    each = select(part.c.conversation_id, part.c.state, part.c.updated_at).where(_of(part, scope, user_id, app_id))
    rows = conn.execute(each).all()
    times = [one.updated_at for one in rows] + ([row.updated_at] if row else [])
    states = {one.conversation_id: one.state for one in rows}
    return Checkpoint(user_id, app_id, row.state if row else None, states, max(times, default=0.0))


def lock(conn: Connection, scope: str, user_id: str, app_id: str) -> Mapping[str, Any]:
    """The state of the whole, which nobody else changes until the transaction ends; empty when there was none."""
    key = {"scope": scope, "user_id": user_id, "app_id": app_id}
    # What is not there cannot be locked: of two that begin at once, the second waits here for the first.
    conn.execute(_insert(conn)(checkpoints).values(**key, state={}, updated_at=epoch_now()).on_conflict_do_nothing())
    whole = select(checkpoints.c.state).where(_of(checkpoints, scope, user_id, app_id)).with_for_update()
    state: Mapping[str, Any] = conn.execute(whole).scalar_one()
    return state


def newest_app(conn: Connection, scope: str, user_id: str) -> str | None:
    """The app whose checkpoint of the user was changed last; None when there is none."""
    newest = select(checkpoints.c.app_id).where(_of(checkpoints, scope, user_id, None))
    app_id: str | None = conn.execute(newest.order_by(checkpoints.c.updated_at.desc()).limit(1)).scalar()
    return app_id


_KEY: Final = ("scope", "user_id", "app_id")


def save(conn: Connection, scope: str, user_id: str, app_id: str, state: Mapping[str, Any]) -> None:
    """Set the state of the whole."""
    _put(conn, checkpoints, {"scope": scope, "user_id": user_id, "app_id": app_id}, state)


def save_conversation(
    conn: Connection, scope: str, user_id: str, app_id: str, conversation_id: str, state: Mapping[str, Any]
) -> None:
    """Set the state of one conversation."""
    key = {"scope": scope, "user_id": user_id, "app_id": app_id, "conversation_id": conversation_id}
    _put(conn, checkpoint_conversations, key, state)


def _put(conn: Connection, table: Table, key: Mapping[str, str], state: Mapping[str, Any]) -> None:
    row = _insert(conn)(table).values(**key, state=state, updated_at=epoch_now())
    changed = {"state": row.excluded.state, "updated_at": row.excluded.updated_at}
    conn.execute(row.on_conflict_do_update(index_elements=[table.c[name] for name in key], set_=changed))


def _insert(conn: Connection) -> Any:
    return postgresql.insert if conn.dialect.name == "postgresql" else sqlite.insert


def purge(
    conn: Connection, scope: str, user_id: str, app_id: str | None, *, older_than_s: float, dry_run: bool = False
) -> int:
    """Delete the checkpoints of a user (and app) that have not changed for ``older_than_s``; how many. That of a whole
    (user, app) goes with its last conversation's. With ``dry_run`` they are counted and stay.
    """
    count = 0
    for table in (checkpoint_conversations, checkpoints):
        old = and_(_of(table, scope, user_id, app_id), table.c.updated_at < epoch_now() - older_than_s)
        if table is checkpoints:
            part = checkpoint_conversations.c
            same = and_(*(part[name] == checkpoints.c[name] for name in _KEY))
            young = part.updated_at >= epoch_now() - older_than_s
            old = and_(old, ~select(part.user_id).where(same, young).correlate(checkpoints).exists())
        gone = select(func.count()).select_from(table).where(old) if dry_run else delete(table).where(old)
        count += conn.execute(gone).scalar_one() if dry_run else conn.execute(gone).rowcount
    return count
