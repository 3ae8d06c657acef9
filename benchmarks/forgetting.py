"""What forgetting costs: a hundred thousand memories looked through and deleted, and searches with the recall log.

``python -m benchmarks.forgetting`` starts an embedded PostgreSQL, a stand-in for the models and the plugin's process.
One user gets many memories, half of them long forgotten; a dry run and a real run are timed, and the memory of the
process is watched meanwhile. Then rounds of searches that are recalled take turns with rounds whose matches are too bad
to be, so that what differs is the recall log's work. ``--short`` is for a tenth of it.
"""

from __future__ import annotations

import statistics
import time
from typing import Any, Final, NamedTuple

import psutil

from benchmarks import memories, timing
from benchmarks.report import Figure, Report, run_from_command_line
from benchmarks.setting import Plugin, Setting, setting

_OWNER: Final = "keeper"
_MIB: Final = 2**20
# Half of the rows are two years old, half a day; a tenth of the old ones was recalled lately. Vectors are the first's.
_FILL: Final = """
INSERT INTO mem0 SELECT gen_random_uuid(), vector, payload || jsonb_build_object('created_at',
    to_char(now() - CASE WHEN n % 2 = 0 THEN interval '2 years' ELSE interval '1 day' END, 'YYYY-MM-DD"T"HH24:MI:SS'))
FROM mem0, generate_series(1, {rows}) n WHERE payload ->> 'user_id' = '{owner}'
"""
_RECALL: Final = """
INSERT INTO mem0_dify.recalls (scope, user_id, memory_id, quality_ema, recall_count, last_recalled_at)
SELECT (SELECT scope FROM mem0_dify.scopes LIMIT 1), '{owner}', id::text, 0.8, 3, extract(epoch FROM now())
FROM mem0 WHERE payload ->> 'user_id' = '{owner}' AND get_byte(uuid_send(id), 15) < 26
"""


class Size(NamedTuple):
    """How much is measured."""

    rows: int
    searches: int
    rounds: int


def measure(size: Size) -> Report:
    """The whole benchmark."""
    report = Report("Forgetting", reference="without")
    with setting() as environment, environment.plugin() as plugin:
        _forgetting(environment, plugin, size, report)
        _recall_log(plugin, size, report)
    return report


def _forgetting(environment: Setting, plugin: Plugin, size: Size, report: Report) -> None:
    plugin.call("add_memory", user_id=_OWNER, user=memories.text(0), infer=False)
    plugin.drain()
    environment.state.execute(_FILL.format(rows=size.rows, owner=_OWNER).encode())
    environment.state.execute(_RECALL.format(owner=_OWNER).encode())
    environment.state.execute(b"VACUUM ANALYZE mem0")
    for name, asked in (("dry run", {"dry_run": True}), ("real run", {})):
        before_mib = plugin.rss_mib()
        with plugin.largest_rss_mib() as largest_mib:
            started = time.perf_counter()
            answer = plugin.submit("forget_memories", user_id=_OWNER, timeout=280, **asked).result()
            plugin.drain()
            took_s = time.perf_counter() - started
        report.figures.append(Figure(f"{name}: memories looked at", "/s", size.rows / took_s))
        grown_mib = largest_mib[0] - before_mib
        report.figures.append(Figure(f"{name}: memory on top of {before_mib:.0f} MiB", "MiB", grown_mib))
        report.notes.append(f"{name} of {size.rows} memories: {answer.text.splitlines()[0]}")


def _recall_log(plugin: Plugin, size: Size, report: Report) -> None:
    """Searches that are recorded against searches that are not: their matches are too bad to be recalls."""
    memories.store(plugin, 50)
    cpu_s: dict[bool, list[float]] = {True: [], False: []}

    def searches(recalled: bool) -> timing.Timing:
        asked = [_question(number, recalled) for number in range(size.searches)]
        before = _cpu_s(plugin)
        taken = plugin.timed("search_memory", asked)
        cpu_s[recalled].append((_cpu_s(plugin) - before) / size.searches)
        return taken

    with_log, without = timing.alternate(size.rounds, lambda _: searches(True), lambda _: searches(False))
    for name, of_round in (("p50", timing.p50_ms), ("p95", timing.p95_ms)):
        ours, theirs = timing.median(with_log, of_round), timing.median(without, of_round)
        ratio = timing.ratio(with_log, without, of_round)
        report.figures.append(Figure(f"search with the recall log, {name}", "ms", ours, theirs, ratio))
    ours_ms, theirs_ms = (statistics.median(cpu_s[each]) * 1000 for each in (True, False))
    ratio = statistics.median(one / other for one, other in zip(cpu_s[True], cpu_s[False], strict=True))
    report.figures.append(Figure("CPU of a search with the recall log", "ms", ours_ms, theirs_ms, ratio))
    backwards = plugin.call("search_memory", **_question(0, recalled=False)).results
    report.notes.append(f"the best score of a search without the log's work: {backwards[0]['score']:.2f}")


def _question(number: int, recalled: bool) -> dict[str, Any]:
    """A stored text finds itself and its like; read backwards it costs as much and finds nothing of its kind."""
    text = memories.text(number % 50)
    query = text if recalled else text[::-1]
    return {"user_id": memories.SEARCHER, "query": query, "top_k": 5}


def _cpu_s(plugin: Plugin) -> float:
    used = psutil.Process(plugin.process.pid).cpu_times()
    return float(used.user + used.system)


if __name__ == "__main__":
    run_from_command_line("benchmarks.forgetting", __doc__ or "", measure, Size(100_000, 300, 7), Size(10_000, 100, 3))
