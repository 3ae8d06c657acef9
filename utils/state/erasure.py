"""What a ``delete_all`` takes out of the queue beside the memories: what would bring them back, and with a purge
whatever tells that there was such a user. Every function takes an open transaction of the lease's holder; none commits.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection, and_, delete, select, update

from utils.state import queues, tasks
from utils.state.queues import Claim
from utils.state.tables import DONE, FAILED, SUPERSEDED, write_queues, writes

NOBODY: Final = ""  # the user id of what is nobody's any more; no caller can give it


def drop_failed_before(conn: Connection, held: Claim, write_id: str, agent_id: str | None) -> None:
    """Drop the queue's failed writes that were accepted before ``write_id``, a delete_all: taken up later, they would
    bring back what has just been deleted. With ``agent_id`` only that agent's additions.
    """
    mine = and_(writes.c.scope == held.scope, writes.c.user_id == held.user_id, writes.c.status == FAILED)
    accepted_at = select(writes.c.seq).where(writes.c.id == write_id).scalar_subquery()
    of_agent = writes.c.payload["agent_id"].as_string() == agent_id
    earlier = and_(mine, writes.c.seq < accepted_at)
    conn.execute(delete(writes).where(earlier if agent_id is None else and_(earlier, of_agent)))


def forget_user(conn: Connection, held: Claim, write_id: str) -> None:
    """Delete what is kept of the user's ended writes, and take the user's id from ``write_id``, a ``delete_all`` that
    has just been finished: its row still answers who asks for it by its id. Failed ones: :func:`drop_failed_before`.
    Tasks keep their counts. Checkpoints stay: without them the next extraction would bring everything back.
    """
    mine = and_(writes.c.scope == held.scope, writes.c.user_id == held.user_id)
    ended = writes.c.status.in_((DONE, SUPERSEDED))
    conn.execute(delete(writes).where(mine, ended, writes.c.id != write_id))
    conn.execute(update(writes).where(mine, writes.c.id == write_id).values(user_id=NOBODY))
    tasks.forget_user(conn, held.scope, held.user_id)


def drop_queue(conn: Connection, scope: str, user_id: str, agent_id: str | None) -> None:
    """Drop a user's queue whose writes follow from the memories' (the graph's), with all that it holds; who works on it
    finds its lease lost. With ``agent_id`` only that agent's failed writes: see ``writes.supersede`` for pending ones.
    """
    mine = and_(writes.c.scope == scope, writes.c.user_id == user_id)
    queue = and_(write_queues.c.scope == scope, write_queues.c.user_id == user_id)
    queues.lock(conn, queue)  # before its writes, as every worker does
    if agent_id is not None:
        of_agent = writes.c.payload["agent_id"].as_string() == agent_id
        conn.execute(delete(writes).where(mine, writes.c.status == FAILED, of_agent))
        return
    conn.execute(delete(writes).where(mine))
    conn.execute(delete(write_queues).where(queue))
