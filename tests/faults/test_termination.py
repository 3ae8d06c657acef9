"""SIGTERM: the process drains for a moment, closes and leaves; the next one carries on."""

from __future__ import annotations

from playground.stand_in_model import StandInModel
from tests.faults.conftest import Site
from tests.faults.ledger import Ledger, wait_until
from tests.plugin import PATIENT_S


def test_an_idle_process_leaves_at_once(site: Site[Ledger]) -> None:
    plugin = site.start()
    plugin.drain("alice")
    assert plugin.process.terminate() == 0


def test_a_call_in_flight_is_answered(site: Site[Ledger], stand_in_model: StandInModel) -> None:
    plugin = site.start()
    plugin.drain("alice")
    assert plugin.call("search_memory", user_id="alice", query="tea", timeout=PATIENT_S).status == "SUCCESS"
    stand_in_model.control.set(embedding_latency_s=1.0)
    asked = stand_in_model.control.counts["embeddings"]
    answer = plugin.submit("search_memory", user_id="alice", query="green tea", timeout=PATIENT_S)
    wait_until(lambda: stand_in_model.control.counts["embeddings"] > asked)
    assert plugin.process.terminate() == 0
    assert answer.result(0).status == "SUCCESS"


def test_a_busy_process_does_not_wait_for_its_model_and_loses_nothing(
    site: Site[Ledger], stand_in_model: StandInModel
) -> None:
    stand_in_model.control.set(verbatim=True, held_endpoints=["chat"])
    plugin = site.start()
    for number in range(5):
        plugin.accept("alice", f"note number {number}")
    assert plugin.process.terminate() == 0, "it would wait for the model for ever"
    stand_in_model.control.set(held_endpoints=[])
    plugin = site.start()
    plugin.drain("alice")
    assert plugin.texts("alice") == [f"note number {number}" for number in range(5)]
