"""A process or a database that stands still without dying: nobody else waits for it, and nothing is done twice."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psutil
import psycopg

from playground.credentials import Endpoint, credential_set, pgvector_block
from playground.dify_host import PluginProcess
from playground.postgres import PostgresServer
from playground.stand_in_model import StandInModel
from tests.faults.conftest import Site
from tests.faults.ledger import PostgresLedger, carried_out, wait_until
from tests.plugin import Plugin, checked

STATE_WAITS_FOR_A_LOCK = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
    " AND wait_event_type = 'Lock' AND position('write_queues' IN query) > 0"
)
STATE_IS_IN_A_TRANSACTION = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state = 'idle in transaction'"
)


def test_a_process_stopped_inside_a_transaction_keeps_nobody_waiting(
    postgres_site: Site[PostgresLedger], stand_in_model: StandInModel
) -> None:
    """Its transaction holds the lock on the user's queue; the database ends it, and with it the lock."""
    stand_in_model.control.set(verbatim=True, chat_latency_s=0.5)
    stopped, other = postgres_site.start(), postgres_site.start()
    other.drain("alice")
    stopped.accept("alice", "one")
    wait_until(lambda: stand_in_model.control.counts["chat"] == 1)
    try:
        with psycopg.connect(postgres_site.ledger.uri) as blocker:
            blocker.execute("SELECT 1 FROM mem0_dify.write_queues FOR UPDATE")
            wait_until(lambda: postgres_site.ledger.rows(STATE_WAITS_FOR_A_LOCK)[0][0] >= 1)
            stopped.process.signal(signal.SIGSTOP)
        wait_until(lambda: postgres_site.ledger.rows(STATE_IS_IN_A_TRANSACTION)[0][0] == 1)
        accepted = checked(other.submit("add_memory", user_id="alice", user="two", timeout=8).result(60))
        assert accepted.status == "SUCCESS", accepted.envelope
        other.drain("alice")
    finally:
        stopped.process.signal(signal.SIGCONT)
    assert other.texts("alice") == ["one", "two"]
    assert carried_out(postgres_site.ledger, "alice") == ["one", "two"]


@contextmanager
def frozen(server: PostgresServer) -> Iterator[None]:
    """Stop every process of the server where it stands: no answer and no refusal, as behind a broken network."""
    main = next(one for one in psutil.process_iter() if _serves(one, server))
    processes = [main, *main.children(recursive=True)]
    for process in processes:
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
    with frozen(own_postgres):
        waiting = [plugin.submit(tool, **parameters, timeout=2) for tool, parameters in calls]
        for call in waiting:
            answer = checked(call.result(60))
            assert answer.status in {"TIMEOUT", "ERROR"} and answer.elapsed_s <= 2 + 1, answer

    wait_until(lambda: plugin.pending("alice") == 0)
    plugin.accept("alice", "four")
    plugin.drain("alice")
    assert [text for text in plugin.texts("alice") if text != "perhaps"] == [*texts, "four"]
    assert plugin.texts("alice").count("perhaps") <= 1
