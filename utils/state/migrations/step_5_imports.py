"""Version 5: what earlier plugins kept among the memories is taken over once. The step only adds."""

from __future__ import annotations

from sqlalchemy import Connection, text

_TABLE = "CREATE TABLE {schema}imports (scope varchar(64) NOT NULL PRIMARY KEY, done_at double precision NOT NULL)"


def upgrade(conn: Connection) -> None:
    """Turn a store of version 4 into one of version 5."""
    schema = "mem0_dify." if conn.dialect.name == "postgresql" else ""
    conn.execute(text(_TABLE.replace("{schema}", schema)))
