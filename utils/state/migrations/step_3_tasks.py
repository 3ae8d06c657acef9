"""Version 3: checkpoints, leases and tasks, for work on whole histories.

It only adds, so that a process of version 2 that is still running goes on. What it names is written out here: today's
tables may be others tomorrow.
"""

from __future__ import annotations

from sqlalchemy import Connection, text

_COUNTS = (
    "scanned_conversations",
    "scanned_messages",
    "processed_conversations",
    "processed_messages",
    "deferred_messages",
    "semantic",
    "episodic",
    "procedural",
    "llm_calls",
)
_STATEMENTS = (
    "CREATE TABLE {schema}leases (scope varchar(64) NOT NULL, user_id text NOT NULL, app_id text NOT NULL,"
    " owner varchar(64), token bigint NOT NULL, lease_expires_at double precision,"
    " PRIMARY KEY (scope, user_id, app_id))",
    "CREATE TABLE {schema}checkpoints (scope varchar(64) NOT NULL, user_id text NOT NULL, app_id text NOT NULL,"
    " state json NOT NULL, updated_at double precision NOT NULL, PRIMARY KEY (scope, user_id, app_id))",
    "CREATE TABLE {schema}checkpoint_conversations (scope varchar(64) NOT NULL, user_id text NOT NULL,"
    " app_id text NOT NULL, conversation_id text NOT NULL, state json NOT NULL, updated_at double precision NOT NULL,"
    " PRIMARY KEY (scope, user_id, app_id, conversation_id))",
    "CREATE TABLE {schema}tasks (id varchar(64) NOT NULL PRIMARY KEY, scope varchar(64) NOT NULL,"
    " kind varchar(16) NOT NULL, fingerprint varchar(64) NOT NULL, run_id text NOT NULL, status varchar(16) NOT NULL,"
    " request json NOT NULL, secret text, owner varchar(64), token bigint NOT NULL, lease_expires_at double precision,"
    " ends_at double precision NOT NULL, created_at double precision NOT NULL, started_at double precision,"
    " updated_at double precision NOT NULL, finished_at double precision, result json, error text)",
    "CREATE INDEX tasks_unfinished ON {schema}tasks (scope, status, fingerprint)",
    "CREATE INDEX tasks_finished ON {schema}tasks (finished_at)",
    "CREATE TABLE {schema}task_users (task_id varchar(64) NOT NULL, place integer NOT NULL, user_id text NOT NULL,"
    " status varchar(16) NOT NULL, reason varchar(32), lock_holder varchar(64), "
    + " ".join(f"{name} integer NOT NULL DEFAULT 0," for name in _COUNTS)
    + " notes json, PRIMARY KEY (task_id, place))",
    "CREATE INDEX task_users_of_user ON {schema}task_users (user_id)",
)


def upgrade(conn: Connection) -> None:
    """Turn a store of version 2 into one of version 3."""
    schema = "mem0_dify." if conn.dialect.name == "postgresql" else ""
    for statement in _STATEMENTS:
        conn.execute(text(statement.replace("{schema}", schema)))
