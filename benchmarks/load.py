"""``python -m benchmarks.load``: what the plugin serves at a given rate, and what it does with more than it can carry.

Calls come at their times whether or not earlier ones were answered, as a site's do: 70 % searches, 20 % adds with a
model that answers after 200 ms, 10 % listings; the credential set allows 200 operations at once. First a steady rate
for minutes; then rising rates until calls are refused with OVERLOAD, and on to 1.5 times what was sustained. Goodput is
the SUCCESS answers a second. The machine's cores are shared by the plugin, the database, the stand-in model and the
caller: what is sustained here is the least that the plugin carries.
"""

from __future__ import annotations

import argparse
import math
import random
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from rich.console import Console

from benchmarks import memories
from benchmarks.memories import SEARCHER
from benchmarks.report import Aim, Figure, Report
from benchmarks.setting import Plugin, Setting, setting
from benchmarks.timing import Timing
from playground.invocation import Invocation

_MODEL_S: Final = 0.2
_AT_ONCE: Final = 200  # max_concurrent_memory_operations
_MEMORIES: Final = 50
_WRITERS: Final = 500
_SHARES: Final = {"search_memory": 0.7, "add_memory": 0.2, "get_all_memories": 0.1}
_STEP: Final = 1.25  # from one rate to the next
_BEYOND: Final = 1.5  # times the sustained rate
_SUSTAINED: Final = 0.995  # of the calls answered SUCCESS
_SEED: Final = 16
_GOOD: Final = Aim(0.9, least=True)


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured."""

    steady_per_s: float = 200.0
    steady_s: float = 300.0
    first_per_s: float = 100.0
    step_s: float = 20.0


_SHORT: Final = Size(steady_s=30.0, step_s=8.0)


@dataclass(frozen=True, slots=True)
class Level:
    """What came back at one rate.

    Attributes:
        offered_per_s: calls a second, as planned.
        statuses: answers by status.
        goodput_per_s: SUCCESS answers a second.
        search_p50_ms, search_p95_ms: of the searches that were answered SUCCESS.
        refused_p95_ms: of the answers OVERLOAD; 0 without any.
    """

    offered_per_s: float
    statuses: dict[str, int]
    goodput_per_s: float
    search_p50_ms: float
    search_p95_ms: float
    refused_p95_ms: float

    @property
    def success(self) -> float:
        """The share of SUCCESS."""
        return self.statuses.get("SUCCESS", 0) / sum(self.statuses.values())

    @property
    def faults(self) -> int:
        """Answers that are neither SUCCESS nor OVERLOAD."""
        return sum(count for status, count in self.statuses.items() if status not in ("SUCCESS", "OVERLOAD"))


def main() -> None:
    """Measure as the command line says."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.load", description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="draw goodput and latency, as a PNG")
    parser.add_argument("--short", action="store_true", help="seconds instead of minutes: a rougher answer")
    options = parser.parse_args()
    report, levels = measure(_SHORT if options.short else Size())
    report.show(Console())
    if options.json is not None:
        report.write(options.json)
    if options.picture is not None:
        draw(levels, options.picture)


