"""The wrappers around mem0's models, with the real SDKs against a scripted endpoint, and the one door ``ask``."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from openai import AzureOpenAI

from tests.unit.models.scripted_endpoint import (
    HANG,
    RESET,
    Reply,
    ScriptedEndpoint,
    chat,
    embeddings,
    failure,
)
from utils.aio.blocking import ThreadPool, use_pool
from utils.config.blocks import Block
from utils.errors import ServiceError, ServiceRefused, ServiceRejected, ServiceUnavailable, UnusableAnswer
from utils.mem0 import building
from utils.memory.ask import ask
from utils.memory.prompts import Offered, Turn, added_message, conversation
from utils.models.chat import ChatModel
from utils.models.clients import keep_connections, prepare_client, touch
from utils.models.embedder import MOST_EMBEDDED, Embedder
from utils.models.openai_client import openai_embeddings, use_lean_client
from utils.models.reranker import build_reranker

NOW = datetime(2026, 3, 5, tzinfo=UTC)
TURNS = [Turn("user", "I like tea")]
OFFERED = [Offered("0", "lives in Porto")]
MESSAGES = added_message(TURNS, OFFERED, NOW, None)
TEA = '{"memory": [{"event": "ADD", "text": "likes tea"}]}'
PATIENT_S, IMPATIENT_S = 300.0, 0.2
ANTHROPIC = {"id": "m", "type": "message", "role": "assistant", "model": "m", "stop_reason": "end_turn"}


@pytest.fixture
def endpoint() -> Iterator[ScriptedEndpoint]:
    with ScriptedEndpoint() as endpoint:
        yield endpoint


@pytest.fixture
async def lane() -> AsyncIterator[None]:
    workers = ThreadPool("test", 2)
    use_pool(workers)
    yield
    workers.close()


def chat_model(
    endpoint: ScriptedEndpoint, provider: str = "openai", timeout_s: float = PATIENT_S, **config: Any
) -> Any:
    family = "openai" if provider == "openai_structured" else provider
    url = endpoint.base_url + ("" if provider in {"anthropic", "ollama"} else "/v1")
    settings = {"model": "m", "api_key": "sk-canary", f"{family}_base_url": url, **config}
    return ChatModel(building.build_llm(provider, settings), provider, timeout_s)


def embedder(endpoint: ScriptedEndpoint, dims: int | None = None, timeout_s: float = PATIENT_S) -> Embedder:
    settings = {"model": "m", "api_key": "sk-canary", "openai_base_url": endpoint.base_url + "/v1"}
    return Embedder(openai_embeddings("openai", settings, timeout_s), "openai", timeout_s, dims)


def anthropic_message(text: str) -> Reply:
    content = [{"type": "text", "text": text}]
    return Reply({**ANTHROPIC, "content": content, "usage": {"input_tokens": 1, "output_tokens": 1}})


@pytest.fixture
def elsewhere() -> Iterator[ScriptedEndpoint]:
    """Another host, which answers whatever it is asked."""
    with ScriptedEndpoint() as endpoint:
        endpoint.script(chat(TEA))
        yield endpoint


@pytest.mark.parametrize("status", [302, 307])
@pytest.mark.parametrize("part", ["openai", "openai_structured", "anthropic", "ollama", "embedder", "reranker"])
def test_a_redirect_takes_neither_texts_nor_keys_elsewhere(
    endpoint: ScriptedEndpoint, elsewhere: ScriptedEndpoint, part: str, status: int
) -> None:
    endpoint.script(Reply(b"", status, {"Location": f"{elsewhere.base_url}/v1/chat/completions"}))
    asked = {"embedder": lambda: embedder(endpoint).embed("tea"), "reranker": lambda: reranked(endpoint)}
    with pytest.raises(ServiceError) as raised:
        asked.get(part, lambda: chat_model(endpoint, part).generate(MESSAGES))()
    assert endpoint.requests == 1
    assert elsewhere.visitors == 0
    assert f"HTTP {status}" in raised.value.reason


def reranked(endpoint: ScriptedEndpoint) -> list[float]:
    llm = {"model": "m", "api_key": "sk-canary", "openai_base_url": endpoint.base_url + "/v1"}
    config = {"provider": "openai", "llm": {"provider": "openai", "config": llm}}
    block = Block(provider="llm_reranker", config=config)
    return build_reranker(block, PATIENT_S, idle_s=1.0).rerank("tea", ["tea", "coffee"])


@pytest.mark.parametrize("provider", ["openai", "anthropic", "ollama"])
@pytest.mark.parametrize(("idle_s", "connections"), [(600.0, 1), (-1.0, 3)])
def test_how_long_an_idle_connection_is_kept_is_ours_to_say(
    endpoint: ScriptedEndpoint, provider: str, idle_s: float, connections: int
) -> None:
    family = {f"{provider}_base_url": endpoint.base_url + ("/v1" if provider == "openai" else "")}
    llm = building.build_llm(provider, {"model": "m", "api_key": "sk-canary", **family})
    prepare_client(llm, PATIENT_S)
    keep_connections(llm, idle_s)
    for _ in range(3):
        touch(llm, "llm")
    assert len(endpoint.asked_for_free) == 3
    assert endpoint.visitors == connections


def test_a_service_that_knows_no_such_question_has_answered_and_one_that_is_gone_has_not(
    endpoint: ScriptedEndpoint,
) -> None:
    model = chat_model(endpoint)
    endpoint.free_status = 404
    model.touch()
    assert endpoint.asked_for_free == ["/v1/models/m"]
    with ScriptedEndpoint() as gone:
        pass
    with pytest.raises(ServiceUnavailable):
        chat_model(gone).touch()


NO_RESPONSES = [
    Reply(b"<html>Bad gateway</html>", headers={"Content-Type": "text/html"}),
    Reply(b"<html>"),
    Reply({"error": {"message": "upstream failed", "code": 502}}),
    Reply({"choices": []}),
    Reply([]),
    Reply(b"null"),
]


@pytest.mark.parametrize(
    ("reply", "kind", "reason", "requests"),
    [
        (failure(401, "invalid_api_key"), ServiceRefused, "AuthenticationError, HTTP 401, invalid_api_key", 1),
        (failure(403), ServiceRefused, "PermissionDeniedError, HTTP 403", 1),
        (failure(429), ServiceUnavailable, "RateLimitError, HTTP 429", 3),
        (failure(429, "insufficient_quota"), ServiceRefused, "RateLimitError, HTTP 429, insufficient_quota", 3),
        (failure(500), ServiceUnavailable, "InternalServerError, HTTP 500", 3),
        (failure(404), ServiceRejected, "NotFoundError, HTTP 404", 1),
        (RESET, ServiceUnavailable, "APIConnectionError", 3),
        *[(reply, UnusableAnswer, None, 1) for reply in NO_RESPONSES],
    ],
)
def test_how_a_failing_endpoint_is_told(
    endpoint: ScriptedEndpoint, reply: Reply, kind: type[ServiceError], reason: str | None, requests: int
) -> None:
    endpoint.script(reply)
    with pytest.raises(kind) as raised:
        chat_model(endpoint).generate(MESSAGES)
    assert type(raised.value) is kind
    assert raised.value.part == "llm"
    assert reason is None or raised.value.reason == reason
    assert endpoint.requests == requests
    assert "canary" not in f"{raised.value}{raised.value.params}"


def test_a_passing_failure_is_retried_within_the_call(endpoint: ScriptedEndpoint) -> None:
    endpoint.script(failure(500), failure(429), chat(TEA))
    assert chat_model(endpoint).generate(MESSAGES) == TEA


def test_the_wait_a_service_asks_for_is_told(endpoint: ScriptedEndpoint) -> None:
    endpoint.script(Reply({"error": {}}, 429, {"Retry-After": "0.05"}))
    with pytest.raises(ServiceUnavailable) as raised:
        chat_model(endpoint).generate(MESSAGES)
    assert raised.value.retry_after_s == 0.05


@pytest.mark.parametrize("provider", ["openai", "openai_structured", "anthropic", "ollama"])
def test_a_hanging_model_is_given_up(endpoint: ScriptedEndpoint, provider: str) -> None:
    endpoint.script(HANG)
    with pytest.raises(ServiceUnavailable):
        chat_model(endpoint, provider, IMPATIENT_S).generate(MESSAGES)


def test_a_hanging_embedder_is_given_up(endpoint: ScriptedEndpoint) -> None:
    endpoint.script(HANG)
    with pytest.raises(ServiceUnavailable):
        embedder(endpoint, timeout_s=IMPATIENT_S).embed("tea")


@pytest.mark.parametrize("content", ["", None])
def test_an_empty_answer_is_no_failure_of_the_request(endpoint: ScriptedEndpoint, content: str | None) -> None:
    endpoint.script(chat(content))
    assert chat_model(endpoint).generate(MESSAGES) == ""


@pytest.mark.parametrize("provider", ["openai", "openai_structured", "deepseek", "xai", "vllm"])
def test_the_json_mode_is_used(endpoint: ScriptedEndpoint, provider: str) -> None:
    endpoint.script(chat(TEA))
    assert chat_model(endpoint, provider).generate(MESSAGES) == TEA
    assert endpoint.bodies[0]["response_format"] == {"type": "json_object"}
    assert [message["role"] for message in endpoint.bodies[0]["messages"]] == ["system", "user"]


def test_lm_studio_gets_the_json_mode_it_knows(endpoint: ScriptedEndpoint) -> None:
    endpoint.script(chat(TEA), failure(400), chat(TEA))
    assert chat_model(endpoint, "lmstudio").generate(MESSAGES) == TEA
    assert chat_model(endpoint, "lmstudio").generate(MESSAGES) == TEA
    assert [body["response_format"]["type"] for body in endpoint.bodies] == ["json_schema", "json_schema", "text"]


def test_ollama_is_asked_for_json(endpoint: ScriptedEndpoint) -> None:
    endpoint.script(Reply({"message": {"role": "assistant", "content": TEA}}))
    assert chat_model(endpoint, "ollama").generate(MESSAGES) == TEA
    assert endpoint.bodies[0]["format"] == "json"


@pytest.mark.parametrize("asked_for", [None, True])
def test_anthropic_is_called_without_what_its_sdk_does_not_take(
    endpoint: ScriptedEndpoint, asked_for: bool | None
) -> None:
    endpoint.script(anthropic_message(TEA))
    model = chat_model(endpoint, "anthropic", model="claude-sonnet-4-6", enable_sampling_parameters=asked_for)
    assert model.generate(MESSAGES) == TEA
    assert endpoint.bodies[0]["system"] == MESSAGES[0]["content"]
    assert "temperature" not in endpoint.bodies[0]


def test_a_model_without_json_mode_is_asked_without_it_from_then_on(endpoint: ScriptedEndpoint) -> None:
    model = chat_model(endpoint)
    endpoint.script(failure(400), chat(TEA))
    assert [model.generate(MESSAGES), model.generate(MESSAGES)] == [TEA, TEA]
    assert ["response_format" in body for body in endpoint.bodies] == [True, False, False]


def test_a_bad_request_is_not_repeated_once_the_json_mode_has_worked(endpoint: ScriptedEndpoint) -> None:
    model = chat_model(endpoint)
    endpoint.script(chat(TEA), failure(400))
    model.generate(MESSAGES)
    with pytest.raises(ServiceRejected):
        model.generate(MESSAGES)
    assert endpoint.requests == 2


def test_a_request_that_is_wrong_anyway_is_refused_twice(endpoint: ScriptedEndpoint) -> None:
    endpoint.script(failure(400))
    with pytest.raises(ServiceRejected, match="HTTP 400"):
        chat_model(endpoint).generate(MESSAGES)
    assert endpoint.requests == 2


def test_a_wrong_argument_is_not_taken_for_a_bad_answer(endpoint: ScriptedEndpoint) -> None:
    model = chat_model(endpoint, "anthropic", model="claude-sonnet-4-6")
    model._llm.config.enable_sampling_parameters = True  # as mem0 has it by itself
    with pytest.raises(ServiceRejected, match="TypeError"):
        model.generate(MESSAGES)
    assert endpoint.requests == 0


@pytest.mark.parametrize("provider", ["openai", "anthropic", "ollama"])
def test_a_closed_model_leaves_no_connection(endpoint: ScriptedEndpoint, provider: str) -> None:
    body = {"message": {"role": "assistant", "content": TEA}}
    endpoint.script({"openai": chat(TEA), "anthropic": anthropic_message(TEA), "ollama": Reply(body)}[provider])
    model = chat_model(endpoint, provider)
    model.generate(MESSAGES)
    assert endpoint.open_connections == 1
    model.close()
    model.close()
    endpoint.wait_until_deserted()


def test_vectors_come_in_the_order_of_the_texts(endpoint: ScriptedEndpoint) -> None:
    endpoint.script(embeddings([1, 0], [0, 1]))
    vectors = embedder(endpoint, dims=2).embed_batch(["tea", "coffee"])
    assert vectors == [[1.0, 0.0], [0.0, 1.0]]
    assert all(type(value) is float for vector in vectors for value in vector)
    assert endpoint.bodies[0]["input"] == ["tea", "coffee"]


def test_no_texts_are_no_request(endpoint: ScriptedEndpoint) -> None:
    assert embedder(endpoint).embed_batch([]) == []
    assert endpoint.requests == 0


def test_a_wrong_length_is_told_with_both_numbers(endpoint: ScriptedEndpoint) -> None:
    endpoint.script(embeddings([1, 0, 0]))
    with pytest.raises(ServiceRejected, match=r"3 dimensions.* 4 ") as raised:
        embedder(endpoint, dims=4).embed("tea")
    assert (raised.value.params["found"], raised.value.params["expected"]) == (3, 4)
    assert embedder(endpoint).embed("tea") == [1.0, 0.0, 0.0]


@pytest.mark.parametrize(
    "reply",
    [
        embeddings(),
        embeddings([1.0]),
        embeddings([1.0], [1.0], [1.0]),
        embeddings([1.0, float("nan")], [1.0, 1.0]),
        embeddings([1.0, float("inf")], [1.0, 1.0]),
        embeddings([], []),
        embeddings(None, [1.0]),
        embeddings(["x"], [1.0]),
        embeddings(1.0, 1.0),
        Reply(b"<html>Bad gateway</html>", headers={"Content-Type": "text/html"}),
    ],
)
def test_vectors_that_are_none_are_not_taken(endpoint: ScriptedEndpoint, reply: Reply) -> None:
    endpoint.script(reply)
    with pytest.raises(UnusableAnswer) as raised:
        embedder(endpoint).embed_batch(["tea", "coffee"])
    assert raised.value.part == "embedder"


def test_what_is_embedded_can_be_sent_and_is_short_enough(endpoint: ScriptedEndpoint) -> None:
    endpoint.script(embeddings([1.0], [1.0], [1.0]))
    embedder(endpoint).embed_batch(["a\0\ud800b ", "x" * 100_000, "茶" * 100_000])
    sent = endpoint.bodies[0]["input"]
    assert sent == ["ab", "x" * MOST_EMBEDDED, "茶" * (MOST_EMBEDDED // 4)]


@pytest.mark.parametrize("text", ["", " \n", "\0"])
def test_a_blank_text_is_never_sent(endpoint: ScriptedEndpoint, text: str) -> None:
    with pytest.raises(ServiceRejected):
        embedder(endpoint).embed_batch(["tea", text])
    assert endpoint.requests == 0


def test_the_numbers_of_a_vector_arrive_as_they_were_sent(endpoint: ScriptedEndpoint) -> None:
    endpoint.script(
        embeddings([0.1, -1e-9, 1, 0]),
        Reply({"data": [{"index": 1, "embedding": [2.0]}, {"embedding": [1.0], "index": 0}]}),
    )
    part = embedder(endpoint)
    assert part.embed("tea") == [0.1, -1e-9, 1.0, 0.0]
    assert part.embed_batch(["tea", "coffee"]) == [[1.0], [2.0]]


def test_azure_is_asked_at_its_deployment(endpoint: ScriptedEndpoint) -> None:
    """mem0's class for it needs a package that is not installed; what it asks of the client is this."""
    endpoint.script(embeddings([1.0]))
    client = AzureOpenAI(azure_endpoint=endpoint.base_url, azure_deployment="d", api_key="sk-canary", api_version="1")
    part = SimpleNamespace(client=client)
    use_lean_client(part, PATIENT_S)
    assert part.client.embeddings.create(input=["tea"], model="m").data[0].embedding == [1.0]
    with_option = part.client.embeddings.create(
        input=["tea"], model="m", extra_query={"a": "1"}, encoding_format="float"
    )
    assert with_option.data[0].embedding == [1.0]
    path = "/openai/deployments/d/embeddings?api-version=1"
    assert endpoint.paths == [path, f"{path}&a=1"]


