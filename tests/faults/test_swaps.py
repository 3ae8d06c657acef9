"""Credentials swapped again and again under load: nothing is lost, mixed, or left open.

Six credential sets with a collection each, four of which stay open. The test never calls a set again to have its
writes carried out: what was accepted is.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import closing
from typing import Final

import psycopg
import pytest

from playground.credentials import Endpoint, credential_set, pgvector_block
from playground.dify_host import PluginProcess
from playground.invocation import Invocation
from playground.postgres import Database
from playground.stand_in_model import StandInModel
from tests.acceptance.test_vitals import vitals
from tests.faults.ledger import PostgresLedger, wait_until
from tests.plugin import Plugin, checked

_SETS: Final = 6
_MOST_OPEN: Final = 4
_USERS: Final = 3
_SWAPS_IN_FLIGHT: Final = 3  # calls of so many sets are under way at once
_PENDING: Final = "SELECT count(*) FROM mem0_dify_writes WHERE status <> 'done'"
_LAST_SAID: Final = "SELECT query FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"


@pytest.fixture
def ledger(database: Database) -> Iterator[PostgresLedger]:
    with closing(PostgresLedger(database)) as opened:
        yield opened


def tenants(process: PluginProcess, model: StandInModel, database: Database) -> list[Plugin]:
    return [
        Plugin(
            process,
            credential_set(
                Endpoint(model.base_url, api_key=f"key-{number}"),
                pgvector_block(database, collection_name=f"of_set_{number}", minconn=2, maxconn=4),
            ),
        )
        for number in range(_SETS)
    ]


class Swapping:
    """Calls of one set after another, some of which are still under way when the next set's come."""

    def __init__(self, plugins: list[Plugin], seed: int) -> None:
        self.accepted: Counter[tuple[int, str]] = Counter()
        self.order: list[int] = []
        self._plugins = plugins
        self._lots = random.Random(seed)
        self._running: list[list[tuple[int, str, Future[Invocation]]]] = []

    def swap(self) -> None:
        number = self._lots.choice([each for each in range(_SETS) if each not in self.order[-1:]])
        self.order.append(number)
        plugin, place = self._plugins[number], len(self.order)
        texts = [f"set {number} note {place}.{note}" for note in range(3)]
        users = [f"user-{self._lots.randrange(_USERS)}" for _ in texts]
        adds = [plugin.submit("add_memory", user_id=user, user=text) for user, text in zip(users, texts, strict=True)]
        search = plugin.submit("search_memory", user_id=users[0], query="note")
        running = [(number, text, add) for text, add in zip(texts, adds, strict=True)]
        self._running.append([*running, (number, "", search)])
        if len(self._running) > _SWAPS_IN_FLIGHT:
            self._take(self._running.pop(0))

    def settle(self) -> None:
        while self._running:
            self._take(self._running.pop(0))

    def _take(self, calls: list[tuple[int, str, Future[Invocation]]]) -> None:
        for number, text, running in calls:
            answer = checked(running.result())
            assert answer.status in {"SUCCESS", "OVERLOAD"}, answer.envelope
            if text and answer.status == "SUCCESS":
                self.accepted[number, text] += 1
            elif answer.status == "SUCCESS":
                assert all(found["memory"].startswith(f"set {number} ") for found in answer.results)


def stored(database: Database) -> Counter[tuple[int, str]]:
    """Every text of every set's table."""
    found: Counter[tuple[int, str]] = Counter()
    with psycopg.connect(database.uri) as looking:
        for number in range(_SETS):
            rows = looking.execute(f"SELECT payload->>'data' FROM of_set_{number}".encode()).fetchall()
            found.update((number, str(text)) for (text,) in rows)
    return found


@pytest.mark.parametrize("swaps", [30, pytest.param(200, marks=pytest.mark.long)])
def test_swapped_under_load(
    swaps: int,
    database: Database,
    ledger: PostgresLedger,
    stand_in_model: StandInModel,
    plugin_process: Callable[..., PluginProcess],
) -> None:
    stand_in_model.control.set(verbatim=True)
    process = plugin_process()
    swapping = Swapping(tenants(process, stand_in_model, database), seed=18)
    for _ in range(swaps):
        swapping.swap()
    swapping.settle()
    assert swapping.accepted.total() >= swaps  # of three each; an overloaded plugin may refuse some

    wait_until(lambda: ledger.rows(_PENDING)[0][0] == 0)  # and nobody calls meanwhile
    assert stored(database) == swapping.accepted

    wait_until(lambda: vitals(process)["open_sets"] <= _MOST_OPEN and vitals(process)["closing_sets"] == 0)
    held = vitals(process)
    assert (held["stores"], held["state_stores"]) == (held["open_sets"], 1)
    latest = list(dict.fromkeys(reversed(swapping.order)))[:_MOST_OPEN]
    closed = [f"of_set_{number}" for number in range(_SETS) if number not in latest]
    assert [query for (query,) in ledger.rows(_LAST_SAID) if any(name in query for name in closed)] == []