def draw(levels: Sequence[Level], file: Path) -> None:
    """Goodput over the rate offered, and the latencies below, as a PNG."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    offered = [level.offered_per_s for level in levels]
    figure, (goodput, latency) = pyplot.subplots(2, 1, sharex=True, figsize=(8, 7), layout="constrained")
    goodput.plot(offered, offered, ":", color="grey", label="offered")
    goodput.plot(offered, [level.goodput_per_s for level in levels], "o-", color="#0072b2", label="SUCCESS")
    goodput.set_ylabel("answers per second")
    latency.plot(offered, [level.search_p95_ms for level in levels], "o-", color="#0072b2", label="search, p95")
    latency.plot(offered, [level.search_p50_ms for level in levels], "o-", color="#56b4e9", label="search, p50")
    latency.plot(offered, [level.refused_p95_ms for level in levels], "o-", color="#d55e00", label="OVERLOAD, p95")
    latency.set_ylabel("milliseconds")
    latency.set_xlabel("calls per second: 70 % searches, 20 % adds (200 ms model), 10 % listings")
    for axes in (goodput, latency):
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
    figure.savefig(file, dpi=110)


def measure(size: Size) -> tuple[Report, list[Level]]:
    """The whole benchmark; everything it starts has ended when it returns."""
    report = Report("Mixed load", "what was sustained")
    with setting() as parts:
        parts.model.control(chat_latency_s=_MODEL_S, verbatim=True)
        with _plugin(parts) as plugin:
            steady = _level(plugin, size.steady_per_s, size.steady_s)
            levels = list(_rising(plugin, size))
    held = [level for level in levels if level.success >= _SUSTAINED] or levels[:1]
    sustained = max(held, key=lambda level: level.goodput_per_s)
    report.figures += [*_steady_figures(steady), *_beyond_figures(levels, sustained)]
    report.notes += [_line(level) for level in (steady, *levels)]
    return report, levels


@contextmanager
def _plugin(parts: Setting) -> Iterator[Plugin]:
    """A plugin that is warm: connected, with memories to find, and with room for 200 operations at once."""
    wide = {**parts.credentials, "max_concurrent_memory_operations": str(_AT_ONCE)}
    with replace(parts, credentials=wide).plugin() as plugin:
        plugin.call("search_memory", user_id=SEARCHER, query="anything?", timeout=60)
        memories.store(plugin, _MEMORIES)
        _level(plugin, 50.0, 3.0)
        yield plugin


def _rising(plugin: Plugin, size: Size) -> Iterator[Level]:
    """Higher and higher rates, until one and a half times what was sustained."""
    rate, most = size.first_per_s, math.inf
    while rate <= most:
        level = _level(plugin, rate, size.step_s)
        yield level
        if level.success < _SUSTAINED and most == math.inf:
            most = rate / _STEP * _BEYOND
            rate = most if rate < most else rate * _STEP
        else:
            rate *= _STEP


def _level(plugin: Plugin, rate_per_s: float, duration_s: float) -> Level:
    """Calls at ``rate_per_s`` for ``duration_s``, and their answers; the writes have been carried out in the end."""
    planned = random.Random(f"{_SEED} {rate_per_s}")
    started = time.perf_counter()
    answers: list[Future[Invocation]] = []
    for number in range(int(rate_per_s * duration_s)):
        ahead_s = started + number / rate_per_s - time.perf_counter()
        if ahead_s > 0:
            time.sleep(ahead_s)
        answers.append(_call(plugin, planned, number))
    offered_per_s = len(answers) / (time.perf_counter() - started)
    answered = [future.result() for future in answers]
    wall_s = time.perf_counter() - started
    plugin.drain()
    return _counted(offered_per_s, answered, wall_s)


def _call(plugin: Plugin, planned: random.Random, number: int) -> Future[Invocation]:
    match planned.choices(list(_SHARES), list(_SHARES.values()))[0]:
        case "search_memory":
            return plugin.submit("search_memory", user_id=SEARCHER, query=memories.queries(1, number)[0])
        case "add_memory":
            user_id = f"writer-{planned.randrange(_WRITERS)}"
            return plugin.submit("add_memory", user_id=user_id, user=memories.text(number))
        case listing:
            return plugin.submit(listing, user_id=SEARCHER)


def _counted(offered_per_s: float, answered: Sequence[Invocation], wall_s: float) -> Level:
    statuses = Counter(str(answer.status) for answer in answered)
    found = [each.elapsed_s for each in answered if each.tool == "search_memory" and each.status == "SUCCESS"]
    refused = [each.elapsed_s for each in answered if each.status == "OVERLOAD"]
    searches = Timing(found, wall_s)
    return Level(
        offered_per_s,
        dict(statuses),
        statuses["SUCCESS"] / wall_s,
        searches.p50_ms,
        searches.p95_ms,
        Timing(refused, wall_s).p95_ms if refused else 0.0,
    )


def _steady_figures(steady: Level) -> list[Figure]:
    rate = f"{steady.offered_per_s:.0f}/s"
    return [
        Figure(f"SUCCESS at {rate}", "%", steady.success * 100, aim=Aim(100, least=True)),
        Figure(f"search p50 at {rate}", "ms", steady.search_p50_ms),
        Figure(f"search p95 at {rate}", "ms", steady.search_p95_ms, aim=Aim(30)),
    ]


def _beyond_figures(levels: Sequence[Level], sustained: Level) -> list[Figure]:
    """The highest rate, beside what was sustained and beside the most goodput of all."""
    beyond = levels[-1]
    most = max(level.goodput_per_s for level in levels)
    rate = f"{beyond.offered_per_s:.0f}/s"
    return [
        Figure("sustained", "/s", sustained.goodput_per_s),
        Figure(f"goodput at {rate}, of the most", "/s", beyond.goodput_per_s, most, beyond.goodput_per_s / most, _GOOD),
        Figure(f"search p95 at {rate}", "ms", beyond.search_p95_ms, sustained.search_p95_ms),
        Figure(f"refused with OVERLOAD at {rate}, p95", "ms", beyond.refused_p95_ms),
        Figure(f"neither SUCCESS nor OVERLOAD at {rate}", "calls", beyond.faults, aim=Aim(0)),
    ]


def _line(level: Level) -> str:
    statuses = ", ".join(f"{count} {status}" for status, count in sorted(level.statuses.items()))
    return (
        f"{level.offered_per_s:.0f}/s: {statuses}; goodput {level.goodput_per_s:.0f}/s, search p50/p95 "
        f"{level.search_p50_ms:.0f}/{level.search_p95_ms:.0f} ms, OVERLOAD p95 {level.refused_p95_ms:.0f} ms"
    )


if __name__ == "__main__":
    main()
