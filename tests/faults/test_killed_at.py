"""Killed at a certain moment: right after an ACCEPT, between a plan and its changes, in the middle of a delete_all."""

from __future__ import annotations

import psycopg

from playground.stand_in_model import StandInModel
from tests.faults.conftest import Site
from tests.faults.ledger import Ledger, PostgresLedger, planned, wait_until


def test_killed_right_after_twenty_accepts(site: Site[Ledger], stand_in_model: StandInModel) -> None:
    stand_in_model.control.set(verbatim=True, held_endpoints=["chat"])
    plugin = site.start()
    texts = [f"note number {number}" for number in range(20)]
    for text in texts:
        plugin.accept("alice", text)
    plugin.process.kill()
    stand_in_model.control.set(held_endpoints=[])
    plugin = site.start()
    plugin.drain("alice")
    assert sorted(plugin.texts("alice")) == sorted(texts)


def test_a_committed_plan_is_applied_again_without_asking_the_model(
    postgres_site: Site[PostgresLedger], stand_in_model: StandInModel
) -> None:
    plugin = postgres_site.start()
    plugin.accept("alice", "I like tea.")
    plugin.drain("alice")
    with postgres_site.ledger.memories_held():
        plugin.accept("alice", "I live in Oslo.")
        wait_until(lambda: planned(postgres_site.ledger) == 1)
        asked = stand_in_model.control.counts["chat"]
        plugin.process.kill()
    plugin = postgres_site.start()
    plugin.drain("alice")
    assert sorted(plugin.texts("alice")) == ["I like tea", "I live in Oslo"]
    assert stand_in_model.control.counts["chat"] == asked


def test_a_delete_all_that_was_killed_is_finished_with_the_true_count(
    postgres_site: Site[PostgresLedger], stand_in_model: StandInModel
) -> None:
    plugin = postgres_site.start()
    plugin.accept("alice", "I like tea.", infer=False)
    plugin.accept("bob", "I like coffee.", infer=False)
    plugin.drain("alice", "bob")
    with psycopg.connect(postgres_site.ledger.uri) as connection:
        connection.execute(
            "INSERT INTO mem0 SELECT gen_random_uuid(), vector, payload FROM mem0, generate_series(1, 1249)"
            " WHERE payload ->> 'user_id' = 'alice'"
        )
    write_id = plugin.call("delete_all_memories", user_id="alice").envelope["write_id"]
    gone = "SELECT count(*) FROM mem0_dify_history WHERE write_id = ?"
    wait_until(lambda: postgres_site.ledger.rows(gone, write_id)[0][0] >= 200)
    plugin.process.kill()
    plugin = postgres_site.start()
    plugin.drain("alice")
    assert (plugin.texts("alice"), plugin.texts("bob")) == ([], ["I like coffee."])
    [(result,)] = postgres_site.ledger.rows("SELECT result FROM mem0_dify_writes WHERE id = ?", write_id)
    assert result == {"count": 1250}
    assert stand_in_model.control.counts["chat"] == 0
