"""``python -m benchmarks.soak`` (``make soak``): does the plugin hold for months what it holds after five minutes?

One plugin process under a mixed load of 20 calls a second. Every minute another of six credential sets is in use (four
stay open), every fifth minute half of the model's requests fail for twenty seconds, and the database is restarted
twice, once like a crash, and once more in the warm-up. At the end of every minute the load pauses for a moment and the
process is measured at rest: what is left then is what it keeps. A line is fitted through the measurements after the
warm-up.

It ends with 1 when something grew, an answer was no envelope, a call failed that nothing had disturbed, or an accepted
write was not carried out.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import signal
import statistics
import sys
import tempfile
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, wait
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import psutil
import psycopg

from playground.credentials import Endpoint, credential_set, pgvector_block
from playground.dify_app import History, StandInDify
from playground.dify_host import PluginProcess
from playground.invocation import Invocation, LogLine
from playground.postgres import Database, PostgresServer
from playground.stand_in_model.process import StandInProcess

_CALLS_A_SECOND: Final = 20
_SETS: Final = 6
_USERS_A_SET: Final = 4
_MINUTE_S: Final = 60.0
_QUIET_S: Final = 5.0  # of each minute, before its measurement
_WARM_UP_MINUTES: Final = 5
_MODEL_FAILS_EVERY: Final = 5  # minutes
_MODEL_FAILS_FOR_S: Final = 20.0
_DATABASE_DOWN_S: Final = 3.0
_RECOVERY_S: Final = 60.0  # after a fault calls may fail for this long: pools come back, backlogs empty
_DRAIN_S: Final = 900.0  # six tries take some ten minutes (SPEC 4)
_ANSWER_S: Final = 400.0
_MIB: Final = 2**20
_DAY_S: Final = 86_400.0
_TEN_MINUTES_S: Final = 600.0
_GROWTH_LIMIT_MIB: Final = 1.0  # of resident memory, in ten minutes
_COUNT_LIMIT: Final = 3.0  # of everything that is counted, from the first measurement to the last
# Not among them: connections to the models and idle workers. Both are kept for the next peak, so their number follows
# the highest so far; the pools they belong to bound it.
_COUNTED: Final = ("threads", "database", "files", "greenlets", "tasks")
_NO_FAULT: Final = frozenset({"SUCCESS", "ACCEPTED", "NOT_FOUND", "OVERLOAD", "TIMEOUT"})  # the machine may be busy
_VITALS: Final = "vitals: "
_MIX: Final = {
    "search_memory": 45,
    "add_memory": 20,
    "get_all_memories": 10,
    "get_memory": 8,
    "update_memory": 6,
    "delete_memory": 4,
    "get_memory_history": 4,
    "delete_all_memories": 2,
    "forget_memories": 1,
}


@dataclass(frozen=True, slots=True)
class Measurement:
    """The process at rest.

    Attributes:
        at_s: seconds since the load began.
        values: by name: resident MiB, threads, connections to the database and to others, file descriptors that are no
            connections, and what the process tells of itself.
    """

    at_s: float
    values: dict[str, float]


@dataclass(slots=True)
class Outcome:
    """What became of the calls.

    Attributes:
        statuses: how many answers had which status, by tool.
        broken: answers that were no envelope.
        unexplained: failures while nothing was disturbed.
    """

    statuses: Counter[str] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)
    unexplained: list[str] = field(default_factory=list)

    def take(self, answer: Invocation, *, disturbed: bool) -> None:
        """Count one answer."""
        if answer.error is not None or not isinstance(answer.envelope, dict):
            self.broken.append(f"{answer.tool}: {answer.error_type} {answer.error}")
            return
        self.statuses[f"{answer.tool} {answer.status}"] += 1
        if answer.status not in _NO_FAULT and not disturbed:
            self.unexplained.append(f"{answer.tool}: {answer.status} {answer.envelope['messages']}")


@dataclass(slots=True)
class Tenant:
    """One credential set with its users, and what is known of their memories."""

    credentials: dict[str, Any]
    users: list[str]
    memory_ids: deque[str] = field(default_factory=lambda: deque(maxlen=200))


class Load:
    """Calls of one plugin process, drawn from the mix."""

    def __init__(self, process: PluginProcess, seed: int = 18) -> None:
        self.outcome = Outcome()
        self.disturbed_until = 0.0  # time.monotonic()
        self._process = process
        self._lots = random.Random(seed)
        self._running: set[Future[Invocation]] = set()

    def run(self, tenant: Tenant, seconds: float) -> None:
        """So many seconds of load on one credential set."""
        began = time.monotonic()
        for number in range(int(seconds * _CALLS_A_SECOND)):
            time.sleep(max(0.0, began + number / _CALLS_A_SECOND - time.monotonic()))
            self.call(tenant, *self._draw(tenant))

    def call(self, tenant: Tenant, tool: str, parameters: dict[str, Any]) -> None:
        """Send one call; its answer is taken when it comes."""
        asked_at = time.monotonic()
        running = self._process.submit(tool, parameters, tenant.credentials)
        self._running.add(running)
        running.add_done_callback(lambda done: self._take(tenant, done, asked_at))

    def settle(self) -> None:
        """Wait for the answers that are still to come."""
        late = wait(set(self._running), timeout=_ANSWER_S).not_done
        if late:
            self.outcome.broken.append(f"{len(late)} calls were not answered within {_ANSWER_S:g} s")

    def disturb(self, seconds: float) -> None:
        """Something is done to the plugin now: calls may fail for so long, and a while more."""
        self.disturbed_until = max(self.disturbed_until, time.monotonic() + seconds + _RECOVERY_S)

    def _take(self, tenant: Tenant, done: Future[Invocation], asked_at: float) -> None:
        self._running.discard(done)
        if (error := done.exception()) is not None:
            self.outcome.broken.append(f"{type(error).__name__}: {error}"[:300])
            return
        answer = done.result()
        self.outcome.take(answer, disturbed=asked_at < self.disturbed_until)
        if answer.tool in {"search_memory", "get_all_memories"} and answer.status == "SUCCESS":
            tenant.memory_ids.extend(memory["id"] for memory in answer.results[:2])

    def _draw(self, tenant: Tenant) -> tuple[str, dict[str, Any]]:
        tool = self._lots.choices(list(_MIX), list(_MIX.values()))[0]
        user, number = self._lots.choice(tenant.users), self._lots.randrange(10_000)
        memory_id = (
            self._lots.choice(tenant.memory_ids) if tenant.memory_ids else "00000000-0000-0000-0000-000000000000"
        )
        parameters: dict[str, dict[str, Any]] = {
            "search_memory": {"user_id": user, "query": f"what about number {number}?"},
            "add_memory": {"user_id": user, "user": f"I have seen number {number} at the lake"},
            "get_all_memories": {"user_id": user},
            "get_memory": {"memory_id": memory_id},
            "update_memory": {"memory_id": memory_id, "text": f"Has seen number {number} at the sea"},
            "delete_memory": {"memory_id": memory_id},
            "get_memory_history": {"memory_id": memory_id},
            "delete_all_memories": {"user_id": user, "purge_history": True},
            "forget_memories": {"user_id": user, "dry_run": True},
        }
        return tool, parameters[tool]


@dataclass(frozen=True, slots=True)
class Site:
    """Everything that runs: database, model, Dify app, plugin."""

    server: PostgresServer
    database: Database
    model: StandInProcess
    dify: StandInDify
    process: PluginProcess
    tenants: list[Tenant]

    def extract(self, load: Load, tenant: Tenant) -> None:
        """Each of the set's users has said something yesterday: a nightly extraction of it, now."""
        yesterday = time.time() - _DAY_S
        for user in tenant.users:
            self.dify.history.converse(user, yesterday, *[(f"{user} was at market {n}", "I see.") for n in range(5)])
        asked = {"user_ids": ",".join(tenant.users), "app_id": "app", "days_back": 7}
        address = {"dify_base_url": self.dify.base_url, "dify_api_key": self.dify.control.settings.accepted_key}
        load.call(tenant, "extract_long_term_memory", {**asked, **address})

    def measure(self, at_s: float) -> Measurement:
        """The process as the system sees it, and as it sees itself."""
        told = self._vitals()
        self.process.signal(signal.SIGUSR1)
        self.process.wait_until(lambda: self._vitals() is not told, 60.0)
        seen = psutil.Process(self.process.pid)
        peers = Counter(each.raddr.port for each in seen.net_connections("tcp") if each.raddr)
        database = peers[self.database.port]
        values = {
            "resident MiB": self.process.rss_bytes() / _MIB,
            "threads": seen.num_threads(),
            "database": database,
            "others": peers.total() - database,
            "files": seen.num_fds() - peers.total(),
            **{name: int(count) for name, count in (part.split("=") for part in self._told())},
        }
        return Measurement(at_s, values)

    def _told(self) -> list[str]:
        line = self._vitals()
        return line.message.removeprefix(_VITALS).split() if line is not None else []

    def _vitals(self) -> LogLine | None:
        """The last line about them."""
        return next((line for line in reversed(self.process.logs) if line.message.startswith(_VITALS)), None)


