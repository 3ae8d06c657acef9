"""Reads beyond what the connections can carry are refused; what was accepted is carried out all the same."""

from __future__ import annotations

import json
import threading

from playground.stand_in_model import StandInModel
from tests.faults.conftest import Site
from tests.faults.ledger import PostgresLedger
from tests.plugin import Plugin


def test_a_flood_of_reads_fails_no_accepted_write(
    postgres_site: Site[PostgresLedger], stand_in_model: StandInModel
) -> None:
    stand_in_model.control.set(verbatim=True)
    block = json.loads(postgres_site.credentials["local_vector_db_json_secret"])
    block["config"] |= {"minconn": 1, "maxconn": 2, "pool_max_waiting": 1}
    plugin = postgres_site.start(local_vector_db_json_secret=json.dumps(block))
    for number in range(12):
        plugin.accept("alice", f"note {number}", infer=False)
    plugin.drain("alice")
    ids = [memory["id"] for memory in plugin.memories("alice")]
    over = threading.Event()
    readers = [threading.Thread(target=_search_until, args=(plugin, over)) for _ in range(16)]
    for reader in readers:
        reader.start()
    try:
        for memory_id in ids:
            while plugin.call("delete_memory", memory_id=memory_id).status == "OVERLOAD":
                pass
        while postgres_site.ledger.rows("SELECT FROM mem0_dify_writes WHERE status IN ('pending', 'running')"):
            over.wait(0.05)
    finally:
        over.set()
        for reader in readers:
            reader.join()
    rows = postgres_site.ledger.rows("SELECT status, attempts FROM mem0_dify_writes WHERE kind = 'delete'")
    assert rows == [("done", 0)] * len(ids)
    assert not [line for line in plugin.process.logs if "(overloaded)" in line.message]
    assert plugin.texts("alice") == []


def _search_until(plugin: Plugin, over: threading.Event) -> None:
    while not over.is_set():
        plugin.call("search_memory", user_id="alice", query="note")
