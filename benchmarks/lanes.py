"""``python -m benchmarks.lanes``: what reads notice of writes, and how many of either the plugin gets done.

The plugin is a process spoken to over stdio; mem0's ``AsyncMemory`` is called in process, in a process patched as the
plugin's is; both use the same database and the same stand-in model. An add counts when it is carried out, not when it
is accepted: the plugin is given new ones as long as it has room, and the clock stops when none is pending.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from benchmarks import memories
from benchmarks.memories import SEARCHER
from benchmarks.peer import Mem0Peer
from benchmarks.report import Aim, Figure, Report, run_from_command_line
from benchmarks.setting import Plugin, Setting, UnexpectedAnswer, expect, setting
from benchmarks.timing import Timing, alternate, median, per_s, ratio
from playground.invocation import Invocation

_IN_FLIGHT: Final = 20
_SLOW_ADDS: Final = 30
_SLOW_MODEL_S: Final = 2.0
_MODEL_S: Final = 0.05
_ROOM: Final = 36  # writes at work or waiting; at 40 the plugin refuses more
_CALLERS: Final = 60
_POLL_S: Final = 0.005
_PAUSE_S: Final = 0.25  # before a refused caller tries again


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured."""

    rounds: int = 5
    searches: int = 200
    adds: int = 100
    flood: int = 600
    memories: int = 50


_SHORT: Final = Size(rounds=3, searches=100, adds=60, flood=200, memories=20)


def main() -> None:
    """See ``report.run_from_command_line``."""
    run_from_command_line("benchmarks.lanes", __doc__ or "", measure, Size(), _SHORT)


def measure(size: Size) -> Report:
    """The whole benchmark; everything it starts has ended when it returns."""
    report = Report("What reads notice of writes, and how many get done", "mem0 in process")
    with setting() as parts, parts.plugin() as plugin:
        plugin.call("search_memory", user_id=SEARCHER, query="anything?", timeout=60)  # connects
        memories.store(plugin, size.memories)
        with parts.mem0() as mem0:
            memories.compare(plugin.without_keyword_order(), mem0, 10)
            report.figures += _beside_slow_adds(parts, plugin, mem0, size)
            report.figures += _flood(parts, plugin, size)
            report.figures += _searches(plugin, mem0, size)
            report.figures += _adds(parts, plugin, mem0, size)
    return report


def _searching(plugin: Plugin, count: int, in_flight: int = 1) -> Timing:
    calls = [{"user_id": SEARCHER, "query": query, "timeout": 60} for query in memories.queries(count)]
    return plugin.timed("search_memory", calls, in_flight=in_flight)


def _beside_slow_adds(parts: Setting, plugin: Plugin, mem0: Mem0Peer, size: Size) -> list[Figure]:
    """Searches alone, and while 30 adds wait for a slow model, from the adds' first moment to their last."""
    parts.model.control(chat_latency_s=_SLOW_MODEL_S)
    alone, beside = alternate(
        size.rounds,
        lambda _: _searching(plugin, size.searches),
        lambda number: _while_adding(plugin, f"slow-{number}"),
    )
    texts, users = _new_adds(_SLOW_ADDS, "slow")
    mem0_alone = mem0.search(memories.queries(size.searches), SEARCHER)
    mem0_beside = mem0.search_beside_adds(memories.queries(size.searches), SEARCHER, texts, users)
    parts.model.control(reset=True)
    ours, theirs = _pooled(alone), _pooled(beside)
    times = theirs.p95_ms / ours.p95_ms
    name = f"beside {_SLOW_ADDS} adds with a {_SLOW_MODEL_S:g} s model"
    return [
        Figure("search p95, alone", "ms", ours.p95_ms, mem0_alone.p95_ms),
        Figure(f"search p95, {name}", "ms", theirs.p95_ms, mem0_beside.p95_ms),
        Figure("... times as long as alone", "x", times, mem0_beside.p95_ms / mem0_alone.p95_ms, aim=Aim(1.5)),
    ]


def _while_adding(plugin: Plugin, name: str) -> Timing:
    texts, users = _new_adds(_SLOW_ADDS, name)
    started = time.perf_counter()
    accepted = [plugin.submit("add_memory", user=text, user_id=user) for text, user in zip(texts, users, strict=True)]
    times_s: list[float] = []
    while plugin.pending() or not all(answer.done() for answer in accepted):
        times_s += _searching(plugin, 1).times_s
    for answer in accepted:
        expect(answer.result(), "SUCCESS")
    return Timing(times_s, time.perf_counter() - started)


def _pooled(rounds: list[Timing]) -> Timing:
    return Timing([time_s for one in rounds for time_s in one.times_s], sum(one.wall_s for one in rounds))


