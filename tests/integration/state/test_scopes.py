"""Under which scope a store is kept, whatever its address is."""

from __future__ import annotations

import sqlalchemy as sa

from utils.state import history, queues, scopes, tables, writes
from utils.state.engine import StateStore

ADDRESS, RENAMED, SCOPE = "address", "renamed address", "scope"
KNOWN = frozenset({("add", 1)})
NOW = "2026-01-01T00:00:00+00:00"


async def settle(state: StateStore, address: str, scope: str) -> str:
    return await state.write(lambda conn: scopes.settle(conn, address, scope))


async def test_an_address_is_settled_once(state: StateStore) -> None:
    assert await state.read(lambda conn: scopes.of_address(conn, ADDRESS)) is None
    assert await settle(state, ADDRESS, SCOPE) == SCOPE
    assert await settle(state, ADDRESS, "another process's idea") == SCOPE
    assert await settle(state, RENAMED, SCOPE) == SCOPE
    assert await state.read(lambda conn: scopes.of_address(conn, RENAMED)) == SCOPE


async def test_what_stands_under_the_address_is_moved(state: StateStore) -> None:
    """As version 1 left it, one user's queue in somebody's hands, and a second one's that the scope has already."""

    def as_version_1(conn: sa.Connection) -> None:
        for number, (scope, user_id) in enumerate(((ADDRESS, "alice"), (ADDRESS, "bob"), (SCOPE, "bob"))):
            payload = {"user": "I like tea"}
            assert writes.accept(conn, writes.NewWrite(f"w-{number}", scope, user_id, "add", 1, payload, "f", "p"), 99)
        entry = history.Entry("m-1", "ADD", None, "likes tea", NOW, NOW, False)
        history.record(conn, ADDRESS, "alice", "w-old", [entry])
        held = queues.claim(conn, scope=ADDRESS, fingerprint="f", known=KNOWN, owner="old", most=1, lease_s=1800)
        assert len(held) == 1

    await state.write(as_version_1)
    assert await settle(state, ADDRESS, SCOPE) == SCOPE
    assert await state.read(lambda conn: writes.counts(conn, SCOPE)) == (3, 0)
    assert (await state.read(lambda conn: history.of_memory(conn, SCOPE, "m-1", limit=10)))[1] == 1
    left = sa.select(sa.func.count()).select_from(tables.write_queues).where(tables.write_queues.c.scope == ADDRESS)
    assert await state.read(lambda conn: conn.execute(left).scalar()) == 0
    claims = await state.write(
        lambda conn: queues.claim(conn, scope=SCOPE, fingerprint="f", known=KNOWN, owner="new", most=9, lease_s=1800)
    )
    assert sorted(held.user_id for held in claims) == ["alice", "bob"], "nobody waits for the old process's lease"


async def test_what_an_old_process_still_puts_under_the_address_is_collected(state: StateStore) -> None:
    await settle(state, ADDRESS, SCOPE)
    late = writes.NewWrite("w-late", ADDRESS, "alice", "add", 1, {"user": "I like tea"}, "f", "p")
    await state.write(lambda conn: writes.accept(conn, late, 99))
    assert await state.read(lambda conn: writes.counts(conn, SCOPE)) == (0, 0)
    await state.write(lambda conn: scopes.collect(conn, SCOPE))
    assert await state.read(lambda conn: writes.counts(conn, SCOPE)) == (1, 0)
