"""Several plugin processes over one PostgreSQL: each user's writes are carried out once, in order, whoever dies."""

from __future__ import annotations

import random
import threading
from collections import Counter

import pytest

from playground.invocation import PluginDied
from playground.stand_in_model import StandInModel
from tests.faults.conftest import Site
from tests.faults.ledger import PostgresLedger, carried_out
from tests.plugin import Plugin


def race(
    site: Site[PostgresLedger], model: StandInModel, *, processes: int, users: int, writes: int, deaths: int, seed: int
) -> None:
    """``users`` write ``writes`` memories through all processes in turn, of which ``deaths`` are killed on the way."""
    chance = random.Random(seed)
    model.control.set(verbatim=True, chat_latency_s=0.02)
    plugins = [site.start() for _ in range(processes)]
    victims = {(number + 1) * writes // (deaths + 1): plugins[number] for number in range(deaths)}
    accepted: dict[str, list[str]] = {f"user-{number}": [] for number in range(users)}
    numbers = iter(range(1_000_000))
    lock = threading.Lock()

    def feed(user_id: str) -> None:
        while True:
            with lock:
                number = next(numbers)
                if number >= writes:
                    return
                if number in victims:
                    victims[number].process.kill()
                plugin = chance.choice([one for one in plugins if one.process.alive])
            text = f"{user_id} remembers number {number}"
            try:
                plugin.accept(user_id, text)
            except PluginDied:
                continue  # accepted or not: nobody promised anything
            accepted[user_id].append(text)

    threads = [threading.Thread(target=feed, args=(user_id,)) for user_id in accepted]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    survivor = next(one for one in plugins if one.process.alive)
    survivor.drain(*accepted)
    for user_id, texts in accepted.items():
        stored = Counter(survivor.texts(user_id))
        assert [text for text in texts if stored[text] != 1] == [], "lost or doubled"
        order = carried_out(site.ledger, user_id)
        assert [text for text in order if text in set(texts)] == texts, "reordered"


def test_three_processes_of_which_one_dies(postgres_site: Site[PostgresLedger], stand_in_model: StandInModel) -> None:
    race(postgres_site, stand_in_model, processes=3, users=10, writes=150, deaths=1, seed=3)


@pytest.mark.long
def test_four_processes_of_which_two_die(postgres_site: Site[PostgresLedger], stand_in_model: StandInModel) -> None:
    race(postgres_site, stand_in_model, processes=4, users=50, writes=2000, deaths=2, seed=4)


@pytest.mark.parametrize("infer", [True, False])
def test_two_identical_adds_at_once_leave_one_memory(
    postgres_site: Site[PostgresLedger], stand_in_model: StandInModel, infer: bool
) -> None:
    plugins: list[Plugin] = [postgres_site.start(), postgres_site.start()]
    for plugin in plugins:
        plugin.drain("alice")  # both have started by now
    answers = [plugin.submit("add_memory", user_id="alice", user="I like tea", infer=infer) for plugin in plugins * 2]
    assert [answer.result().status for answer in answers] == ["SUCCESS"] * 4
    plugins[0].drain("alice")
    assert plugins[0].texts("alice") == ["I like tea"]
