"""A flood of writes: refused past the limit, none of the accepted lost, reads undisturbed."""

from __future__ import annotations

from collections import Counter

from playground.stand_in_model import StandInModel
from tests.faults.conftest import Site
from tests.faults.ledger import Ledger, PostgresLedger, wait_until
from tests.plugin import checked


def test_a_burst_of_a_thousand_adds(site: Site[Ledger], stand_in_model: StandInModel) -> None:
    stand_in_model.control.set(verbatim=True, chat_latency_s=0.2)
    plugin = site.start()
    plugin.drain("user-0")
    calls = [
        plugin.submit("add_memory", user_id=f"user-{number % 20}", user=f"note number {number}")
        for number in range(1000)
    ]
    reads = [plugin.call("search_memory", user_id="user-0", query="note") for _ in range(5)]
    assert [read.status for read in reads] == ["SUCCESS"] * 5
    answers = [checked(call.result()) for call in calls]
    assert Counter(answer.status for answer in answers).keys() == {"SUCCESS", "OVERLOAD"}
    users = [f"user-{number}" for number in range(20)]
    plugin.drain(*users)
    stored = Counter(text for user_id in users for text in plugin.texts(user_id))
    accepted = [f"note number {number}" for number, answer in enumerate(answers) if answer.status == "SUCCESS"]
    assert stored == Counter(accepted)


def test_writes_that_wait_for_a_sick_model_refuse_nobody(
    postgres_site: Site[PostgresLedger], stand_in_model: StandInModel
) -> None:
    """Sixty writes of one user stand behind one that is tried again much later: more than may be pending."""
    stand_in_model.control.set(verbatim=True, failure_share=1.0, failure_kinds=("429",), retry_after_s=3000)
    plugin = postgres_site.start()
    notes = [f"note number {number}" for number in range(60)]
    plugin.accept("alice", notes[0])
    wait_until(lambda: postgres_site.ledger.rows("SELECT attempts FROM mem0_dify_writes")[0][0] >= 1)
    for note in notes[1:]:
        assert plugin.call("add_memory", user_id="alice", user=note).status == "SUCCESS"
    assert plugin.call("add_memory", user_id="bob", user="Bob likes tea.").status == "SUCCESS"
    assert plugin.pending("alice") == len(notes)
    stand_in_model.control.set(failure_share=0.0)
    postgres_site.ledger.make_due()
    plugin.drain("alice", "bob")
    assert (plugin.texts("alice"), plugin.texts("bob")) == (notes, ["Bob likes tea."])


def test_memories_that_are_locked_keep_nobody_from_having_writes_accepted(
    postgres_site: Site[PostgresLedger], stand_in_model: StandInModel
) -> None:
    """Somebody builds an index by hand: changes of the memories wait, and accepting changes none."""
    stand_in_model.control.set(verbatim=True)
    plugin = postgres_site.start()
    plugin.accept("alice", "note", infer=False)
    plugin.drain("alice")
    users = [f"user-{number}" for number in range(15)]
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    with postgres_site.ledger.memories_held():
        for user_id in users[:10]:
            plugin.accept(user_id, "a note", infer=False)
        wait_until(lambda: postgres_site.ledger.rows(waiting)[0][0] >= 6)
        for user_id in users[10:]:
            plugin.accept(user_id, "a note", infer=False)
        assert postgres_site.ledger.rows(waiting)[0][0] >= 6, "they still wait: nobody was let through by a time-out"
    plugin.drain(*users)
    assert all(plugin.texts(user_id) == ["a note"] for user_id in users)
