"""The queue of accepted writes: order, leases, fencing, retries, parking, purging."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa

from playground.postgres import Database
from utils.config.state_location import PostgresLocation
from utils.errors import LeaseLost, Superseded
from utils.state import chunks, erasure, history, parked, queues, tables, workers, writes
from utils.state.engine import StateStore
from utils.state.tables import DONE

SCOPE, MINE, OTHERS = "store-1", "fingerprint-1", "fingerprint-2"
KNOWN = frozenset({("add", 1), ("update", 1), ("delete_all", 1)})


def new_write(
    user_id: str,
    *,
    kind: str = "add",
    version: int = 1,
    agent_id: str | None = None,
    scope: str = SCOPE,
    fingerprint: str = MINE,
    process: str = "process-1",
) -> writes.NewWrite:
    payload = {"user": "I like tea", "agent_id": agent_id}
    return writes.NewWrite(str(uuid.uuid4()), scope, user_id, kind, version, payload, fingerprint, process)


async def accept(state: StateStore, write: writes.NewWrite, most_pending: int = 1000) -> bool:
    return await state.write(lambda conn: writes.accept(conn, write, most_pending))


async def claim(
    state: StateStore,
    owner: str = "worker-1",
    most: int = 10,
    fingerprint: str = MINE,
    known: queues.Known = KNOWN,
    lease_s: float = 1800.0,
) -> list[queues.Claim]:
    return await state.write(
        lambda conn: queues.claim(
            conn, scope=SCOPE, fingerprint=fingerprint, known=known, owner=owner, most=most, lease_s=lease_s
        )
    )


async def head(
    state: StateStore, held: queues.Claim, fingerprint: str = MINE, known: queues.Known = KNOWN
) -> writes.Write | None:
    return await state.read(lambda conn: writes.head(conn, held, fingerprint, known))


async def seen(state: StateStore, fingerprint: str) -> None:
    await state.write(lambda conn: workers.seen(conn, "a worker", SCOPE, [fingerprint]))


async def age(state: StateStore, seconds: float) -> None:
    """As if nobody had been seen since."""
    await state.write(
        lambda conn: conn.execute(sa.update(tables.workers).values(seen_at=tables.workers.c.seen_at - seconds))
    )


async def do(state: StateStore, function: Any, *args: Any, **kwargs: Any) -> Any:
    return await state.write(lambda conn: function(conn, *args, **kwargs))


async def test_a_users_writes_come_out_in_the_order_they_were_accepted(state: StateStore) -> None:
    accepted = [new_write("alice") for _ in range(5)]
    for write in accepted:
        assert await accept(state, write)
    [held] = await claim(state)
    done = []
    while (write := await head(state, held)) is not None:
        await do(state, writes.finish, held, write.id, {})
        done.append(write.id)
    assert done == [write.id for write in accepted]


async def test_two_workers_never_hold_the_same_user(state: StateStore) -> None:
    for number in range(12):
        await accept(state, new_write(f"user-{number % 6}"))
    claims = await asyncio.gather(*(claim(state, owner=f"worker-{number}", most=3) for number in range(4)))
    users = [held.user_id for claimed in claims for held in claimed]
    assert sorted(users) == [f"user-{number}" for number in range(6)]


async def test_a_write_accepted_while_its_queue_is_held_is_not_lost(state: StateStore) -> None:
    await accept(state, new_write("alice"))
    [held] = await claim(state)
    first = await head(state, held)
    assert first is not None
    await do(state, writes.finish, held, first.id, {})
    late = new_write("alice")
    await accept(state, late)
    await do(state, queues.hold_and_release, held)
    [held] = await claim(state)
    found = await head(state, held)
    assert found is not None and found.id == late.id


async def test_a_released_empty_queue_is_not_due(state: StateStore) -> None:
    await accept(state, new_write("alice"))
    [held] = await claim(state)
    write = await head(state, held)
    assert write is not None
    await do(state, writes.finish, held, write.id, {})
    await do(state, queues.hold_and_release, held)
    assert await claim(state) == []


async def test_an_ended_lease_is_taken_over_and_the_old_holder_can_commit_nothing(state: StateStore) -> None:
    await accept(state, new_write("alice"))
    [stale] = await claim(state, owner="dead", lease_s=0.0)
    [fresh] = await claim(state, owner="alive")
    write = await head(state, fresh)
    assert write is not None and fresh.token == stale.token + 1
    for refused in (
        (writes.record_plan, stale, write.id, {"changes": []}),
        (writes.finish, stale, write.id, {}),
        (queues.hold_and_release, stale),
    ):
        with pytest.raises(LeaseLost):
            await do(state, *refused)
    with pytest.raises(LeaseLost):
        await do(state, writes.fail, stale, write.id, code="x", reason="y", parked=False)
    with pytest.raises(LeaseLost):
        await do(state, writes.postpone, stale, write.id, attempts=1, delay_s=1.0, code="x", reason="y")
    assert await do(state, queues.renew, [stale], 60.0) == []
    assert await do(state, queues.renew, [fresh], 60.0) == [fresh]


async def test_a_postponed_write_holds_its_user_back_and_no_other(state: StateStore) -> None:
    await accept(state, new_write("alice"))
    await accept(state, new_write("alice"))
    await accept(state, new_write("bob"))
    alice = next(held for held in await claim(state) if held.user_id == "alice")
    first = await head(state, alice)
    assert first is not None
    await do(
        state, writes.postpone, alice, first.id, attempts=1, delay_s=3000.0, code="service_unavailable", reason="down"
    )
    assert await head(state, alice) is None
    told = await state.read(lambda conn: writes.state_of(conn, SCOPE, first.id))
    assert told is not None and (told.status, told.attempts) == ("pending", 1)
    await do(state, queues.hold_and_release, alice)
    assert await claim(state, owner="worker-2") == []  # bob's queue is still held by worker-1


async def test_a_done_write_keeps_its_result_and_loses_its_text(state: StateStore) -> None:
    write = new_write("alice")
    await accept(state, write)
    [held] = await claim(state)
    await do(state, writes.record_plan, held, write.id, {"changes": ["secret"]})
    await do(state, writes.finish, held, write.id, {"count": 1})
    row = await state.read(lambda conn: conn.execute(sa.select(tables.writes)).one())
    assert (row.payload, row.plan, row.result, row.status) == (None, None, {"count": 1}, DONE)


async def test_the_guard_refuses_past_the_limit_and_counts_only_this_process(state: StateStore) -> None:
    answers = [await accept(state, new_write("alice"), most_pending=3) for _ in range(5)]
    assert answers == [True, True, True, False, False]
    assert await accept(state, new_write("bob", process="process-2"), most_pending=3)
    assert await state.read(lambda conn: writes.counts(conn, SCOPE)) == (4, 0)


async def test_writes_behind_a_postponed_one_refuse_nobody(state: StateStore) -> None:
    early = [new_write("alice") for _ in range(3)]
    for write in early:
        assert await accept(state, write, most_pending=3)
    assert not await accept(state, new_write("bob"), most_pending=3)
    [held] = [held for held in await claim(state) if held.user_id == "alice"]
    await do(
        state, writes.postpone, held, early[0].id, attempts=1, delay_s=3000.0, code="service_unavailable", reason="down"
    )
    await do(state, queues.hold_and_release, held)
    late = [new_write("alice") for _ in range(5)]
    for write in [*late, new_write("bob")]:
        assert await accept(state, write, most_pending=3)
    assert await accepted_again(state, late[-1]) == len(early) + len(late) + 1


async def test_accepting_the_same_write_twice_is_accepting_it_once(state: StateStore) -> None:
    write = new_write("alice")
    assert await accept(state, write)
    assert await accepted_again(state, write) == 1


async def accepted_again(state: StateStore, write: writes.NewWrite) -> int:
    """As after a lost connection; how many writes there are then."""
    assert await state.write_statement(lambda conn: writes.accept(conn, write, 1000))
    return (await state.read(lambda conn: writes.counts(conn, SCOPE)))[0]


async def test_the_next_due_write_keeps_the_lease_and_none_gives_it_back(state: StateStore) -> None:
    first, second = new_write("alice"), new_write("alice")
    for write in (first, second):
        await accept(state, write)
    [held] = await claim(state)
    await do(state, writes.finish, held, first.id, {})
    following = (await do(state, writes.next_or_release, held, MINE, KNOWN))[0]
    assert following.id == second.id and await claim(state) == []
    await do(
        state, writes.postpone, held, second.id, attempts=1, delay_s=0.0, code="service_unavailable", reason="down"
    )
    assert (await do(state, writes.next_or_release, held, MINE, KNOWN))[0].attempts == 1
    await do(
        state, writes.postpone, held, second.id, attempts=2, delay_s=3000.0, code="service_unavailable", reason="down"
    )
    assert (await do(state, writes.next_or_release, held, MINE, KNOWN))[0] is None
    with pytest.raises(LeaseLost):
        await do(state, queues.hold, held)


async def test_a_write_is_left_to_its_credentials_for_as_long_as_somebody_serves_them(state: StateStore) -> None:
    await accept(state, new_write("alice", fingerprint=OTHERS))
    await seen(state, OTHERS)
    assert await claim(state, fingerprint=MINE) == []
    await age(state, queues.UNSEEN_AFTER_S + 1)
    [held] = await claim(state, fingerprint=MINE)
    assert held.user_id == "alice"


async def test_a_queue_goes_from_one_set_of_credentials_to_the_other_with_its_writes(state: StateStore) -> None:
    mine, theirs = new_write("alice"), new_write("alice", fingerprint=OTHERS)
    for write in (mine, theirs):
        await accept(state, write)
        await seen(state, write.fingerprint)
    assert await claim(state, fingerprint=OTHERS) == []
    [held] = await claim(state, fingerprint=MINE)
    await do(state, writes.finish, held, mine.id, {})
    assert (await do(state, writes.next_or_release, held, MINE, KNOWN))[0] is None
    assert await claim(state, fingerprint=MINE) == []
    [held] = await claim(state, fingerprint=OTHERS)
    found = await head(state, held, fingerprint=OTHERS)
    assert found is not None and found.id == theirs.id


@pytest.mark.parametrize("write", [{"kind": "chunk"}, {"version": 2}])
async def test_what_a_process_does_not_know_is_left_to_a_newer_one(state: StateStore, write: dict[str, Any]) -> None:
    """During a rolling update an old process must neither fail a new kind of write nor go past it."""
    await accept(state, new_write("alice", **write))
    await accept(state, new_write("alice"))
    assert await claim(state) == []
    [held] = await claim(state, known=frozenset({("add", 2), ("chunk", 1)}))
    assert held.user_id == "alice"


async def test_a_clock_that_was_set_back_stops_nobody(state: StateStore) -> None:
    """What was due before is due, and a lease or a delay that ends in the far future was written before."""
    await accept(state, new_write("alice"))
    await accept(state, new_write("bob"))
    [held] = [held for held in await claim(state) if held.user_id == "bob"]
    first = await head(state, held)
    assert first is not None
    await do(state, writes.postpone, held, first.id, attempts=1, delay_s=8.0, code="x", reason="y")
    assert (await do(state, writes.next_or_release, held, MINE, KNOWN))[0] is None
    ahead_s = 30 * 86_400.0
    queue, write = tables.write_queues, tables.writes

    def set_back(conn: sa.Connection) -> None:
        """Setting the database's clock back by a month is the same as moving all its times ahead by one."""
        for column in (queue.c.lease_expires_at, queue.c.waiting_since, write.c.created_at):
            conn.execute(sa.update(column.table).values({column: column + ahead_s}))
        for column in (queue.c.due_at, write.c.next_attempt_at):
            conn.execute(sa.update(column.table).where(column > tables.DUE_NOW).values({column: column + ahead_s}))

    await state.write(set_back)
    claims = await claim(state, owner="worker-2")
    assert sorted(held.user_id for held in claims) == ["alice", "bob"]
    assert all([await head(state, held) for held in claims])


