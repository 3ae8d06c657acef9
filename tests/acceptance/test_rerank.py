"""A reranker behind the search: its order when it works, the order of similarity when it does not."""

from __future__ import annotations

from typing import Any

import pytest

from playground.credentials import Endpoint, block
from playground.dify_host import PluginProcess
from playground.stand_in_model import StandInModel
from tests.plugin import PATIENT_S, Plugin


@pytest.fixture
def plugin(module_process: PluginProcess, collection_credentials: dict[str, Any], endpoint: Endpoint) -> Plugin:
    """A plugin in synchronous mode whose reranker asks a language model for each result."""
    reranker = {"local_reranker_json_secret": reranker_block(endpoint, timeout=PATIENT_S)}
    return Plugin(module_process, {**collection_credentials, **reranker, "async_mode": False})


def reranker_block(endpoint: Endpoint, **config: Any) -> str:
    llm = {"provider": "openai", "config": {"model": "m", "api_key": "k", "openai_base_url": endpoint.base_url}}
    return block("llm_reranker", llm=llm, **config)


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


def test_a_reranker_that_hangs_is_not_waited_for(
    plugin: Plugin, stand_in_model: StandInModel, endpoint: Endpoint
) -> None:
    """Its own time-out is shorter than a search's. The machine may be busy, so the best of three searches counts."""
    for text in ("green tea in the morning", "a house by the sea"):
        plugin.call("add_memory", user_id="alice", user=text, infer=False)
    stand_in_model.control.set(failure_share=1.0, failure_kinds=("hang",), failing_endpoints=("chat",))
    usual = plugin.with_credentials(async_mode=True, local_reranker_json_secret=reranker_block(endpoint))
    tries = (usual.search_in_time("alice", "green tea") for _ in range(3))
    assert 2 in (len(found.results) for found in tries)
