"""Several plugin processes over one PostgreSQL: each user's writes are carried out once, in order, whoever dies."""

from __future__ import annotations

import random
import threading
from collections import Counter
from typing import Any

import pytest

from playground.invocation import PluginDied
from playground.stand_in_model import StandInModel
from tests.faults.conftest import Site
from tests.faults.ledger import PostgresLedger, carried_out
from tests.faults.test_model_faults import with_config
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


def test_sets_that_differ_in_store_and_model_never_meet(
    postgres_site: Site[PostgresLedger], stand_in_model: StandInModel
) -> None:
    """The same users and one state store, two processes of which one dies: a text reaches only its own set's model and
    collection.
    """
    users, names = range(3), ("quokka", "axolotl")
    with StandInModel() as second_model:
        models = dict(zip(names, (stand_in_model, second_model), strict=True))
        processes = [postgres_site.start_process() for _ in range(2)]
        credentials = {name: of_its_own(postgres_site.credentials, name, models[name]) for name in names}
        accepted: dict[tuple[str, int], list[str]] = {(name, user): [] for name in names for user in users}
        for number in range(12):
            if number == 8:  # what it has in work is taken over by the other, under the same credentials
                processes.pop(0).kill()
            for (name, user), texts in accepted.items():
                text = f"I saw the {name} number {number}"
                Plugin(processes[number % len(processes)], credentials[name]).accept(f"user-{user}", text)
                texts.append(text)
        for (name, user), texts in accepted.items():
            plugin = Plugin(processes[0], credentials[name])
            plugin.drain(f"user-{user}")
            assert plugin.texts(f"user-{user}") == texts
        for name, stranger in (names, names[::-1]):
            assert name in str(models[name].control.prompts) and stranger not in str(models[name].control.prompts)


def of_its_own(credentials: dict[str, Any], collection: str, model: StandInModel) -> dict[str, Any]:
    """The credentials with another model and another collection beside the same state."""
    model.control.set(verbatim=True, chat_latency_s=0.05)
    asked = {
        name: with_config(credentials[name], openai_base_url=model.base_url)
        for name in ("local_llm_json_secret", "local_embedder_json_secret")
    }
    store = with_config(credentials["local_vector_db_json_secret"], collection_name=collection)
    return {**credentials, **asked, "local_vector_db_json_secret": store}


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
