"""What stays of a person in the state store after ``delete_all_memories`` with ``purge_history``: nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

import pytest
import sqlalchemy as sa

from tests.integration.state.test_writes import KNOWN, MINE, SCOPE, accept, claim, do, head, new_write
from utils.errors import LeaseLost
from utils.graph import steps
from utils.graph.steps import ChangeEdges, DeleteAllEdges
from utils.state import erasure, queues, tables, writes
from utils.state.engine import StateStore

_DELETE_ALL: Final[dict[str, Any]] = {"known": frozenset({(DeleteAllEdges.kind, 1)})}


async def everything(state: StateStore) -> str:
    """All rows of all tables, as text."""
    return await state.read(
        lambda conn: repr([row for table in tables.metadata.sorted_tables for row in conn.execute(sa.select(table))])
    )


async def forgotten(state: StateStore, user_id: str, worker: str = "worker-1") -> queues.Claim:
    """A delete_all of the user that purges, carried out; the lease it was carried out under."""
    wiped = new_write(user_id, kind="delete_all")
    assert await accept(state, wiped)
    [held] = await claim(state, worker)
    write = await head(state, held)
    while write is not None:
        current = write

        def finish(conn: sa.Connection, current: writes.Write = current) -> writes.Write | None:
            writes.finish(conn, held, current.id, {"count": 1})
            if current.id == wiped.id:
                erasure.forget_user(conn, held, current.id)
            return writes.next_or_release(conn, held, MINE, KNOWN, forget_queue=current.id == wiped.id)[0]

        write = await state.write(finish)
    known = await state.read(lambda conn: writes.state_of(conn, SCOPE, wiped.id))
    assert known is not None and (known.status, known.result, known.user_id) == (tables.DONE, {"count": 1}, "")
    return held


async def test_nothing_of_the_user_stays_and_the_deletion_still_answers_by_its_id(state: StateStore) -> None:
    assert await accept(state, new_write("alice-7"))
    await forgotten(state, "alice-7")
    assert "alice-7" not in await everything(state)


async def test_a_lease_on_a_queue_that_is_gone_is_worth_nothing_on_its_successor(state: StateStore) -> None:
    """Also for the very worker that had it: its ids stay, so the token must not come again."""
    held = [await forgotten(state, "alice") for _ in range(3)]
    assert await accept(state, new_write("alice"))
    [now] = await claim(state)
    assert now.owner == held[0].owner and len({each.token for each in (*held, now)}) == 4
    for old in held:
        with pytest.raises(LeaseLost):
            await do(state, queues.hold, old)
        assert await do(state, queues.renew, [old], 60.0) == []
    await do(state, queues.hold, now)


async def test_a_queue_with_work_or_a_failure_is_kept(state: StateStore) -> None:
    assert await accept(state, new_write("alice"))
    [held] = await claim(state)
    write = await head(state, held)
    assert write is not None
    await do(state, writes.fail, held, write.id, code="service_refused", reason="{}", parked=True)

    def release(conn: sa.Connection) -> None:
        queues.hold_and_release(conn, held)
        queues.forget(conn, held)

    await state.write(release)
    assert "alice" in repr(await state.read(lambda conn: conn.execute(sa.select(tables.write_queues)).all()))


async def test_idle_queues_of_users_without_any_write_are_purged(state: StateStore) -> None:
    for user_id in ("alice", "bob", "carol"):
        assert await accept(state, new_write(user_id))
    alices, bobs, _ = sorted(await claim(state), key=lambda held: held.user_id)
    for held in (alices, bobs):
        write = await head(state, held)
        assert write is not None
        await do(state, writes.finish, held, write.id, {})
        await do(state, queues.hold_and_release, held)
    erased = sa.delete(tables.writes).where(tables.writes.c.user_id == "alice")
    await do(state, lambda conn: conn.execute(erased))
    assert await do(state, queues.purge, idle_for_s=60.0, most=10) == 0
    assert await do(state, queues.purge, idle_for_s=-60.0, most=10) == 1
    left = await state.read(lambda conn: set(conn.execute(sa.select(tables.write_queues.c.user_id)).scalars()))
    assert left == {"bob", "carol"}


async def test_what_a_graph_has_still_to_learn_goes_with_what_it_stems_from(state: StateStore) -> None:
    """Pending, failed, done and in work; who works on it can commit nothing more."""
    step = ChangeEdges("write-1", "2026-03-05", None, {"m1": "hash of alice-7"})
    for number in range(4):
        each = replace(step, write_id=f"write-{number}")
        await do(state, steps.accept, SCOPE, "alice-7", MINE, each)
        await do(state, steps.accept, SCOPE, "alice-7", MINE, each)  # finished again: it is one step
    await do(state, steps.accept, SCOPE, "bob", MINE, step)
    theirs: dict[str, Any] = {
        "scope": steps.steps_scope(SCOPE),
        "fingerprint": MINE,
        "known": frozenset({(ChangeEdges.kind, 1)}),
    }
    claims = await do(state, queues.claim, **theirs, owner="worker-1", most=5, lease_s=60.0)
    [held] = [one for one in claims if one.user_id == "alice-7"]
    await do(state, writes.finish, held, steps.step_id("write-0"), {"edges": 1})
    await do(state, writes.fail, held, steps.step_id("write-1"), code="service_refused", reason="401", parked=True)
    await do(state, steps.drop, SCOPE, "alice-7", None)
    assert "alice-7" not in await everything(state) and "bob" in await everything(state)
    with pytest.raises(LeaseLost):
        await do(state, writes.finish, held, steps.step_id("write-2"), {"edges": 1})
    await do(state, steps.accept, SCOPE, "alice-7", MINE, DeleteAllEdges("write-5", "2026-03-05"))
    [again] = await do(state, queues.claim, **theirs | _DELETE_ALL, owner="worker-1", most=5, lease_s=60.0)
    assert again.user_id == "alice-7" and again.token != held.token


async def test_of_one_agents_deletion_the_other_steps_stay(state: StateStore) -> None:
    for agent_id in ("a", "b", None):
        step = ChangeEdges(f"write-{agent_id}", "2026-03-05", agent_id, {"m1": f"of agent {agent_id}"})
        await do(state, steps.accept, SCOPE, "alice", MINE, step)
    await do(state, steps.drop, SCOPE, "alice", "a")
    kept = await everything(state)
    assert ["of agent a" in kept, "of agent b" in kept, "of agent None" in kept] == [False, True, True]