@contextmanager
def site() -> Iterator[Site]:
    """Start everything; leaving the block stops it all and removes every file."""
    with ExitStack() as parts:
        folder = Path(tempfile.mkdtemp(prefix="soak-"))
        parts.callback(shutil.rmtree, folder, ignore_errors=True)
        server = parts.enter_context(PostgresServer(folder / "postgres"))
        model = parts.enter_context(StandInProcess())
        model.control(verbatim=True, chat_latency_s=0.2, embedding_latency_s=0.02)
        database = server.create_database("soak")
        tenants = [_tenant(model, database, number) for number in range(_SETS)]
        dify = parts.enter_context(StandInDify(History()))
        home = {"HOME": str(folder), "MEM0_DIFY_STATE_DIR": str(folder / "state")}
        process = parts.enter_context(PluginProcess(home))
        yield Site(server, database, model, dify, process, tenants)


def _tenant(model: StandInProcess, database: Database, number: int) -> Tenant:
    # Pools of one size: what the process holds at rest must not depend on how many calls happened to meet.
    store = pgvector_block(database, collection_name=f"memories_{number}", minconn=8, maxconn=8)
    credentials = credential_set(Endpoint(model.base_url, api_key=f"key-{number}"), store)
    return Tenant(credentials, [f"user-{number}-{user}" for user in range(_USERS_A_SET)])


