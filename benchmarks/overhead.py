"""``python -m benchmarks.overhead``: what the plugin costs beside mem0 itself.

The plugin is measured as Dify meets it: a process, spoken to over stdio. It is compared with ``AsyncMemory.search`` of
mem0, called in process, in a process patched as the plugin's is, on the same database and the same stand-in model. Its
figures stand beside their aims; below stands what the time and the memory go to.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import Final

from benchmarks import costs, installation, memories
from benchmarks.memories import SEARCHER
from benchmarks.peer import Mem0Peer
from benchmarks.report import Aim, Figure, Part, Report, run_from_command_line
from benchmarks.setting import Plugin, Setting, setting
from benchmarks.timing import Timing, alternate, median, p50_ms, p95_ms, per_s, ratio

_IN_FLIGHT: Final = 20
_WARM_UP: Final = 40
_COMPARED: Final = 20
_UNKNOWN_ID: Final = "00000000-0000-4000-8000-000000000000"


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured."""

    boots: int = 7
    rounds: int = 15
    calls: int = 40
    calls_in_flight: int = 200
    memories: int = 50


_SHORT: Final = Size(boots=3, rounds=5, calls=20, calls_in_flight=100, memories=20)


def main() -> None:
    """See ``report.run_from_command_line``."""
    run_from_command_line("benchmarks.overhead", __doc__ or "", measure, Size(), _SHORT)


def measure(size: Size) -> Report:
    """The whole benchmark; everything it starts has ended when it returns."""
    report = Report("What the plugin costs beside mem0", "mem0 in process")
    with setting() as parts:
        _start(report, parts, size)
        with parts.plugin() as plugin:
            _first_calls(report, plugin)
            memories.store(plugin, size.memories)
            with parts.mem0() as mem0:
                _calls(report, plugin, mem0, size)
        report.breakdowns["Imports until the first line"] = costs.imports_until_first_line(parts)
    _explain_memory(report)
    return report


def _start(report: Report, parts: Setting, size: Size) -> None:
    """From the process's start to its first line, and what it holds then."""
    first_lines_s, sdk_s, resident_mib = [], [], []
    for number in range(size.boots + 1):
        with parts.plugin() as plugin:
            boot_s, boot_mib = plugin.process.first_line_s or 0.0, plugin.rss_mib()
        import_s = _sdk_import_s()
        if number:  # the first one writes byte code and fills the disk's cache
            first_lines_s.append(boot_s)
            resident_mib.append(boot_mib)
            sdk_s.append(import_s)
    report.figures += [
        Figure("first line", "s", statistics.median(first_lines_s), aim=Aim(1.3)),
        Figure("first line, the fastest", "s", min(first_lines_s)),
        Figure("Python and the import of the SDK alone", "s", statistics.median(sdk_s)),
        Figure("resident after the start", "MiB", statistics.median(resident_mib)),
    ]


def _sdk_import_s() -> float:
    started = time.perf_counter()
    command = [sys.executable, "-c", "import dify_plugin"]
    subprocess.run(command, check=True, env={**os.environ, **installation.environment()})
    return time.perf_counter() - started


def _first_calls(report: Report, plugin: Plugin) -> None:
    """The first search and the first add: they import what they need and connect."""
    first = plugin.call("search_memory", user_id=SEARCHER, query="anything?", timeout=60)
    report.figures.append(Figure("first search (imports, connects, makes tables)", "s", first.elapsed_s))
    report.figures.append(Figure("resident after the first search", "MiB", plugin.rss_mib(), aim=Aim(125)))
    plugin.call("add_memory", user_id="newcomer", user="I like long walks")
    plugin.drain()
    report.figures.append(Figure("resident after the first add", "MiB", plugin.rss_mib()))


def _calls(report: Report, plugin: Plugin, mem0: Mem0Peer, size: Size) -> None:
    memories.compare(plugin.without_keyword_order(), mem0, _COMPARED)
    _search(plugin, _WARM_UP, 0)
    mem0.search(memories.queries(_WARM_UP), SEARCHER)
    report.figures += _one_at_a_time(plugin, mem0, size)
    report.figures += _in_flight(plugin, mem0, size)
    report.figures += _accept(plugin, size)
    report.figures.append(Figure("resident in the end", "MiB", plugin.rss_mib(), mem0.rss_mib()))
    report.breakdowns["What a search is made of (p50)"] = _scale(plugin, mem0, size)