async def test_a_write_sent_again_does_not_count_itself(state: StateStore) -> None:
    write = new_write("alice")
    assert await accept(state, write, most_pending=1)
    assert await accept(state, write, most_pending=1)


async def test_a_delete_all_ends_the_pending_adds_of_its_scope(state: StateStore) -> None:
    of_agent, plain, update = new_write("alice", agent_id="app"), new_write("alice"), new_write("alice", kind="update")
    for write in (of_agent, plain, update, new_write("bob")):
        await accept(state, write)
    [held] = [held for held in await claim(state) if held.user_id == "alice"]
    await do(state, writes.postpone, held, of_agent.id, attempts=1, delay_s=600.0, code="x", reason="y")
    await do(state, queues.hold_and_release, held)

    async def wipe(kinds: list[str], agent_id: str | None) -> int:
        write = new_write("alice", kind="delete_all")

        def accepting(conn: sa.Connection) -> int:
            count = writes.supersede(conn, SCOPE, "alice", kinds, agent_id)
            assert writes.accept(conn, write, 1000)
            return count

        return int(await state.write(accepting))

    assert await wipe(["add"], "app") == 1
    told = await state.read(lambda conn: writes.state_of(conn, SCOPE, of_agent.id))
    assert told is not None and told.status == "superseded"
    assert await wipe(["add", "update"], None) == 2
    [held] = await claim(state)
    first = await head(state, held)
    assert first is not None and first.kind == "delete_all", "it does not wait behind what it made pointless"
    assert await state.read(lambda conn: writes.counts(conn, SCOPE, "alice")) == (2, 0)


