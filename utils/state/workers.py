"""Who works on the writes of a store: a row for each worker and each set of credentials it serves.

A write is carried out under the credentials it was accepted under, for as long as any process serves these. Only when
nobody has been seen to for a while (``queues.UNSEEN_AFTER_S``) may others take over: a tenant's texts go to no other
tenant's model while the first is alive. Times are the database's.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sqlalchemy import Connection, bindparam, delete
from sqlalchemy.dialects import postgresql, sqlite

from utils.state.tables import epoch_now, workers


def _seen(dialect_insert: Any) -> Any:
    row = dialect_insert(workers).values(
        id=bindparam("id"), fingerprint=bindparam("fingerprint"), scope=bindparam("scope"), seen_at=epoch_now()
    )
    return row.on_conflict_do_update(
        index_elements=[workers.c.id, workers.c.fingerprint], set_={"seen_at": row.excluded.seen_at}
    )


_SEEN_POSTGRESQL = _seen(postgresql.insert)
_SEEN_SQLITE = _seen(sqlite.insert)


def seen(conn: Connection, worker_id: str, scope: str, fingerprints: Collection[str]) -> None:
    """Say that the worker serves these credentials now."""
    rows = [{"id": worker_id, "scope": scope, "fingerprint": fingerprint} for fingerprint in sorted(fingerprints)]
    if rows:
        conn.execute(_SEEN_POSTGRESQL if conn.dialect.name == "postgresql" else _SEEN_SQLITE, rows)


def purge(conn: Connection, older_than_s: float) -> None:
    """Forget workers that nobody has seen for ``older_than_s``."""
    conn.execute(delete(workers).where(workers.c.seen_at < epoch_now() - older_than_s))
