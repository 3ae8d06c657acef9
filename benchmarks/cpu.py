"""``python -m benchmarks.cpu``: what a call costs in CPU, by tool and by layer, beside mem0's ``AsyncMemory``.

Dify runs one process per plugin, and that process has one thread: the CPU time of a call is what a site can serve. The
figures are the CPU time of the whole process per call, which a busy machine blurs less than it blurs latency. The
plugin is spoken to over stdio; mem0 is called in process, in a process patched as the plugin's is, and pays for no
protocol. Both use the same database and the same stand-in model, which answers at once; they take turns.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from benchmarks import memories
from benchmarks.memories import SEARCHER
from benchmarks.peer import Mem0Peer
from benchmarks.report import Aim, Figure, Part, Report, run_from_command_line
from benchmarks.setting import Parameters, Plugin, Setting, setting
from benchmarks.timing import alternate, median, ratio

_IN_FLIGHT: Final = 20
_ADDS_IN_FLIGHT: Final = 10
_WRITERS: Final = 20
_UNKNOWN_ID: Final = "00000000-0000-4000-8000-000000000000"
_LAYERS_TIMEOUT_S: Final = 10.0
_POLL_S: Final = 0.01


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured."""

    rounds: int = 7
    calls: int = 300
    adds: int = 60
    memories: int = 30


_SHORT: Final = Size(rounds=3, calls=150, adds=30)


def main() -> None:
    """See ``report.run_from_command_line``."""
    run_from_command_line("benchmarks.cpu", __doc__ or "", measure, Size(), _SHORT)


def measure(size: Size) -> Report:
    """The whole benchmark; everything it starts has ended when it returns."""
    report = Report("CPU time per call", "mem0 in process")
    with setting() as parts:
        with parts.plugin() as plugin, parts.mem0() as mem0:
            _prepare(plugin, mem0, size)
            report.figures += _figures(plugin, mem0, size)
        report.breakdowns |= _layers(parts, size)
    return report


def _prepare(plugin: Plugin, mem0: Mem0Peer, size: Size) -> None:
    plugin.call("search_memory", user_id=SEARCHER, query="anything?", timeout=60)  # imports and connects
    memories.store(plugin, size.memories)
    memories.compare(plugin.without_keyword_order(), mem0, 10)
    _search(plugin, size.calls, 0)
    mem0.search(memories.queries(size.calls), SEARCHER, _IN_FLIGHT)
    _add(plugin, size.adds, 0)
    mem0.add(*_texts(size.adds, 0), _ADDS_IN_FLIGHT)


def _figures(plugin: Plugin, mem0: Mem0Peer, size: Size) -> list[Figure]:
    ours, theirs = _cpu_ms(plugin.process.pid), _cpu_ms(mem0.pid)
    searches, alone, adds = size.calls, size.calls // 3, size.adds
    plain = plugin.without_keyword_order()
    return [
        _compared(
            f"search, {_IN_FLIGHT} in flight, keyword order off",
            size,
            lambda number: ours(searches, lambda: _search(plain, searches, number)),
            lambda number: theirs(searches, lambda: mem0.search(_queries(searches, number), SEARCHER, _IN_FLIGHT)),
            Aim(0.4),
        ),
        _compared(
            f"search, {_IN_FLIGHT} in flight",
            size,
            lambda number: ours(searches, lambda: _search(plugin, searches, number)),
            lambda number: theirs(searches, lambda: mem0.search(_queries(searches, number), SEARCHER, _IN_FLIGHT)),
            Aim(0.55),
        ),
        _compared(
            "search, one at a time, keyword order off",
            size,
            lambda number: ours(alone, lambda: _search(plain, alone, number, 1)),
            lambda number: theirs(alone, lambda: mem0.search(_queries(alone, number), SEARCHER)),
        ),
        _compared(
            f"add, {_ADDS_IN_FLIGHT} in flight, carried out",
            size,
            lambda number: ours(adds, lambda: _add(plugin, adds, number)),
            lambda number: theirs(adds, lambda: mem0.add(*_texts(adds, number), _ADDS_IN_FLIGHT)),
            Aim(0.45),
        ),
        *_by_tool(plugin, ours, size),
    ]


