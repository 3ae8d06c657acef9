"""For which stores of memories it is done: taking over what earlier plugins kept among the memories (``legacy``). Every
function takes an open transaction; none commits.
"""

from __future__ import annotations

from sqlalchemy import Connection, literal, select
from sqlalchemy.dialects import postgresql, sqlite

from utils.state.tables import epoch_now, imports


def is_done(conn: Connection, scope: str) -> bool:
    """Whether everything of this store is taken over."""
    return conn.execute(select(literal(1)).where(imports.c.scope == scope)).first() is not None


def set_done(conn: Connection, scope: str) -> None:
    """Everything of this store is taken over."""
    insert = postgresql.insert if conn.dialect.name == "postgresql" else sqlite.insert
    conn.execute(insert(imports).values(scope=scope, done_at=epoch_now()).on_conflict_do_nothing())
