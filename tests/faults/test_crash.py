"""Killed at any moment, the plugin loses no accepted write, doubles none, and keeps each user's order."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter

import psycopg
import pytest

from playground.invocation import PluginDied
from playground.stand_in_model import StandInModel
from tests.faults.conftest import Site
from tests.faults.ledger import Ledger, PostgresLedger, carried_out, planned, wait_until
from tests.plugin import Plugin


class Feeder:
    """Users who each write their memories one after the other, whatever happens to the plugin in between.

    A write whose answer never came may or may not have been accepted; it is sent again under another number, so that
    both outcomes are legal and a doubled one would still show.
    """

    def __init__(self, users: int, writes_per_user: int) -> None:
        self.accepted: dict[str, list[str]] = {f"user-{number}": [] for number in range(users)}
        self._writes_per_user = writes_per_user
        self._numbers = {user_id: iter(range(1_000_000)) for user_id in self.accepted}
        self.first_accept = threading.Event()

    @property
    def finished(self) -> bool:
        return all(len(texts) >= self._writes_per_user for texts in self.accepted.values())

    def run(self, plugin: Plugin) -> list[threading.Thread]:
        """Feed until done or until the process dies; the threads to join."""
        self.first_accept.clear()
        threads = [threading.Thread(target=self._feed, args=(plugin, user_id)) for user_id in self.accepted]
        for thread in threads:
            thread.start()
        return threads

    def _feed(self, plugin: Plugin, user_id: str) -> None:
        while len(self.accepted[user_id]) < self._writes_per_user:
            text = f"{user_id} remembers number {next(self._numbers[user_id])}"
            try:
                plugin.accept(user_id, text)
            except PluginDied:
                return
            self.accepted[user_id].append(text)
            self.first_accept.set()


def check(site: Site[Ledger], plugin: Plugin, feeder: Feeder) -> None:
    """None lost, none doubled, carried out in the order they were accepted."""
    plugin.drain(*feeder.accepted, timeout_s=300)
    for user_id, accepted in feeder.accepted.items():
        stored = Counter(plugin.texts(user_id))
        assert [text for text in accepted if stored[text] == 0] == [], "lost"
        assert [text for text, count in stored.items() if count > 1] == [], "doubled"
        order = carried_out(site.ledger, user_id)
        assert [text for text in order if text in set(accepted)] == accepted, "reordered"
        assert plugin.call("search_memory", user_id=user_id, query="number").envelope["failed_writes"] == 0


def crash_loop(site: Site[Ledger], model: StandInModel, *, kills: int, writes_per_user: int, seed: int) -> None:
    """Kill the plugin ``kills`` times at random moments while four users write; then let it finish and look."""
    chance = random.Random(seed)
    feeder = Feeder(users=4, writes_per_user=writes_per_user)
    model.control.set(verbatim=True, chat_latency_s=0.3)
    for kill in range(kills):
        plugin = site.start()
        threads = feeder.run(plugin)
        if not feeder.finished:
            feeder.first_accept.wait(60)
        time.sleep(chance.uniform(0.0, 1.5))  # the moment of death is what the seed draws, not something to wait for
        plugin.process.kill()
        for thread in threads:
            thread.join()
        if kill >= kills // 2:
            model.control.set(chat_latency_s=0.0)
    plugin = site.start()
    for thread in feeder.run(plugin):
        thread.join()
    assert feeder.finished
    check(site, plugin, feeder)


def test_kills_at_random_moments(site: Site[Ledger], stand_in_model: StandInModel) -> None:
    crash_loop(site, stand_in_model, kills=6, writes_per_user=20, seed=1)


@pytest.mark.long
def test_thirty_kills_while_three_hundred_memories_are_written(
    site: Site[Ledger], stand_in_model: StandInModel
) -> None:
    crash_loop(site, stand_in_model, kills=30, writes_per_user=75, seed=2)


def test_killed_right_after_twenty_accepts(site: Site[Ledger], stand_in_model: StandInModel) -> None:
    stand_in_model.control.set(verbatim=True, chat_latency_s=2.0)
    plugin = site.start()
    texts = [f"note number {number}" for number in range(20)]
    for text in texts:
        plugin.accept("alice", text)
    plugin.process.kill()
    stand_in_model.control.set(chat_latency_s=0.0)
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
