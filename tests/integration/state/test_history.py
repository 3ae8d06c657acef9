"""The history belongs to one store: another one's entries of the same ids are neither read nor purged."""

from __future__ import annotations

import uuid
from typing import Any

from utils.state import history
from utils.state.engine import StateStore

AT = "2026-01-01T00:00:00+00:00"
ONE, OTHER = "store-1", "store-2"


async def texts(state: StateStore, scope: str, **asked: Any) -> list[str | None]:
    entries, total = await state.read(lambda conn: history.of_memory(conn, scope, "m-1", **asked, limit=10))
    assert total == len(entries)
    return [entry.new_memory for entry in entries]


async def test_a_memory_id_in_two_stores_is_two_memories(state: StateStore) -> None:
    for scope in (ONE, OTHER):
        entry = history.Entry("m-1", "ADD", None, f"in {scope}", AT, AT, False, agent_id="app")
        written: list[Any] = [scope, "alice", str(uuid.uuid4()), [entry]]
        await state.write(lambda conn, written=written: history.record(conn, *written))  # type: ignore[misc]
    for scope in (ONE, OTHER):
        for asked in ({}, {"user_id": "alice"}, {"agent_id": "app"}):
            assert await texts(state, scope, **asked) == [f"in {scope}"]
    for agent_id in ("app", None):
        assert await texts(state, ONE, user_id="alice") == ["in store-1"]
        assert await state.write(lambda conn, by=agent_id: history.purge(conn, "store-3", "alice", by)) == 0  # type: ignore[misc]
    assert await state.write(lambda conn: history.purge(conn, ONE, "alice", None)) == 1
    assert await texts(state, ONE) == [] and await texts(state, OTHER) == ["in store-2"]