async def test_a_superseded_write_cannot_be_finished(state: StateStore) -> None:
    write = new_write("alice")
    await accept(state, write)
    [held] = await claim(state)
    await do(state, writes.supersede, SCOPE, "alice", ["add"], None)
    for function, *args in ((writes.record_plan, {"changes": []}), (writes.finish, {})):
        with pytest.raises(Superseded):
            await do(state, function, held, write.id, *args)
    assert (await do(state, writes.next_or_release, held, MINE, KNOWN))[0] is None


async def test_failed_writes_are_taken_up_by_others_when_nobody_serves_their_credentials(state: StateStore) -> None:
    write = new_write("alice")
    await accept(state, write)
    await seen(state, MINE)
    [held] = await claim(state)
    await do(state, writes.fail, held, write.id, code="service_refused", reason="401", parked=True)
    await do(state, queues.hold_and_release, held)
    assert await state.read(lambda conn: writes.counts(conn, SCOPE, "alice")) == (0, 1)
    assert await do(state, parked.unpark, SCOPE, MINE, KNOWN) == 0
    assert await do(state, parked.unpark, SCOPE, OTHERS, KNOWN) == 0
    await age(state, queues.UNSEEN_AFTER_S + 1)
    assert await do(state, parked.unpark, SCOPE, MINE, KNOWN) == 0, "it failed under these"
    assert await do(state, parked.unpark, SCOPE, OTHERS, KNOWN) == 1
    assert await state.read(lambda conn: writes.counts(conn, SCOPE, "alice")) == (1, 0)
    await seen(state, OTHERS)
    [held] = await claim(state, fingerprint=OTHERS)
    revived = await head(state, held, fingerprint=OTHERS)
    assert revived is not None and revived.id == write.id and revived.payload == dict(write.payload)


