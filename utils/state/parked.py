"""Writes that failed for a service, and wait for credentials that may cure them."""

from __future__ import annotations

from sqlalchemy import Connection, and_, select, update

from utils.errors import ServiceRefused, ServiceRejected
from utils.state import queues
from utils.state.queues import Known
from utils.state.tables import DUE_NOW, FAILED, PENDING, write_queues, writes


def unpark(conn: Connection, scope: str, fingerprint: str, known: Known, *, own: bool = False, most: int = 100) -> int:
    """Put parked writes of ``scope`` back in line, each in its old place; how many there were.

    Other writes of their users have been carried out meanwhile, so a plan that was made for one is no longer true of
    the memories: it is planned anew. Those that were put back are still marked as ``parked``: they are late.

    Args:
        conn: an open transaction.
        scope: the vector store.
        fingerprint: the credentials that will carry them out.
        known: what can be carried out here.
        own: those that failed under these very credentials (they have just been validated). Otherwise those of
            credentials that nobody has served for ``queues.UNSEEN_AFTER_S``, if other credentials may cure them.
        most: users at once; whose queue is being committed right now is left to the next call.
    """
    theirs = and_(writes.c.scope == scope, writes.c.status == FAILED, writes.c.parked.is_(True))
    mine = writes.c.fingerprint == fingerprint
    curable = writes.c.error_code.in_((ServiceRefused.code, ServiceRejected.code))
    parked = and_(theirs, mine if own else and_(~mine, curable, queues.may_carry_out(known)))
    values = {"for_fingerprint": fingerprint}
    found = list(conn.execute(select(writes.c.user_id).where(parked).distinct().limit(most), values).scalars())
    if not found:
        return 0
    users = queues.lock_free(conn, and_(write_queues.c.scope == scope, write_queues.c.user_id.in_(found)), most)
    their_queues = and_(write_queues.c.scope == scope, write_queues.c.user_id.in_(users))
    revived = {"status": PENDING, "attempts": 0, "finished_at": None, "next_attempt_at": DUE_NOW}
    none = {"plan": None, "error": None, "error_code": None}
    count = conn.execute(
        update(writes).where(parked, writes.c.user_id.in_(users)).values(fingerprint=fingerprint, **revived, **none),
        values,
    ).rowcount
    queues.make_due(conn, their_queues)
    return count