def test_a_closed_embedder_leaves_no_connection(endpoint: ScriptedEndpoint) -> None:
    endpoint.script(embeddings([1.0]))
    part = embedder(endpoint)
    part.embed("tea")
    part.close()
    endpoint.wait_until_deserted()


@pytest.mark.usefixtures("lane")
async def test_a_good_answer_costs_one_request(endpoint: ScriptedEndpoint) -> None:
    endpoint.script(chat(f"<think>tea!</think>\n```json\n{TEA}\n```"))
    [change] = (await ask(chat_model(endpoint), MESSAGES, TURNS, OFFERED)).changes
    assert (change.event, change.text, change.type) == ("ADD", "likes tea", None)
    assert endpoint.requests == 1


@pytest.mark.usefixtures("lane")
async def test_nothing_worth_keeping_is_an_empty_list(endpoint: ScriptedEndpoint) -> None:
    endpoint.script(chat('{"memory": []}'))
    assert (await ask(chat_model(endpoint), MESSAGES, TURNS, OFFERED)).changes == []


@pytest.mark.usefixtures("lane")
async def test_a_conversations_answer_has_types(endpoint: ScriptedEndpoint) -> None:
    endpoint.script(chat('{"memory": [{"event": "ADD", "type": "episodic", "text": "ran", "date": "2026-03-01"}]}'))
    turns = [Turn("user", "I ran on Sunday")]
    asked = conversation(turns, [], NOW, None)
    [change] = (await ask(chat_model(endpoint), asked, turns, [], with_types=True)).changes
    assert (change.type, change.date) == ("episodic", "2026-03-01")


