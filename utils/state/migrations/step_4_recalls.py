"""Version 4: how often and how well each memory was found again. The step only adds."""

from __future__ import annotations

from sqlalchemy import Connection, text

_TABLE = (
    "CREATE TABLE {schema}recalls (scope varchar(64) NOT NULL, user_id {id} NOT NULL, memory_id {id} NOT NULL,"
    " agent_id text, quality_ema double precision NOT NULL, recall_count integer NOT NULL,"
    " last_recalled_at double precision NOT NULL, PRIMARY KEY (scope, user_id, memory_id))"
)


def upgrade(conn: Connection) -> None:
    """Turn a store of version 3 into one of version 4."""
    if conn.dialect.name == "postgresql":
        statement = _TABLE.replace("{schema}", "mem0_dify.").replace("{id}", 'text COLLATE "C"')
    else:
        statement = _TABLE.replace("{schema}", "").replace("{id}", "text")
    conn.execute(text(statement))
