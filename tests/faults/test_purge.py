"""A request to erase a person's data: after ``delete_all_memories`` with ``purge_history`` the state store has nothing
of them, and they can begin anew.
"""

from __future__ import annotations

from pathlib import Path

from playground.stand_in_model import StandInModel
from tests.faults.conftest import Site
from tests.faults.ledger import Ledger, SqliteLedger, wait_until
from utils.state import tables

PERSON = "alice-7f3a"


def rows_about(ledger: Ledger, text: str) -> list[str]:
    """Every row of the state store, of whatever table, that holds ``text``."""
    found = []
    for table in tables.metadata.sorted_tables:
        rows = ledger.rows(f"SELECT * FROM mem0_dify_{table.name}")
        found += [f"{table.name}: {row}" for row in rows if text in repr(row)]
    return found


def test_nothing_of_a_person_stays_after_a_purge(site: Site[Ledger], stand_in_model: StandInModel) -> None:
    stand_in_model.control.set(verbatim=True)
    plugin = site.start()
    for text in ("I live in Oslo.", "I like tea."):
        plugin.accept(PERSON, text, run_id=f"{PERSON}-call", metadata='{"of": "someone"}')
    plugin.accept("bob", "I like coffee.")
    plugin.drain(PERSON, "bob")
    stand_in_model.control.set(unauthorised=True)
    plugin.accept(PERSON, "I was born in Bergen.")
    wait_until(lambda: site.ledger.rows("SELECT id FROM mem0_dify_writes WHERE status = ?", "failed"))
    stand_in_model.control.set(unauthorised=False)
    assert rows_about(site.ledger, PERSON)

    assert plugin.call("delete_all_memories", user_id=PERSON, purge_history=True).status == "SUCCESS"
    wait_until(lambda: not rows_about(site.ledger, PERSON))
    assert plugin.memories(PERSON) == []
    assert rows_about(site.ledger, "bob")

    again = plugin.with_credentials(async_mode=False)
    assert again.call("add_memory", user_id=PERSON, user="I like cake.").status == "SUCCESS"
    assert plugin.texts(PERSON) == ["I like cake."]
    wiped = again.call("delete_all_memories", user_id=PERSON, purge_history=True)
    assert wiped.status == "SUCCESS" and "1" in wiped.text
    assert not rows_about(site.ledger, PERSON)


def test_the_state_file_is_its_owners_alone(sqlite_site: Site[SqliteLedger], state_folder: Path) -> None:
    state_folder.mkdir(mode=0o755)  # made by somebody else, open to others
    sqlite_site.start().accept(PERSON, "I like tea.")
    assert {path.stat().st_mode & 0o777 for path in state_folder.iterdir()} == {0o600}
