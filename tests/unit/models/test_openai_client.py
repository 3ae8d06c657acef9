"""The lean way to OpenAI-compatible services, against a scripted endpoint: the requests mem0's classes would make."""

from __future__ import annotations

import base64
from array import array
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from tests.unit.models.scripted_endpoint import Reply, ScriptedEndpoint, chat, embeddings, failure
from utils.errors import ServiceError, ServiceRefused, UnusableAnswer
from utils.mem0 import building
from utils.models.chat import ChatModel
from utils.models.embedder import Embedder
from utils.models.openai_client import openai_embeddings
from utils.models.openai_http import can_reach

PATIENT_S = 10.0
VECTOR = [0.5, -0.25, 0.125, 1.0]


@pytest.fixture
def endpoint() -> Iterator[ScriptedEndpoint]:
    with ScriptedEndpoint() as endpoint:
        yield endpoint


def settings(endpoint: ScriptedEndpoint, **more: Any) -> dict[str, Any]:
    return {"model": "m", "api_key": "sk-canary", "openai_base_url": endpoint.base_url + "/v1", **more}


def embedder(endpoint: ScriptedEndpoint, **more: Any) -> Embedder:
    return Embedder(openai_embeddings("openai", settings(endpoint, **more), PATIENT_S), "openai", PATIENT_S, None)


def packed(kind: str, vector: list[float]) -> str:
    return base64.b64encode(array(kind, vector).tobytes()).decode()


@pytest.mark.parametrize("more", [{}, {"embedding_dims": 4}, {"model": None}])
def test_the_request_is_the_one_mem0s_class_makes_but_for_the_encoding(
    endpoint: ScriptedEndpoint, more: dict[str, Any]
) -> None:
    endpoint.script(embeddings(VECTOR))
    Embedder(building.build_embedder("openai", settings(endpoint, **more)), "openai", PATIENT_S, None).embed("a\nb")
    embedder(endpoint, **more).embed("a\nb")
    theirs, ours = endpoint.bodies
    assert theirs.pop("encoding_format") == "float"
    assert ours.pop("encoding_format") == "base64"
    assert ours == theirs
    assert set(endpoint.paths) == {"/v1/embeddings"}


def test_many_texts_go_a_hundred_at_a_time(endpoint: ScriptedEndpoint) -> None:
    endpoint.script(embeddings(*[[float(number)] for number in range(100)]), embeddings([100.0]))
    vectors = embedder(endpoint).embed_batch([f"text {number}" for number in range(101)])
    assert vectors == [[float(number)] for number in range(101)]
    assert [len(body["input"]) for body in endpoint.bodies] == [100, 1]


def test_vectors_in_base64_are_the_same_numbers(endpoint: ScriptedEndpoint) -> None:
    endpoint.script(embeddings(packed("f", VECTOR)))
    part = embedder(endpoint)
    assert [part.embed("tea"), part.embed("tea")] == [VECTOR, VECTOR]
    assert [body["encoding_format"] for body in endpoint.bodies] == ["base64", "base64"]


@pytest.mark.parametrize(
    "first",
    [
        failure(400),
        failure(422),
        embeddings(packed("d", [0.1, 0.7, -0.3, 0.9])),  # doubles
        embeddings(packed("b", [1, -7, 100, 3, 90, -90, 2, 117])),  # small integers
        embeddings("not base64"),
    ],
)
def test_a_service_that_knows_no_base64_is_asked_as_mem0_asks_from_then_on(
    endpoint: ScriptedEndpoint, first: Reply
) -> None:
    endpoint.script(first, embeddings(VECTOR))
    part = embedder(endpoint)
    assert [part.embed("tea"), part.embed("tea")] == [VECTOR, VECTOR]
    assert [body["encoding_format"] for body in endpoint.bodies] == ["base64", "float", "float"]


def test_a_service_that_heeds_no_encoding_is_asked_once(endpoint: ScriptedEndpoint) -> None:
    endpoint.script(embeddings(VECTOR))
    part = embedder(endpoint)
    assert [part.embed("tea"), part.embed("tea")] == [VECTOR, VECTOR]
    assert [body["encoding_format"] for body in endpoint.bodies] == ["base64", "float"]


