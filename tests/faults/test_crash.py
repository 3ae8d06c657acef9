"""Killed at any moment, the plugin loses no accepted write, doubles none, and keeps each user's order."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter

import pytest

from playground.invocation import PluginDied
from playground.stand_in_model import StandInModel
from tests.faults.conftest import Site
from tests.faults.ledger import Ledger, carried_out
from tests.plugin import Plugin

UNTIL_KILLED = 1_000_000  # writes: more than anybody will see accepted


class Feeder:
    """Users who each write one text after the other, whatever happens to the plugin in between.

    A write whose answer never came may or may not have been accepted; it is not sent again: both outcomes are legal,
    and a doubled one would still show.
    """

    def __init__(self, users: int, text: str) -> None:
        self.accepted: dict[str, list[str]] = {f"user-{number}": [] for number in range(users)}
        self._text = text
        self._numbers = {user_id: iter(range(UNTIL_KILLED)) for user_id in self.accepted}

    def run(self, plugin: Plugin, writes_per_user: int) -> list[threading.Thread]:
        """Feed until each user has so many writes accepted, or until the process dies; the threads to join."""
        threads = [
            threading.Thread(target=self._feed, args=(plugin, user_id, writes_per_user)) for user_id in self.accepted
        ]
        for thread in threads:
            thread.start()
        return threads

    def _feed(self, plugin: Plugin, user_id: str, writes_per_user: int) -> None:
        while len(self.accepted[user_id]) < writes_per_user:
            number = next(self._numbers[user_id])
            text = self._text.format(number=number, before=number - 1)
            try:
                plugin.accept(user_id, text)
            except PluginDied:
                return
            self.accepted[user_id].append(text)


def crash_loop(
    site: Site[Ledger], model: StandInModel, feeder: Feeder, *, kills: int, writes_per_user: int, seed: int
) -> Plugin:
    """Kill the plugin ``kills`` times at random moments while the users write; the process that finished the rest.

    The model is slow at first and fast later. Each process first answers one call: it learns its credentials by it.
    """
    chance = random.Random(seed)
    for kill in range(kills):
        model.control.set(chat_latency_s=0.0 if kill > kills // 2 else 0.2)
        plugin = site.start()
        plugin.pending("user-0")
        threads = feeder.run(plugin, writes_per_user * (kill + 1) // (kills + 1))
        time.sleep(chance.uniform(0.0, 2.5))  # the moment of death is what the seed draws, not something to wait for
        plugin.process.kill()
        for thread in threads:
            thread.join()
    plugin = site.start()
    for thread in feeder.run(plugin, writes_per_user):
        thread.join()
    plugin.drain(*feeder.accepted)
    for user_id in feeder.accepted:
        assert plugin.call("search_memory", user_id=user_id, query="number").envelope["failed_writes"] == 0
    return plugin


def notes_through_kills(
    site: Site[Ledger], model: StandInModel, *, kills: int, writes_per_user: int, seed: int
) -> None:
    """Every accepted note is there, once, and they were carried out in the order they were accepted."""
    model.control.set(verbatim=True)
    feeder = Feeder(users=4, text="note number {number}")
    plugin = crash_loop(site, model, feeder, kills=kills, writes_per_user=writes_per_user, seed=seed)
    for user_id, accepted in feeder.accepted.items():
        stored = Counter(plugin.texts(user_id))
        assert [text for text in accepted if stored[text] == 0] == [], "lost"
        assert [text for text, count in stored.items() if count > 1] == [], "doubled"
        for order in (carried_out(site.ledger, user_id), plugin.texts(user_id)):
            assert [text for text in order if text in set(accepted)] == accepted, "reordered"


def moves_through_kills(
    site: Site[Ledger], model: StandInModel, *, kills: int, writes_per_user: int, seed: int
) -> None:
    """Every move replaces the one before: a memory whose history is a chain, of which the last accepted is the end."""
    feeder = Feeder(users=4, text="I live in town {number}")
    plugin = crash_loop(site, model, feeder, kills=kills, writes_per_user=writes_per_user, seed=seed)
    for user_id, accepted in feeder.accepted.items():
        [home] = plugin.memories(user_id)
        assert home["memory"] == accepted[-1]
        chain = plugin.call("get_memory_history", memory_id=home["id"]).results
        assert [entry["event"] for entry in chain] == ["ADD", *["UPDATE"] * (len(chain) - 1)]
        assert [entry["old_memory"] for entry in chain] == [None, *(entry["new_memory"] for entry in chain[:-1])]
        assert [entry["new_memory"] for entry in chain if entry["new_memory"] in set(accepted)] == accepted


SWAP = "I no longer like snack {before}. I like snack {number}. I live in town {number}."


def swaps_through_kills(
    site: Site[Ledger], model: StandInModel, *, kills: int, writes_per_user: int, seed: int
) -> None:
    """Every write deletes a memory, adds one and updates a third, all of them or none, and once."""
    feeder = Feeder(users=4, text=SWAP)
    plugin = crash_loop(site, model, feeder, kills=kills, writes_per_user=writes_per_user, seed=seed)
    changed = "SELECT write_id, event, old_memory, new_memory FROM mem0_dify_history WHERE user_id = ? ORDER BY seq"
    for user_id, accepted in feeder.accepted.items():
        by_write: dict[str, dict[str, tuple[str | None, str | None]]] = {}
        for write_id, event, old, new in site.ledger.rows(changed, user_id):
            by_write.setdefault(write_id, {})[event] = (old, new)
        first, *others = by_write.values()
        assert list(first) == ["ADD"], "a snack and a town"
        assert [sorted(events) for events in others] == [["ADD", "DELETE", "UPDATE"]] * len(others)
        snacks, towns = [events["ADD"][1] for events in others], [events["UPDATE"][1] for events in others]
        assert [events["DELETE"][0] for events in others[1:]] == snacks[:-1]
        assert [events["UPDATE"][0] for events in others[1:]] == towns[:-1]
        assert [text for text in map(swap_of, towns) if text in accepted] == accepted[1:]
        assert {memory["memory"] for memory in plugin.memories(user_id)} == {snacks[-1], towns[-1]}
        assert swap_of(towns[-1]) == accepted[-1]


def swap_of(town: str | None) -> str:
    """The write that led to a town."""
    number = int(str(town).rpartition(" ")[2])
    return SWAP.format(number=number, before=number - 1)


def test_notes_through_kills_at_random_moments(site: Site[Ledger], stand_in_model: StandInModel) -> None:
    notes_through_kills(site, stand_in_model, kills=3, writes_per_user=16, seed=1)


def test_several_changes_a_write_through_kills_at_random_moments(
    site: Site[Ledger], stand_in_model: StandInModel
) -> None:
    swaps_through_kills(site, stand_in_model, kills=2, writes_per_user=9, seed=2)


@pytest.mark.long
@pytest.mark.parametrize("seed", [3, 4, 5])
def test_three_hundred_notes_through_thirty_kills(site: Site[Ledger], stand_in_model: StandInModel, seed: int) -> None:
    notes_through_kills(site, stand_in_model, kills=30, writes_per_user=75, seed=seed)


@pytest.mark.long
@pytest.mark.parametrize("seed", [6, 7])
def test_three_hundred_moves_through_thirty_kills(site: Site[Ledger], stand_in_model: StandInModel, seed: int) -> None:
    moves_through_kills(site, stand_in_model, kills=30, writes_per_user=75, seed=seed)


@pytest.mark.long
@pytest.mark.parametrize("seed", [8, 9])
def test_three_hundred_writes_of_several_changes_through_thirty_kills(
    site: Site[Ledger], stand_in_model: StandInModel, seed: int
) -> None:
    swaps_through_kills(site, stand_in_model, kills=30, writes_per_user=75, seed=seed)
