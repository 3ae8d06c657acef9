"""SIGTERM: the process drains for a moment, closes and leaves; the next one carries on."""

from __future__ import annotations

from playground.stand_in_model import StandInModel
from tests.faults.conftest import Site
from tests.faults.ledger import Ledger, wait_until


def test_an_idle_process_leaves_at_once(site: Site[Ledger]) -> None:
    plugin = site.start()
    plugin.drain("alice")
    assert plugin.process.terminate(timeout_s=5) == 0


def test_a_call_in_flight_is_answered(site: Site[Ledger], stand_in_model: StandInModel) -> None:
    plugin = site.start()
    plugin.drain("alice")
    assert plugin.call("search_memory", user_id="alice", query="tea", timeout=60).status == "SUCCESS"
    stand_in_model.control.set(embedding_latency_s=1.0)
    asked = stand_in_model.control.counts["embeddings"]
    answer = plugin.submit("search_memory", user_id="alice", query="tea")
    wait_until(lambda: stand_in_model.control.counts["embeddings"] > asked)
    assert plugin.process.terminate(timeout_s=6) == 0
    assert answer.result(0).status == "SUCCESS"


def test_a_busy_process_leaves_within_its_time_and_loses_nothing(
    site: Site[Ledger], stand_in_model: StandInModel
) -> None:
    stand_in_model.control.set(verbatim=True, chat_latency_s=20.0)
    plugin = site.start()
    for number in range(5):
        plugin.accept("alice", f"note number {number}")
    assert plugin.process.terminate(timeout_s=6) == 0
    stand_in_model.control.set(chat_latency_s=0.0)
    plugin = site.start()
    plugin.drain("alice")
    assert plugin.texts("alice") == [f"note number {number}" for number in range(5)]