async def test_validated_credentials_take_up_their_own_failures_too(state: StateStore) -> None:
    write = new_write("alice")
    await accept(state, write)
    [held] = await claim(state)
    await do(state, writes.fail, held, write.id, code="service_refused", reason="429", parked=True)
    await do(state, queues.hold_and_release, held)
    assert await do(state, parked.unpark, SCOPE, MINE, KNOWN, own=True) == 1


async def test_a_failed_chunk_is_planned_anew_when_it_is_taken_up(state: StateStore) -> None:
    """The memories have changed meanwhile: what was planned then would replace what has been said since."""
    chunk = new_write("alice", kind="chunk", agent_id="app")
    known = frozenset({("chunk", 1)})
    await accept(state, chunk)
    [held] = await claim(state, known=known)
    await do(state, writes.record_plan, held, chunk.id, {"changes": []})
    await do(state, writes.fail, held, chunk.id, code="service_unavailable", reason="down", parked=True)
    await do(state, queues.hold_and_release, held)
    taken_up = await state.write(
        lambda conn: chunks.take_up(conn, SCOPE, "alice", "app", kind="chunk", fingerprint=MINE, task_id="extract_1")
    )
    assert [write_id for write_id, _ in taken_up] == [chunk.id]
    [held] = await claim(state, known=known)
    revived = await head(state, held, known=known)
    assert revived is not None and revived.plan is None and revived.payload["task_id"] == "extract_1"


