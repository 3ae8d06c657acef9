"""Applying a plan: it changes its owner's memories and no others, on every store, however often it is applied."""

from __future__ import annotations

import uuid
from dataclasses import replace
from datetime import UTC, datetime

import psycopg
import pytest

from tests.contract.stores.conftest import in_lane
from tests.contract.stores.rows import QUERY, at_cosine, memory, someone
from utils.errors import LeaseLost
from utils.memory.answers import ProposedChange
from utils.memory.plan import Change, Event, Plan, apply, transaction, with_vectors
from utils.memory.reconcile import reconcile
from utils.memory.requests import Add
from utils.stores.protocol import Owner, Row, Store, TransactionalStore

pytestmark = pytest.mark.asyncio(loop_scope="session")
AT = "2026-02-02T00:00:00+00:00"


def change(event: Event, row: Row, text: str | None = None) -> Change:
    vector = None if text is None else tuple(at_cosine(0.5))
    return Change(event, row.id, text, row.text, {}, AT, AT, vector=vector)


async def applied(plan: Plan, store: Store, user_id: str) -> list[list[Change]]:
    """What each way of applying the plan says it has changed: by itself, and as a part of a transaction."""
    owner = Owner(user_id)
    made = [await in_lane(apply(plan, store, owner, lambda: None))]
    if isinstance(store, TransactionalStore):
        send = await transaction(plan, store, owner)
        with psycopg.connect(store.conninfo) as conn:
            made.append(send(conn.cursor()))
    return made


async def test_another_users_memories_are_left_alone_and_not_said_to_be_changed(store: Store) -> None:
    alice, bob = someone(), someone()
    replaced, deleted, own = memory(alice, "likes tea"), memory(alice, "likes cake"), memory(bob, "likes milk")
    await in_lane(store.insert([replaced, deleted, own], [QUERY] * 3))
    plan = Plan(
        (change("UPDATE", replaced, "stolen"), change("DELETE", deleted), change("UPDATE", own, "likes oat milk"))
    )
    for made in await applied(plan, store, bob):
        assert [one.memory_id for one in made] == [own.id]
    assert [await in_lane(store.get(row.id)) for row in (replaced, deleted)] == [replaced, deleted]
    changed = await in_lane(store.get(own.id))
    assert changed is not None and changed.text == "likes oat milk"


async def test_twice_is_once(store: Store) -> None:
    alice = someone()
    replaced, deleted, added = memory(alice, "likes tea"), memory(alice, "likes cake"), memory(alice, "is new")
    await in_lane(store.insert([replaced, deleted], [QUERY] * 2))
    plan = Plan((change("ADD", added, "is new"), change("UPDATE", replaced, "changed"), change("DELETE", deleted)))
    for _ in range(2):
        await applied(plan, store, alice)
        rows, total = await in_lane(store.page(Owner(alice), 10))
        assert total == 2 and {row.text for row in rows} == {"is new", "changed"}


async def test_of_what_was_said_again_only_the_time_changes(store: Store) -> None:
    alice = someone()
    row = memory(alice, "likes tea", text_lemmatized="like tea", shelf="top")
    await in_lane(store.insert([row], [QUERY]))
    again = replace(change("NONE", row, row.text), vector=tuple(QUERY))
    for _ in range(2):
        assert await applied(Plan((again,)), store, alice) == [[]] * (1 + isinstance(store, TransactionalStore))
        [found] = await in_lane(store.search(QUERY, Owner(alice), 5))
        assert found.payload == {**row.payload, "observed_at": AT}
        assert found.score == pytest.approx(1.0, abs=1e-4)


async def test_a_text_that_a_model_adds_twice_is_stored_once_and_told_once(store: Store) -> None:
    alice = someone()
    twice = [ProposedChange("ADD", "likes tea"), ProposedChange("ADD", "likes tea")]
    plan = reconcile(twice, {}, Add(at=AT, user="I like tea"), str(uuid.uuid4()), datetime.now(UTC))
    plan = with_vectors(plan, [QUERY] * len(plan.changes))
    for made in await applied(plan, store, alice):
        assert [one.text for one in made] == ["likes tea"]
    rows, total = await in_lane(store.page(Owner(alice), 10))
    assert (total, [row.text for row in rows]) == (1, ["likes tea"])


@pytest.mark.parametrize("changes", ["ADD", "UPDATE", "DELETE"])
async def test_nothing_is_changed_once_the_lease_is_lost(store: Store, changes: Event) -> None:
    alice = someone()
    there, new = memory(alice, "likes tea"), memory(alice, "is new")
    await in_lane(store.insert([there], [QUERY]))
    row = new if changes == "ADD" else there
    plan = Plan((change(changes, row, None if changes == "DELETE" else "changed"),))

    def lost() -> None:
        raise LeaseLost("error_lease_lost")

    with pytest.raises(LeaseLost):
        await in_lane(apply(plan, store, Owner(alice), lost))
    assert await in_lane(store.page(Owner(alice), 10)) == ([there], 1)