def _search(plugin: Plugin, count: int, number: int, in_flight: int = 1) -> Timing:
    calls = [{"user_id": SEARCHER, "query": query} for query in memories.queries(count, number * count)]
    return plugin.timed("search_memory", calls, in_flight=in_flight)


def _one_at_a_time(plugin: Plugin, mem0: Mem0Peer, size: Size) -> list[Figure]:
    ours, theirs = alternate(
        size.rounds,
        lambda number: _search(plugin, size.calls, number),
        lambda number: mem0.search(memories.queries(size.calls, number * size.calls), SEARCHER),
    )
    return [
        Figure(f"search, {name}", "ms", median(ours, of), median(theirs, of), ratio(ours, theirs, of), aim)
        for name, of, aim in (("p50", p50_ms, Aim(1.0)), ("p95", p95_ms, None))
    ]


def _in_flight(plugin: Plugin, mem0: Mem0Peer, size: Size) -> list[Figure]:
    ours, theirs = alternate(
        max(3, size.rounds // 2),
        lambda number: _search(plugin, size.calls_in_flight, number, _IN_FLIGHT),
        lambda number: mem0.search(
            memories.queries(size.calls_in_flight, number * size.calls_in_flight), SEARCHER, _IN_FLIGHT
        ),
    )
    name = f"searches, {_IN_FLIGHT} in flight"
    rates = median(ours, per_s), median(theirs, per_s), ratio(ours, theirs, per_s)
    return [Figure(name, "/s", *rates, Aim(1.2, least=True))]


def _accept(plugin: Plugin, size: Size) -> list[Figure]:
    """ACCEPT with nothing else under way: each write is carried out before the next is sent."""
    answers = []
    for number in range(size.rounds * size.calls // 4):
        answers.append(plugin.call("add_memory", user_id=f"writer-{number % 10}", user=memories.text(number)))
        plugin.drain()
    times = Timing([answer.elapsed_s for answer in answers], 1.0)
    return [
        Figure("ACCEPT (committed), p50", "ms", times.p50_ms, aim=Aim(5.0)),
        Figure("ACCEPT (committed), p95", "ms", times.p95_ms),
    ]


def _scale(plugin: Plugin, mem0: Mem0Peer, size: Size) -> list[Part]:
    refused, unknown, embedded, searched = alternate(
        max(3, size.rounds // 3),
        lambda _: plugin.timed("search_memory", [{"user_id": SEARCHER}] * size.calls, status="ERROR"),
        lambda _: plugin.timed("get_memory", [{"memory_id": _UNKNOWN_ID}] * size.calls, status="NOT_FOUND"),
        lambda number: mem0.embed(memories.queries(size.calls, number)),
        lambda number: _search(plugin, size.calls, number),
    )
    return [
        Part(
            "a call that does nothing (a parameter is missing): the SDK, the protocol, the frame", _p50(refused), "ms"
        ),
        Part(
            "... that asks the database one thing (an unknown id): the loop and one statement more", _p50(unknown), "ms"
        ),
        Part("one embedding through mem0's OpenAI class, in mem0's process", _p50(embedded), "ms"),
        Part("a search: the embedding, one statement, and one of the state store beside them", _p50(searched), "ms"),
    ]


def _p50(rounds: list[Timing]) -> float:
    return median(rounds, p50_ms)


def _explain_memory(report: Report) -> None:
    """Memory by import, and what is left of it for connections, caches and what calls have made."""
    steps = costs.memory_by_import()
    searched = next(figure.plugin for figure in report.figures if figure.name == "resident after the first search")
    rest = searched - sum(part.value for part in steps)
    report.breakdowns["Memory after the first search"] = [
        *steps,
        Part("connections, caches, mem0's parts", rest, "MiB"),
    ]


if __name__ == "__main__":
    main()
