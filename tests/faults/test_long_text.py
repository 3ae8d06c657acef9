"""One user's long text keeps nobody else waiting."""

from __future__ import annotations

from playground.stand_in_model import StandInModel
from tests.faults.conftest import Site
from tests.faults.ledger import PostgresLedger


def test_the_longest_message_of_one_user_leaves_the_searches_of_another_in_time(
    postgres_site: Site[PostgresLedger], stand_in_model: StandInModel
) -> None:
    """200,000 full stops; every search has its default time-out."""
    stand_in_model.control.set(verbatim=True)
    plugin = postgres_site.start()
    plugin.accept("bob", "Bob likes tea.")
    plugin.drain("bob")
    stand_in_model.control.script({"memory": [{"event": "ADD", "text": "sends full stops"}]})
    plugin.accept("alice", "." * 200_000)
    while True:
        search = plugin.call("search_memory", user_id="bob", query="tea")
        assert search.status == "SUCCESS", search.envelope
        if plugin.pending("alice") == 0:
            break
    assert plugin.texts("alice") == ["sends full stops"]
