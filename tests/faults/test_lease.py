"""A write that takes longer than one lease is carried out once, by the one worker that has it."""

from __future__ import annotations

from playground.stand_in_model import StandInModel
from tests.faults.conftest import Site
from tests.faults.ledger import PostgresLedger, carried_out, wait_until
from tests.faults.test_stall import lost_leases
from utils.queue.lease import LEASE_S


def test_a_model_call_longer_than_a_lease_is_made_once_with_another_process_waiting(
    postgres_site: Site[PostgresLedger], stand_in_model: StandInModel
) -> None:
    """The lease is renewed while the model is waited for: in the database, and as its holder counts it."""
    stand_in_model.control.set(verbatim=True, chat_latency_s=1.5 * LEASE_S)
    working, other = postgres_site.start(), postgres_site.start()
    for plugin in (working, other):
        plugin.drain("alice")
    working.accept("alice", "I like tea.")
    asked = stand_in_model.control.counts
    token = "SELECT token FROM mem0_dify_write_queues WHERE user_id = 'alice'"
    wait_until(lambda: asked["chat"] == 1)
    first = postgres_site.ledger.rows(token)
    wait_until(lambda: asked["chat"] > 1 or working.pending("alice") == 0)
    assert asked["chat"] == 1
    assert other.texts("alice") == carried_out(postgres_site.ledger, "alice") == ["I like tea."]
    assert postgres_site.ledger.rows(token) == first, "one lease, from the beginning to the end"
    assert lost_leases(working) == lost_leases(other) == 0