async def test_taking_up_failed_writes_waits_for_no_queue(database: Database) -> None:
    """Who waits with other queues locked keeps the renewal of their leases from them."""
    state = StateStore(PostgresLocation(database.uri))
    for number in reversed(range(50)):
        await accept(state, new_write(f"user-{number:02}"))
    for held in await claim(state, most=50):
        write = await head(state, held)
        assert write is not None
        await do(state, writes.fail, held, write.id, code="service_refused", reason="401", parked=True)
        await do(state, queues.hold_and_release, held)
    async with await psycopg.AsyncConnection.connect(database.uri) as other:
        await other.execute("SELECT FROM mem0_dify.write_queues WHERE user_id = 'user-07' FOR UPDATE")
        assert await do(state, parked.unpark, SCOPE, OTHERS, KNOWN) == 49
    assert await do(state, parked.unpark, SCOPE, OTHERS, KNOWN) == 1
    await state.close()


async def test_a_delete_all_drops_the_failures_it_supersedes(state: StateStore) -> None:
    failed, wipe, later = new_write("alice"), new_write("alice"), new_write("alice")
    for write in (failed, wipe, later):
        await accept(state, write)
    [held] = await claim(state)
    for write in (failed, later):
        await do(state, writes.fail, held, write.id, code="service_refused", reason="401", parked=True)
    await do(state, erasure.drop_failed_before, held, wipe.id, None)
    assert await state.read(lambda conn: writes.state_of(conn, SCOPE, failed.id)) is None
    assert await state.read(lambda conn: writes.state_of(conn, SCOPE, later.id)) is not None


async def test_purging_takes_old_ended_writes_in_batches(state: StateStore) -> None:
    for _ in range(5):
        write = new_write("alice")
        await accept(state, write)
        [held] = await claim(state)
        await do(state, writes.finish, held, write.id, {})
        await do(state, queues.hold_and_release, held)
    await accept(state, new_write("alice"))
    assert await do(state, writes.purge, older_than_s=3600.0, most=10) == 0
    assert await do(state, writes.purge, older_than_s=-1.0, most=3) == 3
    assert await do(state, writes.purge, older_than_s=-1.0, most=3) == 2
    assert await state.read(lambda conn: writes.counts(conn, SCOPE)) == (1, 0)


async def test_concurrent_accepts_for_one_user_are_all_there_in_commit_order(state: StateStore) -> None:
    accepted = [new_write("alice") for _ in range(40)]
    order: list[str] = []

    async def one(write: writes.NewWrite) -> None:
        await accept(state, write)
        order.append(write.id)

    await asyncio.gather(*(one(write) for write in accepted))
    rows = await state.read(
        lambda conn: conn.execute(sa.select(tables.writes.c.id).order_by(tables.writes.c.seq)).scalars().all()
    )
    assert set(rows) == set(order) and len(rows) == 40


async def test_history_is_recorded_once_per_write_and_purged_per_owner(state: StateStore) -> None:
    now = "2026-01-01T00:00:00+00:00"
    entry = history.Entry("m-1", "ADD", None, "likes tea", now, now, False, agent_id="app")
    for _ in range(2):
        await do(state, history.record, SCOPE, "alice", "write-1", [entry])
    deleted = history.Entry("m-1", "DELETE", "likes tea", None, now, now, True)
    await do(state, history.record, SCOPE, "alice", "write-2", [deleted])
    told, _ = await state.read(lambda conn: history.of_memory(conn, SCOPE, "m-1", "alice", limit=100))
    assert [one.event for one in told] == ["ADD", "DELETE"]
    assert await state.read(lambda conn: history.of_memory(conn, SCOPE, "m-1", "bob", limit=100)) == ([], 0)
    assert await do(state, history.purge, SCOPE, "alice", "app") == 1
    assert await do(state, history.purge, SCOPE, "alice", None) == 1
