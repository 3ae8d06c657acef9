"""Checkpoints are kept for each (user, app, conversation), and go when they are old."""

from __future__ import annotations

import sqlalchemy as sa

from utils.state import checkpoints, tables
from utils.state.engine import StateStore

SCOPE = "store-1"


async def save(state: StateStore, user_id: str, app_id: str, **conversations: int) -> None:
    def work(conn: sa.Connection) -> None:
        checkpoints.save(conn, SCOPE, user_id, app_id, {"wanted": []})
        for conversation_id, second in conversations.items():
            checkpoints.save_conversation(conn, SCOPE, user_id, app_id, conversation_id, {"last": second})

    await state.write(work)


async def load(state: StateStore, user_id: str, app_id: str) -> checkpoints.Checkpoint:
    return await state.read(lambda conn: checkpoints.load(conn, SCOPE, user_id, app_id))


async def grow_old(state: StateStore, **where: str) -> None:
    """As if what matches had not been changed for a hundred days."""
    for table in (tables.checkpoints, tables.checkpoint_conversations):
        if where.keys() <= set(table.c.keys()):
            matches = [table.c[name] == value for name, value in where.items()]
            aged = sa.update(table).where(*matches).values(updated_at=table.c.updated_at - 100 * 86_400)
            await state.write(lambda conn, aged=aged: conn.execute(aged))


async def purge(state: StateStore, user_id: str, app_id: str | None = None, *, dry_run: bool = False) -> int:
    return await state.write(
        lambda conn: checkpoints.purge(conn, SCOPE, user_id, app_id, older_than_s=90 * 86_400, dry_run=dry_run)
    )


async def test_what_was_saved_last_is_there(state: StateStore) -> None:
    await save(state, "alice", "app", c1=1, c2=2)
    await save(state, "alice", "app", c2=3)
    await save(state, "alice", "other", c9=9)
    await save(state, "bob", "app", c5=5)
    found = await load(state, "alice", "app")
    assert found.state == {"wanted": []} and found.conversations == {"c1": {"last": 1}, "c2": {"last": 3}}
    assert found.updated_at > 1_000_000_000


async def test_there_may_be_none(state: StateStore) -> None:
    found = await load(state, "alice", "app")
    assert (found.state, found.conversations, found.updated_at) == (None, {}, 0.0)
    assert await state.read(lambda conn: checkpoints.newest_app(conn, SCOPE, "alice")) is None


async def test_the_app_read_last_is_the_newest(state: StateStore) -> None:
    await save(state, "alice", "app", c1=1)
    await save(state, "alice", "other", c1=1)
    await grow_old(state, app_id="other")
    assert await state.read(lambda conn: checkpoints.newest_app(conn, SCOPE, "alice")) == "app"


async def test_old_checkpoints_go_and_young_ones_stay(state: StateStore) -> None:
    await save(state, "alice", "app", c1=1, c2=2)
    await grow_old(state, conversation_id="c1")
    assert await purge(state, "alice", dry_run=True) == 1
    assert await purge(state, "alice") == 1
    assert list((await load(state, "alice", "app")).conversations) == ["c2"]


async def test_the_checkpoint_of_the_whole_goes_with_the_last_conversation(state: StateStore) -> None:
    """Without it, what was left to the next run would be forgotten."""
    await save(state, "alice", "app", c1=1)
    await grow_old(state, user_id="alice", app_id="app")
    await save(state, "alice", "app", c2=2)
    await grow_old(state, conversation_id="c2")
    await state.write(lambda conn: conn.execute(sa.update(tables.checkpoints).values(updated_at=1.0)))
    await save_young(state)
    assert await purge(state, "alice") == 2 and (await load(state, "alice", "app")).state is not None
    await grow_old(state, conversation_id="young")
    assert await purge(state, "alice") == 2 and (await load(state, "alice", "app")).state is None


async def save_young(state: StateStore) -> None:
    await state.write(lambda conn: checkpoints.save_conversation(conn, SCOPE, "alice", "app", "young", {"last": 1}))


async def test_only_the_users_and_the_apps_own_go(state: StateStore) -> None:
    for user_id in ("alice", "bob"):
        for app_id in ("app", "other"):
            await save(state, user_id, app_id, c1=1)
    await grow_old(state)
    assert await purge(state, "alice", "app") == 2
    assert await purge(state, "alice") == 2
    assert (await load(state, "bob", "app")).state is not None