def _flood(parts: Setting, plugin: Plugin, size: Size) -> list[Figure]:
    """More callers than the plugin has room for; whoever is refused tries again a moment later."""
    parts.model.control(chat_latency_s=_MODEL_S, verbatim=True)
    numbers = iter(range(size.flood))
    searched: list[float] = []
    with ThreadPoolExecutor(_CALLERS) as callers:
        flooding = [callers.submit(_flooding, plugin, numbers) for _ in range(_CALLERS)]
        while not all(caller.done() for caller in flooding):
            searched += _searching(plugin, 1).times_s
    plugin.drain()
    parts.model.control(reset=True)
    answers = [answer for caller in flooding for answer in caller.result()]
    accepted = Timing([answer.elapsed_s for answer in answers if answer.status == "SUCCESS"], 1.0)
    refused = [answer.elapsed_s for answer in answers if answer.status == "OVERLOAD"]
    return [
        Figure(f"ACCEPT p50, {_CALLERS} callers at once", "ms", accepted.p50_ms),
        Figure(f"ACCEPT p95, {_CALLERS} callers at once", "ms", accepted.p95_ms),
        Figure("... search p95 meanwhile", "ms", Timing(searched, 1.0).p95_ms),
        Figure("... refused with OVERLOAD for each accepted", "calls", len(refused) / size.flood),
    ]


def _flooding(plugin: Plugin, numbers: Iterator[int]) -> list[Invocation]:
    """One caller: each add until it is accepted; every answer on the way."""
    answers = []
    for number in numbers:
        while True:
            answers.append(plugin.submit("add_memory", user=memories.text(number), user_id=f"flood-{number}").result())
            if answers[-1].status != "OVERLOAD":
                expect(answers[-1], "SUCCESS")
                break
            time.sleep(_PAUSE_S)
    return answers


def _searches(plugin: Plugin, mem0: Mem0Peer, size: Size) -> list[Figure]:
    ours, theirs = alternate(
        size.rounds,
        lambda _: _searching(plugin, size.searches, _IN_FLIGHT),
        lambda _: mem0.search(memories.queries(size.searches), SEARCHER, _IN_FLIGHT),
    )
    return [_rate(f"searches, {_IN_FLIGHT} in flight", ours, theirs, Aim(1.2, least=True))]


def _rate(name: str, ours: list[Timing], theirs: list[Timing], aim: Aim) -> Figure:
    return Figure(name, "/s", median(ours, per_s), median(theirs, per_s), ratio(ours, theirs, per_s), aim)


def _adds(parts: Setting, plugin: Plugin, mem0: Mem0Peer, size: Size) -> list[Figure]:
    """Adds to their end. Every add is answered by one ADD, after 50 ms; every user adds once."""
    asked: dict[str, list[float]] = {"plugin": [], "mem0": []}

    def round_of(side: str, number: int) -> Timing:
        texts, users = _new_adds(size.adds, f"{side}-{number}")
        scripted = [{"memory": [{"id": "0", "event": "ADD", "text": text}]} for text in texts]
        parts.model.control(reset=True, chat_latency_s=_MODEL_S, script=scripted)
        timing = mem0.add(texts, users, _IN_FLIGHT) if side == "mem0" else _carry_out(plugin, texts, users)
        asked[side].append(parts.model.control()["counts"]["chat"] / size.adds)
        return timing

    ours, theirs = alternate(
        size.rounds, lambda number: round_of("plugin", number), lambda number: round_of("mem0", number)
    )
    parts.model.control(reset=True)
    calls = statistics.mean(asked["plugin"]), statistics.mean(asked["mem0"])
    return [
        _rate(
            f"adds carried out, {_IN_FLIGHT} at a time, {_MODEL_S * 1000:g} ms model", ours, theirs, Aim(1, least=True)
        ),
        Figure("model calls per add", "calls", *calls, aim=Aim(1)),
    ]


def _carry_out(plugin: Plugin, texts: list[str], users: list[str]) -> Timing:
    """Accept all, never more than the plugin takes, and wait until none is pending."""
    started = time.perf_counter()
    answers: list[Future[Invocation]] = []
    while len(answers) < len(texts):
        unanswered = [answer for answer in answers if not answer.done()]
        room = min(_ROOM - plugin.pending() - len(unanswered), _IN_FLIGHT - len(unanswered))
        for text, user in list(zip(texts, users, strict=True))[len(answers) : len(answers) + max(room, 0)]:
            answers.append(plugin.submit("add_memory", user=text, user_id=user))
        time.sleep(_POLL_S)
    for answer in answers:
        expect(answer.result(), "SUCCESS")
    plugin.drain()
    wall_s = time.perf_counter() - started
    for user in users[:: len(users) // 5]:
        stored = plugin.call("get_all_memories", user_id=user).envelope
        if (stored["pending_writes"], stored["failed_writes"], stored["total"]) != (0, 0, 1):
            raise UnexpectedAnswer(str(stored))
    return Timing([wall_s / len(texts)] * len(texts), wall_s)


def _new_adds(count: int, name: str) -> tuple[list[str], list[str]]:
    """Texts, and as many users nobody has seen before."""
    return [memories.text(number) for number in range(count)], [f"{name}-{number}" for number in range(count)]


if __name__ == "__main__":
    main()