def test_a_bad_request_is_not_repeated_once_base64_has_worked(endpoint: ScriptedEndpoint) -> None:
    endpoint.script(embeddings(packed("f", VECTOR)), failure(400))
    part = embedder(endpoint)
    part.embed("tea")
    with pytest.raises(ServiceError, match="HTTP 400"):
        part.embed("tea")
    assert endpoint.requests == 2


def test_base64_that_is_none_is_no_vector(endpoint: ScriptedEndpoint) -> None:
    endpoint.script(embeddings(packed("f", VECTOR)), embeddings("AAA"))
    part = embedder(endpoint)
    part.embed("tea")
    with pytest.raises(UnusableAnswer):
        part.embed("tea")


def test_a_request_with_options_of_the_sdks_own_is_the_sdks(endpoint: ScriptedEndpoint) -> None:
    endpoint.script(chat("yes"))
    llm = building.build_llm("openai", settings(endpoint))
    ChatModel(llm, "openai", PATIENT_S)
    answer = llm.client.chat.completions.create(model="m", messages=[], extra_query={"a": "1"})
    assert answer.choices[0].message.content == "yes"
    assert type(answer).__module__.startswith("openai.")
    assert endpoint.paths == ["/v1/chat/completions?a=1"]


def test_the_environments_proxy_is_used_and_its_exceptions_hold(
    endpoint: ScriptedEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", endpoint.base_url.replace("//", "//me:pass%20word@"))
    endpoint.script(embeddings(VECTOR))
    service = {"model": "m", "api_key": "sk-canary", "openai_base_url": "http://models.invalid:8000/v1"}
    proxied = Embedder(openai_embeddings("openai", service, PATIENT_S), "openai", PATIENT_S, None)
    assert proxied.embed("tea") == VECTOR
    assert endpoint.paths == ["http://models.invalid:8000/v1/embeddings"]
    assert endpoint.headers[-1]["Proxy-Authorization"] == "Basic bWU6cGFzcyB3b3Jk"
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    embedder(endpoint).embed("tea")
    assert endpoint.paths[-1] == "/v1/embeddings"
    assert "Proxy-Authorization" not in endpoint.headers[-1]


@pytest.mark.parametrize(
    ("url", "proxy", "reached"),
    [
        ("https://api.example.com/v1", None, True),
        ("http://[::1]:8080/v1", None, True),
        ("https://api.example.com/v1", "http://proxy.example.com:3128", True),
        ("https://api.example.com/v1", "socks5://proxy.example.com:1080", False),
        ("https://me@api.example.com/v1", None, False),
        ("https://api.example.com/v1?version=1", None, False),
        ("unix:/socket", None, False),
    ],
)
def test_what_it_cannot_reach_is_left_to_the_sdk(
    monkeypatch: pytest.MonkeyPatch, url: str, proxy: str | None, reached: bool
) -> None:
    if proxy is not None:
        monkeypatch.setenv("https_proxy", proxy)
    assert can_reach(url) is reached


def test_any_status_of_success_is_an_answer(endpoint: ScriptedEndpoint) -> None:
    endpoint.script(replace(embeddings(VECTOR), status=201))
    assert embedder(endpoint).embed("tea") == VECTOR


@pytest.mark.parametrize(
    ("reply", "passes"),
    [
        (Reply(b"[" * 200_000), True),
        (Reply(b"[" * 200_000, status=401), False),
        (Reply(b"no gzip", headers={"Content-Encoding": "gzip"}), True),
    ],
)
def test_an_answer_that_cannot_be_read_means_what_its_status_means(
    endpoint: ScriptedEndpoint, reply: Reply, passes: bool
) -> None:
    endpoint.script(*[reply] * 4)
    with pytest.raises(ServiceError) as caught:
        embedder(endpoint).embed("tea")
    assert caught.value.passing is passes
    assert isinstance(caught.value, ServiceRefused) is not passes