def _by_tool(plugin: Plugin, cpu_ms: _CpuMs, size: Size) -> list[Figure]:
    """What mem0 has nothing like, or nothing that does the same."""
    cases: dict[str, tuple[str, Parameters, str]] = {
        "get_all_memories, 30 memories": ("get_all_memories", {"user_id": SEARCHER}, "SUCCESS"),
        "get_memory, unknown id": ("get_memory", {"memory_id": _UNKNOWN_ID}, "NOT_FOUND"),
        "a call that fails in the frame": ("search_memory", {}, "ERROR"),
    }
    figures = []
    for name, (tool, parameters, status) in cases.items():
        calls = [parameters] * size.calls
        rounds = [
            cpu_ms(size.calls, lambda: plugin.timed(tool, calls, in_flight=_IN_FLIGHT, status=status))  # noqa: B023
            for _ in range(size.rounds)
        ]
        figures.append(Figure(f"{name}, {_IN_FLIGHT} in flight", "ms", median(rounds, float)))
    return figures


def _compared(
    name: str, size: Size, ours: Callable[[int], float], theirs: Callable[[int], float], aim: Aim | None = None
) -> Figure:
    plugin, mem0 = alternate(size.rounds, ours, theirs)
    return Figure(name, "ms", median(plugin, float), median(mem0, float), ratio(plugin, mem0, float), aim)


type _CpuMs = Callable[[int, Callable[[], object]], float]


def _cpu_ms(pid: int) -> _CpuMs:
    """Measures the CPU time of the process, in milliseconds per call, while some calls are made."""
    process = psutil.Process(pid)

    def measured(calls: int, make: Callable[[], object]) -> float:
        before = process.cpu_times()
        make()
        after = process.cpu_times()
        return (after.user + after.system - before.user - before.system) / calls * 1000

    return measured


def _search(plugin: Plugin, count: int, number: int, in_flight: int = _IN_FLIGHT) -> None:
    calls = [{"user_id": SEARCHER, "query": query} for query in _queries(count, number)]
    plugin.timed("search_memory", calls, in_flight=in_flight)


def _queries(count: int, number: int) -> list[str]:
    return memories.queries(count, number * count)


def _add(plugin: Plugin, count: int, number: int) -> None:
    calls = [{"user_id": user, "user": text} for text, user in zip(*_texts(count, number), strict=True)]
    for start in range(0, count, _IN_FLIGHT):
        plugin.timed("add_memory", calls[start : start + _IN_FLIGHT], in_flight=_ADDS_IN_FLIGHT)
        plugin.drain()


def _texts(count: int, number: int) -> tuple[list[str], list[str]]:
    """Texts and their users; the same number means the same."""
    numbers = range(number * count, (number + 1) * count)
    return [memories.text(one) for one in numbers], [f"writer-{one % _WRITERS}" for one in numbers]


# -- layers


@dataclass(slots=True)
class _Counts:
    """Samples by layer of one process, taken between two signals."""

    pid: int
    file: Path

    def taken_during(self, make: Callable[[], object]) -> Counter[str]:
        self._next()
        make()
        return self._next()

    def _next(self) -> Counter[str]:
        self.file.unlink(missing_ok=True)
        os.kill(self.pid, signal.SIGUSR1)
        give_up_at = time.monotonic() + _LAYERS_TIMEOUT_S
        while not self.file.exists() and time.monotonic() < give_up_at:
            time.sleep(_POLL_S)
        return Counter(json.loads(self.file.read_text()))


def _layers(parts: Setting, size: Size) -> dict[str, list[Part]]:
    """Where the time goes, of processes of their own: counting costs a little."""
    file = parts.folder / "layers.json"
    with parts.plugin(BENCHMARK_LAYERS=str(file)) as plugin:
        plugin.call("search_memory", user_id=SEARCHER, query="anything?", timeout=60)
        _add(plugin, size.adds, 0)
        counts = _Counts(plugin.process.pid, file)
        cpu_ms = _cpu_ms(plugin.process.pid)
        kinds: dict[str, tuple[int, Callable[[], object]]] = {
            f"A search, {_IN_FLIGHT} in flight": (3 * size.calls, lambda: _search(plugin, 3 * size.calls, 1)),
            f"An add, {_ADDS_IN_FLIGHT} in flight": (3 * size.adds, lambda: _add(plugin, 3 * size.adds, 1)),
        }
        return {name: _parts(counts, cpu_ms, *kind) for name, kind in kinds.items()}


def _parts(counts: _Counts, cpu_ms: _CpuMs, calls: int, make: Callable[[], object]) -> list[Part]:
    samples: Counter[str] = Counter()
    per_call_ms = cpu_ms(calls, lambda: samples.update(counts.taken_during(make)))
    return [Part(layer, count / samples.total() * per_call_ms, "ms") for layer, count in samples.most_common()]


if __name__ == "__main__":
    main()
