"""Idle connections are kept alive: the very connection that was there is there after as many beats as one likes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from typing import Any

import psycopg
import pytest

from playground.credentials import Endpoint, credential_set, pgvector_block
from playground.postgres import Database
from tests.unit.models.scripted_endpoint import ScriptedEndpoint, chat, embeddings
from utils.aio.heartbeat import Heartbeat
from utils.config.settings import Settings
from utils.memory.memory import Memory
from utils.runtime.credential_set import CredentialSet, Places
from utils.stores.protocol import Owner

SHORT_S = 0.02
DIMS = 3


@pytest.fixture
def endpoint() -> Iterator[ScriptedEndpoint]:
    with ScriptedEndpoint() as endpoint:
        yield endpoint


@pytest.fixture
def settings(endpoint: ScriptedEndpoint, database: Database) -> Settings:
    service = Endpoint(f"{endpoint.base_url}/v1", dimensions=DIMS)
    read = Settings.from_credentials(credential_set(service, pgvector_block(database, DIMS, minconn=1)))
    return read.model_copy(update={"heartbeat_interval_s": SHORT_S})


@pytest.fixture
async def memory(settings: Settings) -> AsyncIterator[Memory]:
    """The memory of a credential set that beats every 20 ms, which no form would take."""
    opened = CredentialSet(settings, Places())
    yield (await opened.opened()).memory
    await opened.close(1.0)


async def until(condition: Any) -> None:
    async with asyncio.timeout(600):
        while not condition():  # noqa: ASYNC110 - what servers have seen tells nobody
            await asyncio.sleep(SHORT_S)


async def test_a_models_connection_is_kept_for_as_long_as_its_set_is_open_and_nothing_is_paid(
    endpoint: ScriptedEndpoint, memory: Memory
) -> None:
    endpoint.script(embeddings([1.0] * DIMS), chat("yes"))
    await memory.search("tea", Owner("alice"), top_k=1, threshold=None, given_filters=None)
    llm = await memory.models.chat_model()
    await asyncio.to_thread(llm.ping)
    await until(lambda: endpoint.asked_for_free)
    visitors, paid, seen = endpoint.visitors, len(endpoint.paths), len(endpoint.asked_for_free)
    await until(lambda: len(endpoint.asked_for_free) >= seen + 20)
    assert {path.rpartition("/")[0] for path in endpoint.asked_for_free} == {"/v1/models"}
    assert len(endpoint.paths) == paid
    assert endpoint.visitors == visitors


async def test_a_part_that_nobody_has_used_is_not_asked(endpoint: ScriptedEndpoint, memory: Memory) -> None:
    await memory.page(Owner("alice"), limit=1, offset=0, given_filters=None)
    await asyncio.sleep(10 * SHORT_S)
    assert endpoint.visitors == 0


# The latest statement of every connection but the watcher's, with the time it began.
LATEST = """
    SELECT pid, query_start FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND query_start IS NOT NULL
"""


async def test_connections_to_the_databases_are_used_again_and_again(memory: Memory, database: Database) -> None:
    await memory.page(Owner("alice"), limit=1, offset=0, given_filters=None)
    with psycopg.connect(database.uri, autocommit=True) as watching:

        def latest() -> dict[int, Any]:
            return dict(watching.execute(LATEST).fetchall())

        for _ in range(3):
            before = latest()
            # the store's, the state's for reading and the state's for writing
            await until(lambda before=before: sum(latest().get(pid) != at for pid, at in before.items()) >= 3)


class Service:
    """Answers, or raises what it was given."""

    def __init__(self) -> None:
        self.asked = 0
        self.fault: Exception | None = None

    async def __call__(self) -> None:
        self.asked += 1
        if self.fault is not None:
            raise self.fault


async def test_a_heartbeat_goes_on_whatever_a_probe_raises_and_says_an_outage_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "utils.aio.heartbeat")
    steady, failing = Service(), Service()
    heart = Heartbeat({"one": steady, "other": failing}, SHORT_S)
    heart.start()
    for fault in (RuntimeError("a text"), None, TypeError("a text"), None):
        failing.fault = fault
        before = (steady.asked, failing.asked)
        await until(lambda before=before: steady.asked > before[0] + 3 and failing.asked > before[1] + 3)
    heart.stop()
    lines = [record.getMessage() for record in caplog.records]
    assert [line.partition(" (")[0] for line in lines] == [
        "keep-alive: other does not answer",
        "keep-alive: other answers again",
    ] * 2
    assert "RuntimeError" in lines[0] and "TypeError" in lines[2] and not any("a text" in line for line in lines)


async def test_a_stopped_heartbeat_asks_nothing_more() -> None:
    service = Service()
    heart = Heartbeat({"one": service}, SHORT_S)
    heart.start()
    await until(lambda: service.asked > 1)
    heart.stop()
    asked = service.asked
    await asyncio.sleep(5 * SHORT_S)
    assert service.asked == asked
