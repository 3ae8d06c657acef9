"""A role that may hold few connections, as managed databases give it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import psycopg
from psycopg import sql

from playground.postgres import Database


@contextmanager
def limited_role(database: Database, connections: int) -> Iterator[Database]:
    """The database as a role sees it that may hold so many connections."""
    role = f"few_{database.dbname}"
    names = {"role": sql.Identifier(role), "database": sql.Identifier(database.dbname), "limit": connections}
    with psycopg.connect(database.uri, autocommit=True) as conn:
        conn.execute("CREATE EXTENSION IF NOT EXISTS vector")
        conn.execute(sql.SQL("CREATE ROLE {role} LOGIN PASSWORD 'few' CONNECTION LIMIT {limit}").format(**names))
        conn.execute(sql.SQL("GRANT ALL ON DATABASE {database} TO {role}").format(**names))
        conn.execute(sql.SQL("GRANT ALL ON SCHEMA public TO {role}").format(**names))
        try:
            yield replace(database, user=role, password="few")
        finally:
            conn.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", [role])
            conn.execute(sql.SQL("DROP OWNED BY {role} CASCADE; DROP ROLE {role}").format(**names))
