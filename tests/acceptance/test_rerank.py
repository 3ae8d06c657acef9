"""A reranker behind the search: its order when it works, the order of similarity when it does not."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from playground.credentials import Endpoint
from playground.dify_host import PluginProcess
from playground.stand_in_model import StandInModel
from tests.plugin import Plugin


@pytest.fixture
def plugin(
    plugin_process: Callable[..., PluginProcess], pgvector_credentials: dict[str, Any], endpoint: Endpoint
) -> Plugin:
    """A plugin whose reranker asks a language model for each result."""
    llm = {"provider": "openai", "config": {"model": "m", "api_key": "k", "openai_base_url": endpoint.base_url}}
    reranker = json.dumps({"provider": "llm_reranker", "config": {"llm": llm}})
    return Plugin(
        plugin_process(), {**pgvector_credentials, "local_reranker_json_secret": reranker, "async_mode": False}
    )


def test_results_come_in_the_rerankers_order(plugin: Plugin, stand_in_model: StandInModel) -> None:
    for text in ("green tea in the morning", "a house by the sea"):
        plugin.call("add_memory", user_id="alice", user=text, infer=False)
    stand_in_model.control.script("0.1", "0.9")
    found = plugin.call("search_memory", user_id="alice", query="green tea")
    assert [(one["memory"], one["rerank_score"]) for one in found.results] == [
        ("a house by the sea", 0.9),
        ("green tea in the morning", 0.1),
    ]
    assert found.results[0]["score"] < found.results[1]["score"]


def test_a_broken_reranker_leaves_the_order_of_similarity(plugin: Plugin, stand_in_model: StandInModel) -> None:
    for text in ("green tea in the morning", "a house by the sea"):
        plugin.call("add_memory", user_id="alice", user=text, infer=False)
    stand_in_model.control.script("no idea", "no idea")
    found = plugin.call("search_memory", user_id="alice", query="green tea")
    assert [one["memory"] for one in found.results] == ["green tea in the morning", "a house by the sea"]
    assert all(one["rerank_score"] is None for one in found.results)
    plugin.process.wait_for_log("reranker failed")


def test_a_reranker_that_hangs_is_not_waited_for(plugin: Plugin, stand_in_model: StandInModel) -> None:
    for text in ("green tea in the morning", "a house by the sea"):
        plugin.call("add_memory", user_id="alice", user=text, infer=False)
    stand_in_model.control.set(failure_share=1.0, failure_kinds=("hang",), failing_endpoints=("chat",))
    plugin = plugin.with_credentials(async_mode=True)
    timeout_s = plugin.timeout_on_a_busy_machine_s(5)
    found = plugin.call("search_memory", user_id="alice", query="green tea", timeout=timeout_s)
    assert found.status == "SUCCESS" and len(found.results) == 2
