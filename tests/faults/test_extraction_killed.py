"""Extraction, killed at any moment and begun by two at once: every message is read once, every fact stored once."""

from __future__ import annotations

import random
import re
import time
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import pytest

from playground.dify_app import History, StandInDify
from playground.stand_in_model import StandInModel
from tests.faults.conftest import Site
from tests.faults.ledger import Ledger
from tests.plugin import Plugin
from utils.extraction.request import range_before

APP = "support-app"
_WORD = re.compile(r"hobby-\w+|said-\d+")


@dataclass(slots=True)
class Size:
    """How much there is to extract."""

    users: int
    conversations: int
    messages: int
    kills: int


@dataclass(frozen=True, slots=True)
class Fact:
    """A memory that a conversation must leave behind."""

    text: str
    subtype: str
    conversation_id: str
    description: tuple[str, ...] = ()  # its date or its steps


class Planted:
    """Conversations of yesterday, in each of which facts of every type and chatter are said; every turn has a word of
    its own.

    Of each user one fact is stated again by every conversation, and otherwise: the newest holds.
    """

    def __init__(self, size: Size, seed: int) -> None:
        self.history = History(str(seed))
        self.users = [f"user-{number}" for number in range(size.users)]
        self.facts: dict[str, list[Fact]] = {user: [] for user in self.users}
        self.homes: dict[str, Fact] = {}
        self.said: set[str] = set()
        self._chance = random.Random(seed)
        per_user = size.conversations // size.users
        turns = size.messages // size.conversations
        for user in self.users:
            for number in range(per_user):
                self._converse(user, number, turns, range_before(date.today(), 1)[0])

    def _converse(self, user: str, number: int, turns: int, day: int) -> None:
        at = day + 3600 + number * 600
        made = self.history.converse(user, at)
        for turn in range(turns):
            word = f"said-{len(self.said)}"
            self.said.add(word)
            if turn == 0:
                self.homes[user] = Fact(f"I live in Town{number}", "semantic", made.id)
                text = f"{self.homes[user].text}."
            elif turn % 3 == 1:
                hobby = f"hobby-{user.replace('-', '')}x{number}x{turn}"
                fact = self._fact(hobby, (number + turn // 3) % 3, made.id, date.fromtimestamp(day))
                self.facts[user].append(fact)
                text = f"{fact.text}."
            else:
                text = "What do you think?"
            # Many in one second; the rest of the conversation in the seconds after it.
            self.history.say(made.id, at + self._chance.choice((0, 0, 0, 1, 2)), text, f"Well, {word}.")

    @staticmethod
    def _fact(hobby: str, kind: int, conversation_id: str, day: date) -> Fact:
        """A fact about ``hobby``, one of each type in turn, said on ``day``."""
        if kind == 0:
            return Fact(f"I like {hobby}", "semantic", conversation_id)
        if kind == 1:
            eve = (day - timedelta(days=1)).isoformat()
            return Fact(f"I bought {hobby} yesterday", "episodic", conversation_id, (eve,))
        steps = (f"I boil {hobby}", "I add salt")
        return Fact(f"First {steps[0]}, then {steps[1]}", "procedural", conversation_id, steps)


@pytest.fixture
def all_prompts(stand_in_model: StandInModel) -> Iterator[deque[list[Any]]]:
    """Every prompt the model was asked."""
    stand_in_model.control.prompts = deque()
    yield stand_in_model.control.prompts
    stand_in_model.control.reset()


def start(plugin: Plugin, dify: StandInDify, users: list[str]) -> str:
    answer = plugin.call(
        "extract_long_term_memory",
        user_ids=",".join(users),
        app_id=APP,
        dify_base_url=dify.base_url,
        dify_api_key=dify.control.settings.accepted_key,
    )
    assert answer.status == "ACCEPTED", answer
    return str(answer.variables["task_id"])


def look(plugin: Plugin, task_id: str) -> dict[str, Any]:
    answer = plugin.call("check_extraction_status", task_id=task_id)
    assert answer.status == "SUCCESS", answer
    return dict(answer.variables)


def ended(plugin: Plugin, task_id: str) -> dict[str, Any]:
    while (state := look(plugin, task_id))["task_status"] not in ("completed", "failed"):
        time.sleep(0.1)
    return state


def seen_words(prompts: deque[list[Any]]) -> dict[str, set[tuple[str, ...]]]:
    """By word, the chunks it stood in: a chunk is the words that were asked about together, however often."""
    found: dict[str, set[tuple[str, ...]]] = {}
    for messages in list(prompts):
        said = messages[-1]["content"].split("Messages:\n")[-1]
        words = tuple(sorted(word for word in _WORD.findall(said) if word.startswith("said-")))
        for word in words:
            found.setdefault(word, set()).add(words)
    return found


def killed_and_finished(site: Site[Ledger], dify: StandInDify, planted: Planted, size: Size, seed: int) -> Plugin:
    """Start the extraction, kill each process after some of the work is done, and let the last one end it."""
    chance = random.Random(seed)
    plugin = site.start()
    task_id = start(plugin, dify, planted.users)
    for number in range(size.kills):
        least = (number + chance.random()) * size.messages / (size.kills + 1)
        while look(plugin, task_id)["processed_messages"] < least:
            time.sleep(0.02)
        plugin.process.kill()
        plugin = site.start()
    state = ended(plugin, task_id)
    assert state["task_status"] == "completed", state
    assert state["final_report"]["status"] == "SUCCESS", state["final_report"]
    assert state["processed_users"] == size.users and state["failed_users"] == 0
    assert (state["processed_messages"], state["deferred_messages"]) == (size.messages, 0)
    assert state["processed_conversations"] == size.conversations
    return plugin


def everything_is_stored_once(plugin: Plugin, planted: Planted) -> None:
    for user in planted.users:
        listed = plugin.call("get_all_memories", user_id=user, limit=1000).results
        assert Counter(map(as_fact, listed)) == Counter([*planted.facts[user], planted.homes[user]]), user
        assert {one["agent_id"] for one in listed} == {APP}
        assert all(one["metadata"]["memory_origin"] == "implicit" for one in listed)
        for source in (one["metadata"]["source"] for one in listed):
            messages = {turn.id for turn in planted.history.conversations[source["conversation_id"]].messages}
            assert {source["first_message_id"], source["last_message_id"]} <= messages


def as_fact(memory: dict[str, Any]) -> Fact:
    metadata = memory["metadata"]
    description = [metadata["date"]] if "date" in metadata else metadata.get("steps", [])
    return Fact(memory["memory"], metadata["memory_subtype"], metadata["source"]["conversation_id"], tuple(description))


def a_further_run_finds_nothing(plugin: Plugin, dify: StandInDify, model: StandInModel, planted: Planted) -> None:
    calls = model.control.counts["chat"]
    asked = len(dify.control.asked)
    state = ended(plugin, start(plugin, dify, planted.users))
    assert state["llm_calls"] == 0 and model.control.counts["chat"] == calls
    paths = Counter(path for path, _ in dify.control.asked[asked:])
    assert paths["/v1/messages"] == 0, paths
    assert paths["/v1/conversations"] <= 2 * len(planted.users), paths


def run(site: Site[Ledger], model: StandInModel, prompts: deque[list[Any]], size: Size, seed: int) -> None:
    model.control.set(chat_latency_s=0.05)
    planted = Planted(size, seed)
    with StandInDify(planted.history) as dify:
        plugin = killed_and_finished(site, dify, planted, size, seed)
        everything_is_stored_once(plugin, planted)
        words = seen_words(prompts)
        assert words.keys() == planted.said
        assert {word: len(chunks) for word, chunks in words.items() if len(chunks) != 1} == {}
        a_further_run_finds_nothing(plugin, dify, model, planted)


def test_killed_twice_it_reads_everything_once(
    site: Site[Ledger], stand_in_model: StandInModel, all_prompts: deque[list[Any]]
) -> None:
    run(site, stand_in_model, all_prompts, Size(users=4, conversations=16, messages=80, kills=2), seed=14)


@pytest.mark.long
def test_killed_eight_times_among_six_thousand_messages(
    site: Site[Ledger], stand_in_model: StandInModel, all_prompts: deque[list[Any]]
) -> None:
    run(site, stand_in_model, all_prompts, Size(users=40, conversations=400, messages=6000, kills=8), seed=14)


def test_two_processes_that_start_the_same_list_read_nothing_twice(
    postgres_site: Site[Ledger], stand_in_model: StandInModel, all_prompts: deque[list[Any]]
) -> None:
    stand_in_model.control.set(held_endpoints=["chat"])
    size = Size(users=3, conversations=6, messages=24, kills=0)
    planted = Planted(size, 7)
    with StandInDify(planted.history) as dify:
        first, second = postgres_site.start(), postgres_site.start()
        tasks = [(plugin, start(plugin, dify, planted.users)) for plugin in (first, second)]
        other = ended(*tasks[1])  # every user is held by the first, which waits for the model
        stand_in_model.control.set(held_endpoints=[])
        state = ended(*tasks[0])
        assert state["processed_messages"] + other["processed_messages"] == size.messages
        skipped = [one for one in other["final_report"]["per_user"] if one["skipped"]]
        assert skipped and {(one["reason"], one["lock_holder"]) for one in skipped} == {("lock_held", tasks[0][1])}
        assert other["final_report"]["status"] == "PARTIAL_SUCCESS"
        everything_is_stored_once(first, planted)
    assert all(len(chunks) == 1 for chunks in seen_words(all_prompts).values())
