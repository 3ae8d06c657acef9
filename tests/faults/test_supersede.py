"""What a failing add keeps waiting: nobody's deletion, and no caller for long."""

from __future__ import annotations

from typing import Any, Final

from playground.stand_in_model import StandInModel
from tests.faults.conftest import Site
from tests.faults.ledger import Ledger, PostgresLedger, wait_until
from tests.faults.test_model_faults import with_config

# A model that asks to be left alone for fifty minutes: what fails now is not tried again while a test runs.
MUCH_LATER: Final[dict[str, Any]] = {
    "failure_share": 1.0,
    "failure_kinds": ("429",),
    "failing_endpoints": ["chat"],
    "retry_after_s": 3000,
}


def test_a_delete_all_does_not_wait_behind_a_failing_add_and_nothing_of_it_is_sent_any_more(
    site: Site[Ledger], stand_in_model: StandInModel
) -> None:
    stand_in_model.control.set(verbatim=True)
    plugin = site.start()
    plugin.accept("alice", "Alice likes tea.", infer=False)
    plugin.drain("alice")
    stand_in_model.control.set(failure_share=1.0, failure_kinds=("500",), failing_endpoints=["chat"])
    secret = plugin.accept("alice", "Forget that I said this.")
    behind = plugin.accept("alice", "And this.")
    attempts = "SELECT attempts FROM mem0_dify_writes WHERE id = ?"
    wait_until(lambda: site.ledger.rows(attempts, secret)[0][0] >= 2)
    wiped = plugin.call("delete_all_memories", user_id="alice")
    assert wiped.status == "SUCCESS"
    asked = stand_in_model.control.counts["chat"]
    plugin.drain("alice")
    stand_in_model.control.set(failure_share=0.0)
    plugin.accept("alice", "Alice likes coffee.")
    plugin.drain("alice")
    assert plugin.texts("alice") == ["Alice likes coffee."]
    assert stand_in_model.control.counts["chat"] == asked + 1
    for write_id in (secret, behind):
        [(status, payload)] = site.ledger.rows("SELECT status, payload FROM mem0_dify_writes WHERE id = ?", write_id)
        assert (status, payload) == ("superseded", None)


def test_a_synchronous_caller_is_told_soon_and_nothing_is_done_afterwards(
    site: Site[Ledger], stand_in_model: StandInModel
) -> None:
    stand_in_model.control.set(verbatim=True, failure_share=1.0, failure_kinds=("500",), failing_endpoints=["chat"])
    plugin = site.start(async_mode=False)
    answer = plugin.call("add_memory", user_id="alice", user="Alice likes tea.")
    assert answer.status == "ERROR" and answer.results == [] and answer.envelope["write_id"]
    [(status, parked)] = site.ledger.rows("SELECT status, parked FROM mem0_dify_writes")
    assert status == "failed" and not parked
    stand_in_model.control.set(failure_share=0.0)
    assert plugin.process.validate(plugin.credentials).error is None
    assert plugin.call("search_memory", user_id="alice", query="tea").results == []
    assert plugin.call("add_memory", user_id="alice", user="Alice likes cake.").status == "SUCCESS"
    assert plugin.texts("alice") == ["Alice likes cake."]


def test_a_delete_all_that_is_refused_ends_nothing(
    postgres_site: Site[PostgresLedger], stand_in_model: StandInModel
) -> None:
    """Alice's add waits for its next attempt, so it does not count; Bob's fill the lane."""
    stand_in_model.control.set(verbatim=True, **MUCH_LATER)
    plugin = postgres_site.start(max_concurrent_memory_operations=1)
    first = plugin.accept("alice", "Alice likes tea.")
    attempts = "SELECT attempts FROM mem0_dify_writes WHERE id = ?"
    wait_until(lambda: postgres_site.ledger.rows(attempts, first)[0][0] == 1)
    stand_in_model.control.set(failure_share=0.0, held_endpoints=["chat"])
    for number in range(2):
        plugin.accept("bob", f"Bob likes coffee {number}.")
    assert plugin.call("delete_all_memories", user_id="alice").status == "OVERLOAD"
    assert postgres_site.ledger.rows("SELECT status FROM mem0_dify_writes WHERE id = ?", first) == [("pending",)]


def test_a_synchronous_caller_waits_for_one_request_of_a_model_that_hangs_and_not_for_its_retries(
    postgres_site: Site[PostgresLedger], stand_in_model: StandInModel
) -> None:
    """The SDK would ask three times, and the queue twice."""
    stand_in_model.control.set(failure_share=1.0, failure_kinds=("hang",), failing_endpoints=["chat"])
    block = with_config(postgres_site.credentials["local_llm_json_secret"], timeout=3)
    plugin = postgres_site.start(async_mode=False, local_llm_json_secret=block)
    answer = plugin.call("add_memory", user_id="alice", user="Alice likes tea.")
    assert answer.status == "ERROR" and "3 seconds" in answer.envelope["messages"]
    assert stand_in_model.control.counts["chat"] <= 2
    assert postgres_site.ledger.rows("SELECT status, parked FROM mem0_dify_writes") in (
        [("failed", False)],
        [("failed", 0)],
    )


def test_a_synchronous_caller_does_not_wait_through_anothers_retries(
    postgres_site: Site[PostgresLedger], stand_in_model: StandInModel
) -> None:
    stand_in_model.control.set(verbatim=True, **MUCH_LATER)
    plugin = postgres_site.start()
    first = plugin.accept("alice", "Alice likes tea.")
    attempts = "SELECT attempts FROM mem0_dify_writes WHERE id = ?"
    wait_until(lambda: postgres_site.ledger.rows(attempts, first)[0][0] == 1)
    waiting = plugin.with_credentials(async_mode=False)
    answer = waiting.call("add_memory", user_id="alice", user="Alice likes cake.", infer=False)
    assert answer.status == "ERROR" and answer.envelope["write_id"] != first
    assert postgres_site.ledger.rows(attempts, first)[0][0] == 2, "the one before it was tried at once"
    stand_in_model.control.set(failure_share=0.0)
    assert waiting.call("add_memory", user_id="alice", user="Alice likes pie.", infer=False).status == "SUCCESS"
    assert plugin.texts("alice") == ["Alice likes tea.", "Alice likes pie."]