@pytest.mark.usefixtures("lane")
@pytest.mark.parametrize("first", ["I'm sorry, I can't.", "", None, "null", TEA[:30]])
async def test_an_unusable_answer_is_asked_for_again_with_what_was_wrong(
    endpoint: ScriptedEndpoint, first: str | None
) -> None:
    endpoint.script(chat(first), chat(TEA))
    answer = await ask(chat_model(endpoint), MESSAGES, TURNS, OFFERED)
    assert [change.text for change in answer.changes] == ["likes tea"] and answer.calls == 2
    once, again = (body["messages"] for body in endpoint.bodies)
    assert [message["role"] for message in again] == ["system", "user"]
    assert again[0] == once[0]
    assert again[1]["content"].startswith(once[1]["content"])
    assert json.dumps(first or "") in again[1]["content"]


@pytest.mark.usefixtures("lane")
async def test_two_unusable_answers_are_an_error_and_not_an_empty_success(endpoint: ScriptedEndpoint) -> None:
    endpoint.script(chat("I like secrets"))
    with pytest.raises(UnusableAnswer) as raised:
        await ask(chat_model(endpoint), MESSAGES, TURNS, OFFERED)
    assert (raised.value.part, raised.value.passing) == ("llm", True)
    assert endpoint.requests == 2
    assert "secrets" not in str(raised.value)


