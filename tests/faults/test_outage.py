"""PostgreSQL goes away and comes back: calls degrade within their time, accepted writes survive, service resumes."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Literal

import pytest

from playground.credentials import Endpoint, credential_set, pgvector_block
from playground.dify_host import PluginProcess
from playground.postgres import PostgresServer
from playground.stand_in_model import StandInModel
from tests.plugin import Plugin


@pytest.mark.parametrize("how", ["fast", "immediate"])
def test_the_database_is_restarted_in_the_middle(
    how: Literal["fast", "immediate"],
    own_postgres: PostgresServer,
    stand_in_model: StandInModel,
    plugin_process: Callable[..., PluginProcess],
) -> None:
    stand_in_model.control.set(verbatim=True, chat_latency_s=0.5)
    database = own_postgres.create_database(f"outage_{uuid.uuid4().hex[:8]}")
    credentials = credential_set(Endpoint(stand_in_model.base_url), pgvector_block(database))
    plugin = Plugin(plugin_process(), credentials)
    texts = [f"note number {number}" for number in range(12)]
    for number, text in enumerate(texts):
        plugin.accept(f"user-{number % 3}", text)

    own_postgres.stop(how)
    for tool, parameters in (
        ("search_memory", {"user_id": "user-0", "query": "note"}),
        ("get_all_memories", {"user_id": "user-0"}),
        ("add_memory", {"user_id": "user-0", "user": "lost?"}),
        ("get_memory", {"memory_id": str(uuid.uuid4())}),
    ):
        answer = plugin.call_in_time(tool, 5, **parameters)
        assert answer.status in {"ERROR", "TIMEOUT"}, answer.envelope
        assert answer.results in ([], None)

    for _ in range(50):
        assert plugin.call("search_memory", user_id="user-0", query="note", timeout=5).status in {"ERROR", "TIMEOUT"}

    own_postgres.start()
    first = plugin.call("search_memory", user_id="user-0", query="note")
    assert first.status == "SUCCESS", first.envelope
    plugin.drain("user-0", "user-1", "user-2")
    for user in range(3):
        assert [text for text in texts[user::3] if plugin.texts(f"user-{user}").count(text) != 1] == []
    plugin.accept("user-0", "and on it goes")
    plugin.drain("user-0")
    assert "and on it goes" in plugin.texts("user-0")
