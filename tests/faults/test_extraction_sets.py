"""An extraction whose credential set is not the one in use any more: it goes on, and every message is read once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import date
from typing import Final

import psycopg
import pytest

from playground.credentials import Endpoint, credential_set, pgvector_block
from playground.dify_app import History, StandInDify
from playground.dify_host import PluginProcess
from playground.postgres import Database
from playground.stand_in_model import StandInModel
from tests.acceptance.test_vitals import vitals
from tests.faults.ledger import PostgresLedger, wait_until
from tests.plugin import Plugin
from utils.extraction.request import range_before

APP: Final = "support-app"
_CONVERSATIONS: Final = 4
_MOST_OPEN: Final = 4
_RUNNING: Final = "SELECT count(*) FROM mem0_dify_tasks WHERE status NOT IN ('completed', 'failed')"


@pytest.fixture
def ledger(database: Database) -> Iterator[PostgresLedger]:
    with closing(PostgresLedger(database)) as opened:
        yield opened


@pytest.fixture
def dify() -> Iterator[StandInDify]:
    """Conversations of yesterday, each with a fact of its own."""
    history, day = History(), range_before(date.today(), 1)[0]
    for user in ("ana", "ben"):
        for number in range(_CONVERSATIONS):
            history.converse(user, day + 3600 + number * 600, (f"I like sport{number} of {user}.", "Fine."))
    with StandInDify(history) as app:
        yield app


def start(plugin: Plugin, dify: StandInDify) -> None:
    key = dify.control.settings.accepted_key
    asked = {"app_id": APP, "dify_base_url": dify.base_url, "dify_api_key": key, "user_ids": "ana,ben"}
    assert plugin.call("extract_long_term_memory", **asked).status == "ACCEPTED"


def facts() -> Counter[str]:
    return Counter(f"I like sport{number} of {user}" for user in ("ana", "ben") for number in range(_CONVERSATIONS))


def stored(database: Database, collection: str) -> Counter[str]:
    with psycopg.connect(database.uri) as looking:
        rows = looking.execute(f"SELECT payload->>'data' FROM {collection}".encode()).fetchall()
    return Counter(str(text) for (text,) in rows)


def test_two_sets_that_are_over_the_limit_end_their_extractions(
    database: Database,
    ledger: PostgresLedger,
    dify: StandInDify,
    stand_in_model: StandInModel,
    plugin_process: Callable[..., PluginProcess],
) -> None:
    """Their model answers only when others have been in use for long; nobody calls the two again."""
    process = plugin_process()
    names = [f"of_set_{number}" for number in range(_MOST_OPEN + 3)]
    plugins = [
        Plugin(
            process, credential_set(Endpoint(stand_in_model.base_url), pgvector_block(database, collection_name=name))
        )
        for name in names
    ]
    stand_in_model.control.set(held_endpoints=["chat"])
    for plugin in plugins[:2]:
        start(plugin, dify)
    wait_until(lambda: stand_in_model.control.counts["chat"] >= 4)  # each user of each set has asked
    for _ in range(2):
        for plugin in plugins[2:]:
            assert plugin.call("search_memory", user_id="ana", query="sport").status == "SUCCESS"
    stand_in_model.control.set(held_endpoints=[])
    wait_until(lambda: ledger.rows(_RUNNING)[0][0] == 0)
    for name in names[:2]:
        assert stored(database, name) == facts()
    assert stand_in_model.control.counts["chat"] == 2 * 2 * _CONVERSATIONS  # each conversation was asked about once
    wait_until(lambda: vitals(process)["open_sets"] <= _MOST_OPEN)
    assert vitals(process)["stores"] <= _MOST_OPEN
