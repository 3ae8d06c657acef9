"""Leases on the history of a (user, app): who has one, who waits, and what a lost one can still do."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import sqlalchemy as sa

from utils.errors import LeaseLost
from utils.state import leases, tables
from utils.state.engine import StateStore
from utils.state.leases import HistoryLease

SCOPE = "store-1"


async def take(
    state: StateStore, owner: str, *, user_id: str = "alice", app_id: str = "app", lease_s: float = 1800
) -> Any:
    return await state.write(lambda conn: leases.take(conn, SCOPE, user_id, app_id, owner=owner, lease_s=lease_s))


async def end(state: StateStore) -> None:
    """As if nobody had renewed any lease for long."""
    await state.write(lambda conn: conn.execute(sa.update(tables.leases).values(lease_expires_at=1.0)))


async def test_one_task_at_a_time_has_a_users_history(state: StateStore) -> None:
    held = await take(state, "task-1")
    assert isinstance(held, HistoryLease)
    assert await take(state, "task-2") == "task-1"
    assert isinstance(await take(state, "task-2", user_id="bob"), HistoryLease)
    assert isinstance(await take(state, "task-2", app_id="other"), HistoryLease)
    await state.write(lambda conn: leases.release(conn, held))
    assert isinstance(await take(state, "task-2"), HistoryLease)


async def test_of_many_that_ask_at_once_one_gets_it(state: StateStore) -> None:
    asked = await asyncio.gather(*(take(state, f"task-{number}") for number in range(8)))
    [winner] = [one for one in asked if isinstance(one, HistoryLease)]
    assert {one for one in asked if one is not winner} == {winner.owner}


async def test_a_lease_that_was_lost_commits_nothing(state: StateStore) -> None:
    lost = await take(state, "task-1")
    await end(state)
    taken = await take(state, "task-2")
    assert isinstance(taken, HistoryLease) and taken.token != lost.token
    with pytest.raises(LeaseLost):
        await state.write(lambda conn: leases.hold(conn, lost))
    assert await state.write(lambda conn: leases.renew(conn, [lost, taken], 30)) == [taken]
    await state.write(lambda conn: leases.release(conn, lost))  # not its own any more
    await state.write(lambda conn: leases.hold(conn, taken))


async def test_a_task_that_goes_on_elsewhere_has_its_lease_at_once(state: StateStore) -> None:
    """Its process died a moment ago; what may still run of it is shut out by the token."""
    first = await take(state, "task-1")
    again = await take(state, "task-1")
    assert isinstance(again, HistoryLease)
    with pytest.raises(LeaseLost):
        await state.write(lambda conn: leases.hold(conn, first))


async def test_a_row_that_was_there_before_does_not_bring_its_token_back(state: StateStore) -> None:
    first = await take(state, "task-1")
    await state.write(lambda conn: leases.release(conn, first))
    again = await take(state, "task-1")
    assert again.token != first.token


async def test_leases_that_ended_are_cleaned_up(state: StateStore) -> None:
    for user_id in ("alice", "bob"):
        await take(state, "task-1", user_id=user_id)
    assert await state.write(lambda conn: leases.purge_expired(conn, SCOPE)) == 0
    await end(state)
    assert await state.write(lambda conn: leases.purge_expired(conn, SCOPE, "alice", "other")) == 0
    assert await state.write(lambda conn: leases.purge_expired(conn, SCOPE, "alice")) == 1
    assert await state.write(lambda conn: leases.purge_expired(conn, SCOPE)) == 1
