"""What extraction costs: users a minute against the ideal, model calls, memory, and what a search beside it pays.

``python -m benchmarks.extraction`` starts an embedded PostgreSQL, a stand-in for the models, one for Dify's API and the
plugin's process. The model takes a second for each answer; the ideal is its calls divided by the five users that are
extracted at once. ``--short`` is for a tenth of it.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Sequence
from datetime import date
from typing import Any, Final, NamedTuple

from benchmarks import memories, timing
from benchmarks.report import Aim, Figure, Report, run_from_command_line
from benchmarks.setting import Plugin, Setting, UnexpectedAnswer, setting
from playground.dify_app import History, StandInDify
from utils.extraction.request import range_before
from utils.runtime.credential_set import EXTRACTION_MAX_CONCURRENT_USERS

_APP: Final = "benchmark-app"
_MODEL_S: Final = 1.0
_DAY_S: Final = 86_400
_POLL_S: Final = 0.1
_LEAST_OF_IDEAL: Final = 0.9
_MOST_OF_ALONE: Final = 1.3
# An answer with a fact for each of a thousand messages is one that the plugin refuses.
_TURNS_PER_FACT: Final = 50
_numbers: Final = itertools.count()


class Size(NamedTuple):
    """How much is measured."""

    users: int
    messages: int
    histories: Sequence[int]
    searches: int


def measure(size: Size) -> Report:
    """The whole benchmark."""
    report = Report("Extraction", reference="ideal or alone")
    with setting() as environment, environment.plugin() as plugin:
        memories.store(plugin, 50)
        _once(plugin)
        _pace(environment, plugin, size, report)
        _long_conversation(plugin, size, report)
        _long_histories(plugin, size, report)
    return report


def _once(plugin: Plugin) -> None:
    """An extraction that nothing is measured in: the first of a process imports what it needs."""
    history = History("once")
    _converse(history, "first", 1, at=3600)
    with StandInDify(history) as dify:
        _ended(plugin, _start(plugin, dify, ["first"]))


def _pace(environment: Setting, plugin: Plugin, size: Size, report: Report) -> None:
    """Users a minute with a model of a second, and searches meanwhile against searches before."""
    history, users = History("pace"), [f"pace-{number}" for number in range(size.users)]
    for user in users:
        for number in range(2):
            _converse(history, user, 1, at=3600 * (number + 1))
    alone = plugin.timed("search_memory", _searches(size.searches))
    environment.model.control(chat_latency_s=_MODEL_S)
    beside: list[timing.Timing] = []
    searching = threading.Thread(target=lambda: beside.append(plugin.timed("search_memory", _searches(size.searches))))
    with StandInDify(history) as dify:
        task_id = _start(plugin, dify, users)
        searching.start()
        state = _ended(plugin, task_id)
        searching.join()
    environment.model.control(chat_latency_s=0.0)
    ideal_s = state["llm_calls"] * _MODEL_S / EXTRACTION_MAX_CONCURRENT_USERS
    pace, ideal = size.users / state["duration_seconds"] * 60, size.users / ideal_s * 60
    name = f"users a minute, {size.users} users, model of {_MODEL_S:g} s"
    report.figures.append(Figure(name, "/min", pace, ideal, pace / ideal, Aim(_LEAST_OF_IDEAL, least=True)))
    calls = state["llm_calls"] / state["processed_conversations"]
    report.figures.append(Figure("model calls a conversation", "calls", calls, aim=Aim(1.0)))
    ratio = beside[0].p95_ms / alone.p95_ms
    aim = Aim(_MOST_OF_ALONE)
    report.figures.append(Figure("search beside it, p95", "ms", beside[0].p95_ms, alone.p95_ms, ratio, aim))


def _long_conversation(plugin: Plugin, size: Size, report: Report) -> None:
    """The memory that one conversation of very many messages takes."""
    history = History("long")
    _converse(history, "talker", size.messages, at=3600)
    before_mib = plugin.rss_mib()
    with StandInDify(history) as dify, plugin.largest_rss_mib() as largest_mib:
        state = _ended(plugin, _start(plugin, dify, ["talker"]))
    name = f"memory for a conversation of {size.messages} messages, on top of {before_mib:.0f} MiB"
    report.figures.append(Figure(name, "MiB", largest_mib[0] - before_mib))
    report.notes.append(f"of it {state['processed_messages']} messages were taken in {state['duration_seconds']:.1f} s")


def _long_histories(plugin: Plugin, size: Size, report: Report) -> None:
    """How long a run takes where only one day is new, by how many days of history lie before it, read already."""
    shortest_s = None
    for days in size.histories:
        took_s = min(_with_one_new_day(plugin, f"days-{days}-{attempt}", days) for attempt in range(3))
        shortest_s = shortest_s or took_s
        name = f"run with one new day after {days} days"
        report.figures.append(Figure(name, "s", took_s, shortest_s, took_s / max(shortest_s, 0.001)))


def _with_one_new_day(plugin: Plugin, user: str, days: int) -> float:
    """Seconds of the run that finds one new day; of the days before, those that a run may ask for have been read."""
    history = History(user)
    for day in range(1, days):
        _converse_all_day(history, user, -day)
    with StandInDify(history) as dify:
        _ended(plugin, _start(plugin, dify, [user], days_back=7))
        _converse_all_day(history, user, 0)
        return float(_ended(plugin, _start(plugin, dify, [user]))["duration_seconds"])


def _converse_all_day(history: History, user: str, day: int) -> None:
    for number in range(5):
        _converse(history, user, 5, at=day * _DAY_S + 3600 * (number + 1))


def _converse(history: History, user: str, turns: int, *, at: int) -> None:
    """A conversation from ``at`` seconds after yesterday began; its first turn states a fact, and each fiftieth."""
    begin = range_before(date.today(), 1)[0] + at
    made = history.converse(user, begin)
    every_s = min(30.0, 20 * 3600 / turns)
    for turn in range(turns):
        said = f"I like hobby{next(_numbers)}." if turn % _TURNS_PER_FACT == 0 else "What do you think?"
        history.say(made.id, begin + turn * every_s, said, f"Well, that depends, number {turn}.")


def _searches(count: int) -> list[dict[str, Any]]:
    return [{"user_id": memories.SEARCHER, "query": memories.text(number % 50), "top_k": 5} for number in range(count)]


def _start(plugin: Plugin, dify: StandInDify, users: Sequence[str], **more: Any) -> str:
    answer = plugin.call(
        "extract_long_term_memory",
        status="ACCEPTED",
        user_ids=",".join(users),
        app_id=_APP,
        dify_base_url=dify.base_url,
        dify_api_key=dify.control.settings.accepted_key,
        conversations_limit=500,
        max_tokens_per_conversation=200,
        **more,
    )
    return str(answer.variables["task_id"])


def _ended(plugin: Plugin, task_id: str) -> dict[str, Any]:
    while True:
        state = plugin.call("check_extraction_status", task_id=task_id).variables
        if state["task_status"] in ("completed", "failed"):
            if state["final_report"]["status"] != "SUCCESS":
                raise UnexpectedAnswer(str(state["final_report"])[:2_000])
            return dict(state)
        time.sleep(_POLL_S)


if __name__ == "__main__":
    run_from_command_line(
        "benchmarks.extraction",
        __doc__ or "",
        measure,
        Size(users=60, messages=10_000, histories=(1, 10, 100), searches=400),
        Size(users=20, messages=1_000, histories=(1, 10), searches=100),
    )