@pytest.mark.usefixtures("lane")
async def test_what_is_left_out_of_an_answer_that_breaks_off_is_logged_and_not_asked_for_again(
    endpoint: ScriptedEndpoint, caplog: pytest.LogCaptureFixture
) -> None:
    endpoint.script(chat('{"memory": [{"event": "ADD", "text": "likes tea"}, {"event": "ADD", "text": "and se'))
    with caplog.at_level(logging.WARNING):
        changes = (await ask(chat_model(endpoint), MESSAGES, TURNS, OFFERED)).changes
    assert [change.text for change in changes] == ["likes tea"]
    assert endpoint.requests == 1
    assert "left out" in caplog.text
    assert "tea" not in caplog.text


@pytest.mark.usefixtures("lane")
async def test_a_change_of_a_memory_that_was_not_offered_is_dropped_and_said(
    endpoint: ScriptedEndpoint, caplog: pytest.LogCaptureFixture
) -> None:
    endpoint.script(chat('{"memory": [{"event": "UPDATE", "id": "7", "text": "likes tea"}]}'))
    with caplog.at_level(logging.WARNING):
        assert (await ask(chat_model(endpoint), MESSAGES, TURNS, OFFERED)).changes == []
    assert endpoint.requests == 1
    assert "unknown_id: 1" in caplog.text
    assert "tea" not in caplog.text


@pytest.mark.usefixtures("lane")
async def test_a_refusal_of_the_service_is_not_asked_again(endpoint: ScriptedEndpoint) -> None:
    endpoint.script(failure(401))
    with pytest.raises(ServiceRefused):
        await ask(chat_model(endpoint), MESSAGES, TURNS, OFFERED)
    assert endpoint.requests == 1
