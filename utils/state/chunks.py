"""Chunks of conversations among the accepted writes: those an extraction must see to before it reads on."""

from __future__ import annotations

from sqlalchemy import Connection, and_, select, update

from utils.state import queues
from utils.state.tables import DUE_NOW, FAILED, PENDING, write_queues, writes


def take_up(
    conn: Connection, scope: str, user_id: str, app_id: str, *, kind: str, fingerprint: str, task_id: str
) -> list[tuple[str, str]]:
    """Put the user's failed chunks of this app back in line, each in its old place; ids and conversations of all chunks
    that are pending then, oldest first. They are planned anew, as ``parked.unpark`` has it.

    Args:
        conn: an open transaction.
        scope: the vector store.
        user_id: whose conversations.
        app_id: with which app.
        kind: of the writes that are chunks.
        fingerprint: the credentials that will carry those out that had failed.
        task_id: the task that will count what becomes of them.
    """
    conversation_id = writes.c.payload["conversation_id"].as_string()
    theirs = and_(
        writes.c.scope == scope,
        writes.c.user_id == user_id,
        writes.c.kind == kind,
        writes.c.payload["agent_id"].as_string() == app_id,
    )
    queue = and_(write_queues.c.scope == scope, write_queues.c.user_id == user_id)
    queues.lock(conn, queue)  # before the writes, as every worker does
    failed = select(writes.c.id, writes.c.payload).where(theirs, writes.c.status == FAILED)
    revived = {"status": PENDING, "parked": False, "attempts": 0, "finished_at": None, "next_attempt_at": DUE_NOW}
    none = {"plan": None, "error": None, "error_code": None}
    for write_id, payload in conn.execute(failed).all():
        again = {**revived, **none, "fingerprint": fingerprint, "payload": {**payload, "task_id": task_id}}
        conn.execute(update(writes).where(writes.c.id == write_id).values(again))
        queues.make_due(conn, queue)
    waiting = select(writes.c.id, conversation_id).where(theirs, writes.c.status == PENDING).order_by(writes.c.seq)
    return [(write_id, conversation) for write_id, conversation in conn.execute(waiting)]
