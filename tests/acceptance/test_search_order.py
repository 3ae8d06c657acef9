"""The order of search results as a workflow sees it, and the settings of the two blocks that it depends on."""

from __future__ import annotations

import json
from typing import Any

import pytest

from playground.credentials import Endpoint, credential_set, qdrant_block
from playground.dify_host import PluginProcess
from tests.plugin import Plugin

MEMORIES = ("Has a whippet named Biscuit", "Lives in Galway, near the quay", "Reads crime novels", "Can't swim")


@pytest.fixture(params=["pgvector", "qdrant"])
def plugin(
    request: pytest.FixtureRequest, module_process: PluginProcess, endpoint: Endpoint, tmp_path_factory: Any
) -> Plugin:
    if request.param == "pgvector":
        credentials = request.getfixturevalue("collection_credentials")
    else:
        credentials = credential_set(endpoint, qdrant_block(tmp_path_factory.mktemp("qdrant")))
    plugin = Plugin(module_process, {**credentials, "async_mode": False})
    for text in MEMORIES:
        plugin.call("add_memory", user_id="alice", user=text, infer=False)
    return plugin


def changed(plugin: Plugin, name: str, **config: Any) -> Plugin:
    """The plugin with more in the config of one block."""
    pasted = json.loads(plugin.credentials[name])
    pasted["config"] |= config
    return plugin.with_credentials(**{name: json.dumps(pasted)})


def search(plugin: Plugin, query: str = "Who is Biscuit?", **asked: Any) -> list[dict[str, Any]]:
    found = plugin.call("search_memory", user_id="alice", query=query, **asked)
    assert found.status == "SUCCESS", found.envelope
    return found.results


def test_words_count_beside_similarity_until_they_are_turned_off(plugin: Plugin) -> None:
    found = search(plugin)
    assert len(found) == len(MEMORIES)
    assert found[0]["memory"] == MEMORIES[0]
    assert all(0.0 <= one["keyword_score"] <= 1.0 for one in found)
    assert found[0]["keyword_score"] == max(one["keyword_score"] for one in found) > 0.0
    off = search(changed(plugin, "local_vector_db_json_secret", keyword_order=False))
    assert [one["keyword_score"] for one in off] == [None] * len(MEMORIES)
    assert [one["score"] for one in off] == sorted((one["score"] for one in off), reverse=True)
    assert {one["id"]: one["score"] for one in off} == pytest.approx({one["id"]: one["score"] for one in found})


def test_the_threshold_stays_one_of_similarity(plugin: Plugin) -> None:
    scores = sorted((one["score"] for one in search(plugin)), reverse=True)
    assert [one["score"] >= scores[1] for one in search(plugin, threshold=scores[1])] == [True, True]


def test_prefixes_of_the_block_stand_before_what_is_embedded(plugin: Plugin) -> None:
    [exact, *_] = search(plugin, MEMORIES[1])
    assert (exact["memory"], exact["score"]) == (MEMORIES[1], pytest.approx(1.0, abs=1e-4))
    prefixed = changed(plugin, "local_embedder_json_secret", query_prefix="what somebody asks: ")
    [other, *_] = search(prefixed, MEMORIES[1])
    assert other["score"] < 0.999
    plugin.process.wait_for_log("before a query")


def test_a_known_model_gets_its_prefixes(plugin: Plugin) -> None:
    e5 = changed(plugin, "local_embedder_json_secret", model="multilingual-e5-small")
    e5.call("add_memory", user_id="bert", user=MEMORIES[1], infer=False)
    plain = changed(e5, "local_embedder_json_secret", query_prefix="", passage_prefix="")
    [found] = e5.call("search_memory", user_id="bert", query=MEMORIES[1]).results
    [unprefixed] = plain.call("search_memory", user_id="bert", query="passage: " + MEMORIES[1]).results
    assert found["score"] < 0.999
    assert unprefixed["score"] == pytest.approx(1.0, abs=1e-4)
