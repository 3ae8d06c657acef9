"""SIGTERM: the process drains for a moment, closes and leaves; the next one carries on."""

from __future__ import annotations

from playground.stand_in_model import StandInModel
from tests.faults.conftest import Site
from tests.faults.ledger import DEADLINE_S, Ledger, wait_until
from tests.plugin import TRIES, Plugin


def test_an_idle_process_leaves_at_once(site: Site[Ledger]) -> None:
    plugin = site.start()
    plugin.drain("alice")
    assert plugin.process.terminate() == 0


def test_a_call_in_flight_is_answered(site: Site[Ledger], stand_in_model: StandInModel) -> None:
    """It has three seconds. The machine may be busy with something else, so the best of a few processes counts."""
    assert any(answered_before_the_end(site.start(), stand_in_model) for _ in range(TRIES))


def answered_before_the_end(plugin: Plugin, model: StandInModel) -> bool:
    """Whether a search that asks the model when SIGTERM comes is answered."""
    model.control.set(embedding_latency_s=0.0)
    assert plugin.call("search_memory", user_id="alice", query="tea").status == "SUCCESS"
    model.control.set(embedding_latency_s=1.0)
    asked = model.control.counts["embeddings"]
    answer = plugin.submit("search_memory", user_id="alice", query="green tea")
    wait_until(lambda: model.control.counts["embeddings"] > asked)
    assert plugin.process.terminate() == 0
    return answer.exception(0) is None and answer.result(0).status == "SUCCESS"


def test_every_call_whose_outcome_was_logged_before_the_end_is_answered(site: Site[Ledger]) -> None:
    """The line about a call stands before its answer."""
    plugin = site.start()
    plugin.drain("alice")

    def said() -> int:
        return sum(line.message.startswith("GetAllMemories ") for line in plugin.process.logs)

    before = said()
    answers = [plugin.submit("get_all_memories", user_id="alice") for _ in range(40)]
    wait_until(lambda: any(answer.done() for answer in answers), every_s=0.001)
    assert plugin.process.terminate() == 0
    assert sum(answer.exception(DEADLINE_S) is None for answer in answers) == said() - before > 0


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
