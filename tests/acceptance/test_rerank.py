"""A reranker behind the search: its order when it works, the order of similarity when it does not, and that is said."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from playground.credentials import Endpoint, block
from playground.dify_host import PluginProcess
from playground.stand_in_model import StandInModel
from tests.plugin import PATIENT_S, TRIES, Plugin
from tests.unit.models.scripted_endpoint import HANG, RESET, Reply, ScriptedEndpoint, failure
from utils import messages

RERANKER = "local_reranker_json_secret"
TEA, HOUSE = "green tea in the morning", "a house by the sea"  # in the order of similarity to the query
FAILED = {
    "en_US": "The reranker failed (",
    "zh_Hans": "重排模型失败（",
    "ja_JP": "リランカーが失敗しました（",
    "pt_BR": "O reranker falhou (",
}


@pytest.fixture
def reranking(module_process: PluginProcess, collection_credentials: dict[str, Any]) -> Callable[[str], Plugin]:
    """A plugin in synchronous mode with two memories and the reranker of a block."""

    def plugin_with(reranker: str) -> Plugin:
        plugin = Plugin(module_process, {**collection_credentials, RERANKER: reranker, "async_mode": False})
        for text in (TEA, HOUSE):
            plugin.call("add_memory", user_id="alice", user=text, infer=False)
        return plugin

    return plugin_with


@pytest.fixture
def service() -> Iterator[ScriptedEndpoint]:
    """A stand-in for a service that reranks."""
    with ScriptedEndpoint() as endpoint:
        yield endpoint


def cohere(service: ScriptedEndpoint, **config: Any) -> str:
    return block("cohere", **{"api_key": "canary", "cohere_base_url": f"{service.base_url}/v1", **config})


def zero_entropy(service: ScriptedEndpoint, **config: Any) -> str:
    return block("zero_entropy", api_key="canary", zero_entropy_base_url=f"{service.base_url}/v1", **config)


def llm_reranker(endpoint: Endpoint, **config: Any) -> str:
    llm = {"provider": "openai", "config": {"model": "m", "api_key": "k", "openai_base_url": endpoint.base_url}}
    return block("llm_reranker", llm=llm, **config)


def scored(*scores: Any) -> Reply:
    """The answer of a service that reranks: best first, as they answer."""
    rows = [{"index": index, "relevance_score": score} for index, score in enumerate(scores)]
    return Reply({"id": "r", "results": sorted(rows, key=lambda row: -row["relevance_score"])})


def search(plugin: Plugin, **asked: Any) -> Any:
    return plugin.call("search_memory", user_id="alice", query="green tea", **asked)


def order(found: Any) -> list[tuple[str, float | None]]:
    return [(one["memory"], one["rerank_score"]) for one in found.results]


# --- its order


@pytest.mark.parametrize(
    ("made", "path", "model"),
    [(cohere, "/v1/rerank", "rerank-v3.5"), (zero_entropy, "/v1/models/rerank", "zerank-1")],
)
def test_results_come_in_the_order_of_a_service_that_is_asked_once(
    reranking: Callable[[str], Plugin],
    service: ScriptedEndpoint,
    made: Callable[..., str],
    path: str,
    model: str,
) -> None:
    service.script(scored(0.1, 0.9))
    found = search(reranking(made(service, timeout=PATIENT_S)))
    assert order(found) == [(HOUSE, 0.9), (TEA, 0.1)]
    assert found.results[0]["score"] < found.results[1]["score"]
    assert service.paths == [path]
    assert service.bodies == [{"model": model, "query": "green tea", "documents": [TEA, HOUSE], "top_n": 2}]
    assert service.headers[0]["Authorization"] == "Bearer canary"
    assert all(failed not in found.text for failed in FAILED.values())


def test_results_come_in_the_order_of_a_chat_model_that_is_asked_once(
    reranking: Callable[[str], Plugin], endpoint: Endpoint, stand_in_model: StandInModel
) -> None:
    plugin = reranking(llm_reranker(endpoint, timeout=PATIENT_S))
    stand_in_model.control.script('<think>{"0": 1, "1": 0}</think>\n```json\n{"0": 0.1, "1": 0.9}\n```')
    found = search(plugin)
    assert order(found) == [(HOUSE, 0.9), (TEA, 0.1)]
    assert stand_in_model.control.counts["chat"] == 1


def test_logits_of_a_service_become_scores_from_0_to_1(
    reranking: Callable[[str], Plugin], service: ScriptedEndpoint
) -> None:
    service.script(scored(-800.0, 2.0))
    [(first, best), (second, least)] = order(search(reranking(cohere(service, timeout=PATIENT_S))))
    assert (first, second) == (HOUSE, TEA)
    assert best == pytest.approx(0.880797) and least == 0.0


def test_what_a_reranker_is_given_is_bounded(reranking: Callable[[str], Plugin], service: ScriptedEndpoint) -> None:
    plugin = reranking(cohere(service, timeout=PATIENT_S))
    for number in range(12):
        plugin.call("add_memory", user_id="bob", user=f"{number} {'tea ' * 4_900}", infer=False)
    service.script(scored(*[0.5] * 6))
    asked = {"user_id": "bob", "query": "tea " * 4_000, "top_k": 2}
    assert len(plugin.call("search_memory", **asked).results) == 2
    [body] = service.bodies
    assert [len(text) for text in body["documents"]] == [2_000] * 6
    assert len(body["query"]) == 2_000


# --- without it


@pytest.mark.parametrize("language", messages.LANGUAGES)
@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (failure(401), "AuthenticationError, HTTP 401"),
        (failure(503), "InternalServerError, HTTP 503"),
        (RESET, "APIConnectionError"),
        (Reply(b"<html>"), "DecodingError"),
        (Reply({"results": [{"index": 0, "relevance_score": 0.5}]}), ""),
        (Reply({"results": [{"index": number, "relevance_score": "NaN"} for number in (0, 1)]}), ""),
    ],
    ids=["401", "503", "reset", "html", "one-is-missing", "no-numbers"],
)
def test_a_service_that_fails_leaves_the_order_of_similarity_and_that_is_said(
    reranking: Callable[[str], Plugin], service: ScriptedEndpoint, reply: Reply, reason: str, language: str
) -> None:
    service.script(reply)
    plugin = reranking(cohere(service, timeout=PATIENT_S)).with_credentials(language=language)
    found = search(plugin)
    assert (found.status, order(found)) == ("SUCCESS", [(TEA, None), (HOUSE, None)])
    assert FAILED[language] + reason in found.text and "canary" not in found.text
    assert service.requests == 1, "asked once in a search, also when it fails"
    plugin.process.wait_for_log("reranker failed")


@pytest.mark.parametrize("answer", ["no idea", '{"0": 0.5}', '{"0": 7, "1": 3}', '{"0": "high", "1": "low"}'])
def test_a_chat_model_that_gives_no_scores_is_a_failure_too(
    reranking: Callable[[str], Plugin], endpoint: Endpoint, stand_in_model: StandInModel, answer: str
) -> None:
    plugin = reranking(llm_reranker(endpoint, timeout=PATIENT_S))
    stand_in_model.control.script(answer)
    found = search(plugin)
    assert order(found) == [(TEA, None), (HOUSE, None)]
    assert "The reranker failed (no scores)" in found.text
    assert stand_in_model.control.counts["chat"] == 1


def test_scores_that_are_all_equal_are_scores(reranking: Callable[[str], Plugin], service: ScriptedEndpoint) -> None:
    """mem0's classes give equal ones for a failure, ours do not."""
    service.script(scored(0.0, 0.0))
    assert order(search(reranking(cohere(service, timeout=PATIENT_S)))) == [(TEA, 0.0), (HOUSE, 0.0)]


def test_a_reranker_that_cannot_be_built_costs_no_search_its_answer(reranking: Callable[[str], Plugin]) -> None:
    llm = {"provider": "openai", "config": {"model": "m", "api_key": "k", "openai_base_url": "http://127.0.0.1:99999"}}
    found = search(reranking(block("llm_reranker", llm=llm)))
    assert order(found) == [(TEA, None), (HOUSE, None)]
    assert "The reranker failed (" in found.text


@pytest.mark.parametrize("timeout_s", [5, 2])
def test_a_reranker_that_hangs_is_not_waited_for(
    reranking: Callable[[str], Plugin], service: ScriptedEndpoint, timeout_s: float
) -> None:
    """Its own time is shorter than a search's, and ends with it. The machine may be busy: the best of a few counts."""
    service.script(HANG)
    plugin = reranking(cohere(service)).with_credentials(async_mode=True)
    tries = (plugin.call("search_memory", user_id="alice", query="green tea", timeout=timeout_s) for _ in range(TRIES))
    found = next(found for found in tries if found.status == "SUCCESS")
    assert order(found) == [(TEA, None), (HOUSE, None)]
    assert "The reranker failed (no answer)" in found.text