def soak(parts: Site, minutes: int) -> tuple[list[Measurement], Load]:
    """The whole run: what was measured at the end of each minute, and what became of the calls."""
    load, measured, began = Load(parts.process), [], time.monotonic()
    # The first is a part of the warm-up: never are more calls in flight than behind a database that is away.
    restarts = {3: "fast", minutes // 3: "fast", 2 * minutes // 3: "immediate"}
    for minute in range(minutes):
        tenant = parts.tenants[minute % _SETS]
        left_s = _MINUTE_S - _QUIET_S
        if minute in restarts:
            left_s -= _restart(parts, load, tenant, restarts[minute])
        elif minute % _MODEL_FAILS_EVERY == 2:
            left_s -= _model_fails(parts, load, tenant)
        parts.extract(load, tenant)
        load.run(tenant, left_s)
        load.settle()
        time.sleep(max(0.0, began + (minute + 1) * _MINUTE_S - time.monotonic()))
        measured.append(parts.measure(time.monotonic() - began))
        _show(minute, measured[-1], load.outcome)
    return measured, load


def _restart(parts: Site, load: Load, tenant: Tenant, how: Any) -> float:
    """Restart the database under load; the seconds it took of the minute."""
    began = time.monotonic()
    load.disturb(_DATABASE_DOWN_S)
    load.run(tenant, 2.0)
    parts.server.stop(how)
    load.run(tenant, _DATABASE_DOWN_S)
    parts.server.start()
    return time.monotonic() - began


def _model_fails(parts: Site, load: Load, tenant: Tenant) -> float:
    """Half of the model's requests fail for a while; the seconds it took of the minute."""
    began = time.monotonic()
    load.disturb(_MODEL_FAILS_FOR_S)
    parts.model.control(failure_share=0.5, failure_kinds=["500", "429", "reset", "garbage"], failure_seed=int(began))
    load.run(tenant, _MODEL_FAILS_FOR_S)
    parts.model.control(failure_share=0.0)
    return time.monotonic() - began


def _show(minute: int, measurement: Measurement, outcome: Outcome) -> None:
    values = " ".join(f"{name} {value:.4g}" for name, value in measurement.values.items())
    troubles = f"broken {len(outcome.broken)} unexplained {len(outcome.unexplained)}"
    print(f"minute {minute + 1}: {values} | calls {outcome.statuses.total()} {troubles}", flush=True)


def undone(parts: Site) -> Counter[str]:
    """How many accepted writes have which end, when none is pending any more or the time is up; without the done."""
    ends, give_up_at = _ends(parts.database), time.monotonic() + _DRAIN_S
    while ends["pending"] and time.monotonic() < give_up_at:
        time.sleep(1.0)
        ends = _ends(parts.database)
    return ends


def _ends(database: Database) -> Counter[str]:
    counted = "SELECT status, count(*) FROM mem0_dify.writes WHERE status NOT IN ('done', 'superseded') GROUP BY 1"
    with psycopg.connect(database.uri) as watching:
        return Counter(dict(watching.execute(counted).fetchall()))


@dataclass(frozen=True, slots=True)
class Trend:
    """A line through the measurements of one value.

    Attributes:
        least, most: what was measured.
        per_ten_minutes: the line's slope.
        growth: the line's rise from the first measurement to the last.
        kept: whether that is within the limit.
    """

    name: str
    least: float
    most: float
    per_ten_minutes: float
    growth: float
    kept: bool | None


def trends(measured: Sequence[Measurement]) -> list[Trend]:
    """One line for each value; needs two measurements."""
    times = [each.at_s for each in measured]
    return [_trend(name, times, [each.values[name] for each in measured]) for name in measured[0].values]


def _trend(name: str, times: Sequence[float], values: Sequence[float]) -> Trend:
    slope = statistics.linear_regression(times, values).slope
    per_ten_minutes, growth = slope * _TEN_MINUTES_S, slope * (times[-1] - times[0])
    kept = None
    if name == "resident MiB":
        kept = per_ten_minutes < _GROWTH_LIMIT_MIB
    elif name in _COUNTED:
        kept = abs(growth) <= _COUNT_LIMIT
    return Trend(name, min(values), max(values), per_ten_minutes, growth, kept)


def _report(lines: Sequence[Trend], outcome: Outcome, left: Counter[str]) -> bool:
    for each in lines:
        verdict = "" if each.kept is None else "  kept" if each.kept else "  GREW"
        figures = f"{each.least:9.2f} to {each.most:9.2f}, {each.per_ten_minutes:+7.2f} in ten minutes"
        print(f"{each.name:16} {figures}, {each.growth:+7.2f} in all{verdict}")
    for name, count in sorted(outcome.statuses.items()):
        print(f"{count:7} {name}")
    for title, found in (("no envelope", outcome.broken), ("unexplained", outcome.unexplained)):
        print(f"{len(found)} {title}", *found[:10], sep="\n  ")
    print(f"accepted writes that were not carried out: {dict(left) or 'none'}")
    grown = [each.name for each in lines if each.kept is False]
    return not (grown or outcome.broken or outcome.unexplained or left)


def main() -> None:
    """Run it, print what was found, and end with 1 if a promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--minutes", type=int, default=30, help="how long (default 30, five of them warm-up)")
    parser.add_argument("--json", type=Path, help="write the measurements to this file")
    asked = parser.parse_args()
    if asked.minutes < _WARM_UP_MINUTES + 2:
        parser.error(f"--minutes must be at least {_WARM_UP_MINUTES + 2}")
    with site() as parts:
        measured, load = soak(parts, asked.minutes)
        left = undone(parts)
        unforeseen = [line.message for line in parts.process.logs if "failed unexpectedly" in line.message]
    print(f"{len(unforeseen)} errors nobody foresaw", *unforeseen[-3:], sep="\n")
    if asked.json is not None:
        asked.json.write_text(json.dumps([{"at_s": each.at_s, **each.values} for each in measured]))
    sys.exit(0 if _report(trends(measured[_WARM_UP_MINUTES:]), load.outcome, left) else 1)


if __name__ == "__main__":
    main()
