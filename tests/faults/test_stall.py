"""A process or a database that stands still without dying: nobody else waits for it, and nothing is done twice."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import psutil
import psycopg

from playground.credentials import Endpoint, credential_set, pgvector_block
from playground.dify_host import PluginProcess
from playground.postgres import PostgresServer
from playground.stand_in_model import StandInModel
from tests.faults.conftest import Site
from tests.faults.ledger import DEADLINE_S, PostgresLedger, carried_out, planned, wait_until
from tests.plugin import Plugin

END_WAITS_FOR_A_LOCK = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
    " AND wait_event_type = 'Lock' AND position('INSERT INTO mem0_dify.history' IN query) = 1"
)


def test_a_process_stopped_inside_a_transaction_keeps_nobody_waiting(
    postgres_site: Site[PostgresLedger], stand_in_model: StandInModel
) -> None:
    """The one that ends a write holds the lock on the user's queue; the database ends it, and with it the lock.

    The history is locked before there is anything to write down in it: the end of the write cannot slip past.
    """
    stand_in_model.control.set(verbatim=True)
    stopped, other = postgres_site.start(), postgres_site.start()
    for plugin in (stopped, other):
        plugin.drain("alice")
    try:
        with psycopg.connect(postgres_site.ledger.uri) as blocker:
            blocker.execute("LOCK TABLE mem0_dify.history IN ACCESS EXCLUSIVE MODE")
            stopped.accept("alice", "one")
            wait_until(lambda: postgres_site.ledger.rows(END_WAITS_FOR_A_LOCK)[0][0] == 1)
            stopped.process.signal(signal.SIGSTOP)
        # Its statement is answered now, and it does not go on: the transaction stays open.
        assert other.accept("alice", "two")
        other.drain("alice")
    finally:
        stopped.process.signal(signal.SIGCONT)
    assert other.texts("alice") == ["one", "two"]
    assert carried_out(postgres_site.ledger, "alice") == ["one", "two"]


def test_a_stopped_process_finds_its_leases_lost_when_it_goes_on(
    postgres_site: Site[PostgresLedger], stand_in_model: StandInModel
) -> None:
    """Alice's model call is answered meanwhile: her plan is refused. Bob's still waits: the renewal finds it out."""
    chat = stand_in_model.control.counts
    stand_in_model.control.set(verbatim=True, held_endpoints=["chat"])
    stopped = postgres_site.start()
    stopped.drain("alice")
    for user_id, latency_s, asked in (("alice", 0.0, 1), ("bob", 3600.0, 2)):
        stand_in_model.control.set(chat_latency_s=latency_s)
        stopped.accept(user_id, f"{user_id} likes tea.")
        wait_until(lambda asked=asked: chat["chat"] == asked)  # type: ignore[misc]
    stopped.process.signal(signal.SIGSTOP)
    try:
        stand_in_model.control.set(chat_latency_s=0.0, held_endpoints=[])
        other = postgres_site.start()
        other.drain("alice", "bob")
    finally:
        stopped.process.signal(signal.SIGCONT)
    stopped.process.wait_until(lambda: lost_leases(stopped) == 2, DEADLINE_S)
    for user_id in ("alice", "bob"):
        assert other.texts(user_id) == [f"{user_id} likes tea."]
        assert carried_out(postgres_site.ledger, user_id) == [f"{user_id} likes tea."]
    stopped.accept("bob", "bob likes coffee.")
    stopped.drain("bob")
    assert other.texts("bob") == ["bob likes tea.", "bob likes coffee."]


SLOW_STATE = """
CREATE FUNCTION mem0_dify.wait_at_commit() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN PERFORM pg_advisory_xact_lock_shared(1); RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER wait_at_commit AFTER UPDATE ON mem0_dify.writes DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW WHEN (OLD.plan IS NULL AND NEW.plan IS NOT NULL) EXECUTE FUNCTION mem0_dify.wait_at_commit();
CREATE FUNCTION mem0_dify.dawdle() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN PERFORM pg_sleep(0.2); RETURN NULL; END $$;
CREATE TRIGGER dawdle BEFORE UPDATE ON mem0_dify.write_queues FOR EACH STATEMENT EXECUTE FUNCTION mem0_dify.dawdle();
"""
COMMIT_IS_WAITING = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"


def test_a_process_stopped_between_its_plan_and_the_change_makes_no_change_any_more(
    postgres_site: Site[PostgresLedger],
) -> None:
    """The last moment: the plan is committed, the process stands still, and another one has long gone on."""
    stopped, other = postgres_site.start(), postgres_site.start()
    stopped.accept("alice", "version 0", infer=False)
    stopped.drain("alice")
    other.drain("alice")
    [memory] = stopped.memories("alice")
    try:
        with psycopg.connect(postgres_site.ledger.uri, autocommit=True) as blocker:
            blocker.execute(SLOW_STATE)
            blocker.execute("SELECT pg_advisory_lock(1)")
            stopped.call("update_memory", memory_id=memory["id"], text="version 1")
            wait_until(lambda: postgres_site.ledger.rows(COMMIT_IS_WAITING)[0][0] == 1)
            stopped.process.signal(signal.SIGSTOP)
        wait_until(lambda: planned(postgres_site.ledger) == 1)
        other.call("update_memory", memory_id=memory["id"], text="version 2")
        other.drain("alice")
    finally:
        stopped.process.signal(signal.SIGCONT)
    stopped.process.wait_until(lambda: lost_leases(stopped) == 1, DEADLINE_S)
    assert other.texts("alice") == ["version 2"]
    assert carried_out(postgres_site.ledger, "alice") == ["version 0", "version 1", "version 2"]


def lost_leases(plugin: Plugin) -> int:
    return sum("lease was lost" in line.message for line in plugin.process.logs)


@contextmanager
def frozen(server: PostgresServer) -> Iterator[None]:
    """Stop every process of the server where it stands: no answer and no refusal, as behind a broken network."""
    main = next(one for one in psutil.process_iter() if _serves(one, server))
    main.suspend()  # before its children are counted: it makes no more of them
    processes = [main, *main.children(recursive=True)]
    for process in processes[1:]:
        process.suspend()
    try:
        yield
    finally:
        for process in processes:
            process.resume()


def _serves(process: psutil.Process, server: PostgresServer) -> bool:
    try:
        return str(server.folder / "cluster") in process.cmdline()
    except psutil.Error:
        return False


def test_a_database_that_does_not_answer_is_not_waited_for(
    own_postgres: PostgresServer, stand_in_model: StandInModel, plugin_process: Callable[..., PluginProcess]
) -> None:
    stand_in_model.control.set(verbatim=True)
    database = own_postgres.create_database("stall")
    plugin = Plugin(plugin_process(), credential_set(Endpoint(stand_in_model.base_url), pgvector_block(database)))
    texts = ["one", "two", "three"]
    for text in texts:
        plugin.accept("alice", text)
    plugin.drain("alice")

    calls: list[tuple[str, dict[str, Any]]] = [
        ("search_memory", {"user_id": "alice", "query": "one"}),
        ("get_all_memories", {"user_id": "alice"}),
        ("add_memory", {"user_id": "alice", "user": "perhaps"}),
        ("get_memory", {"memory_id": "00000000-0000-4000-8000-000000000000"}),
        ("delete_all_memories", {"user_id": "bob"}),
    ]
    with frozen(own_postgres), ThreadPoolExecutor(len(calls)) as callers:
        for answer in callers.map(lambda call: plugin.call_in_time(call[0], 2, **call[1]), calls):
            assert answer.status in {"TIMEOUT", "ERROR"}, answer

    wait_until(lambda: plugin.pending("alice") == 0)
    plugin.accept("alice", "four")
    plugin.drain("alice")
    assert [text for text in plugin.texts("alice") if text != "perhaps"] == [*texts, "four"]
    assert plugin.texts("alice").count("perhaps") <= 1
