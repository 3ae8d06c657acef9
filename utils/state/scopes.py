"""Scopes: under which name a vector store's queues and history are kept, whatever its address is today.

A store has a scope of its own for as long as its memories exist. Where nothing better tells them, it is named after the
address; then a renamed host is another store. What was found out once about an address is kept here.

Version 1 kept rows under the address itself. They are moved, also those that one of its processes still writes while it
runs beside newer ones. No scope is an address, so such a process never meets a row of today's, which it could not read.
"""

from __future__ import annotations

import hashlib
from typing import Any

from sqlalchemy import Connection, delete, func, literal, select, update
from sqlalchemy.dialects import postgresql, sqlite

from utils.state import queues
from utils.state.leases import first_token
from utils.state.tables import DUE_NOW, history, scopes, write_queues, writes


def named_after(address: str) -> str:
    """The scope of a store that nothing but its address is known of."""
    return hashlib.sha256(f"scope of {address}".encode()).hexdigest()


def of_address(conn: Connection, address: str) -> str | None:
    """The scope of the store at ``address``; None when nobody has settled it."""
    scope: str | None = conn.execute(select(scopes.c.scope).where(scopes.c.address == address)).scalar()
    return scope


def settle(conn: Connection, address: str, scope: str) -> str:
    """The scope of the store at ``address``: ``scope``, unless another process was faster. What stands under the
    address itself, as version 1 of the state store kept it, is moved to the scope.

    Args:
        conn: an open transaction.
        address: where the store is now (``Identity.address``).
        scope: what it would be called.
    """
    conn.execute(_insert(conn)(scopes).values(address=address, scope=scope).on_conflict_do_nothing())
    settled = of_address(conn, address) or scope
    collect(conn, settled)
    return settled


def collect(conn: Connection, scope: str) -> None:
    """Move to ``scope`` what stands under the addresses of its store. A process of version 1 that still runs beside
    newer ones, and knows nothing of scopes, goes on to put writes there; nobody else would carry them out.
    """
    for address in conn.execute(select(scopes.c.address).where(scopes.c.scope == scope)).scalars().all():
        if _is_used(conn, address):
            _move(conn, address, scope)


def _is_used(conn: Connection, scope: str) -> bool:
    """Whether anything stands under ``scope``; a look into indexes."""
    return any(
        conn.execute(select(literal(1)).where(table.c.scope == scope).limit(1)).first()
        for table in (write_queues, writes, history)
    )


def _move(conn: Connection, old: str, new: str) -> None:
    """A process of version 1 may be at work under the old scope: without its queue's row it can commit nothing more."""
    queues.lock(conn, write_queues.c.scope == old)  # before the writes, as every worker does
    if conn.dialect.name == "postgresql":
        conn.execute(select(func.set_config("statement_timeout", "0", True)))  # a history may have millions of rows
    for table in (writes, history):
        conn.execute(update(table).where(table.c.scope == old).values(scope=new))
    queue = write_queues.c
    token = literal(first_token())
    moving = select(literal(new), queue.user_id, token, literal(DUE_NOW), queue.waiting_since).where(queue.scope == old)
    moved = _insert(conn)(write_queues).from_select(["scope", "user_id", "token", "due_at", "waiting_since"], moving)
    conn.execute(moved.on_conflict_do_update(index_elements=[queue.scope, queue.user_id], set_={"due_at": DUE_NOW}))
    conn.execute(delete(write_queues).where(queue.scope == old))


def _insert(conn: Connection) -> Any:
    return postgresql.insert if conn.dialect.name == "postgresql" else sqlite.insert
