"""Version 2: workers that can be seen, scopes that outlive an address, due times that no clock can move, and why a
memory was deleted.

On PostgreSQL the step only adds and widens, so that a process of version 1 that is still running goes on until it is
replaced. What it names is written out here: today's tables may be others tomorrow.
"""

from __future__ import annotations

from sqlalchemy import Connection, text

_BOTH = (
    "ALTER TABLE {schema}write_queues ADD COLUMN waiting_since double precision NOT NULL DEFAULT 0",
    "UPDATE {schema}write_queues SET waiting_since = due_at WHERE due_at IS NOT NULL",
    "ALTER TABLE {schema}writes ADD COLUMN version integer NOT NULL DEFAULT 1",
    "ALTER TABLE {schema}writes ADD COLUMN waited_for boolean NOT NULL DEFAULT false",
    "ALTER TABLE {schema}history ADD COLUMN reason varchar(16)",
    "CREATE TABLE {schema}workers (id varchar(64) NOT NULL, fingerprint varchar(64) NOT NULL,"
    " scope varchar(64) NOT NULL, seen_at double precision NOT NULL, PRIMARY KEY (id, fingerprint))",
    "CREATE TABLE {schema}scopes (address varchar(64) NOT NULL PRIMARY KEY, scope varchar(64) NOT NULL)",
    "CREATE INDEX workers_of_fingerprint ON {schema}workers (scope, fingerprint, seen_at)",
)
_POSTGRESQL = (
    "ALTER TABLE mem0_dify.write_queues ALTER COLUMN fingerprint DROP NOT NULL, ALTER COLUMN user_id TYPE text",
    "ALTER TABLE mem0_dify.writes ALTER COLUMN status TYPE varchar(16), ALTER COLUMN user_id TYPE text",
    "ALTER TABLE mem0_dify.history ALTER COLUMN user_id TYPE text, ALTER COLUMN agent_id TYPE text,"
    " ALTER COLUMN memory_id TYPE text, ALTER COLUMN created_at TYPE text, ALTER COLUMN updated_at TYPE text",
)
_SQLITE = ("ALTER TABLE write_queues DROP COLUMN fingerprint",)


def upgrade(conn: Connection) -> None:
    """Turn a store of version 1 into one of version 2."""
    postgresql = conn.dialect.name == "postgresql"
    for statement in (*_BOTH, *(_POSTGRESQL if postgresql else _SQLITE)):
        conn.execute(text(statement.replace("{schema}", "mem0_dify." if postgresql else "")))
