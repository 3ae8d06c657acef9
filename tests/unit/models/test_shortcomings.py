"""What mem0's classes lack and the plugin makes up for, with the real clients where they are installed."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from tests.unit.models.scripted_endpoint import ScriptedEndpoint, chat, embeddings
from utils.errors import CredentialError, ServiceRejected
from utils.mem0 import building, packages
from utils.models.chat import ChatModel
from utils.models.embedder import Embedder

PATIENT_S = 300.0
MESSAGES = [{"role": "user", "content": "hello"}]


@pytest.fixture
def endpoint() -> Iterator[ScriptedEndpoint]:
    with ScriptedEndpoint() as endpoint:
        yield endpoint


def azure(endpoint: ScriptedEndpoint, **more: Any) -> dict[str, Any]:
    kwargs = {"azure_endpoint": endpoint.base_url, "azure_deployment": "d", "api_version": "2024-10-21", **more}
    return {"model": "m", "azure_kwargs": kwargs}


def forget_class(monkeypatch: pytest.MonkeyPatch, module: str) -> None:
    """As in a process that has not imported it yet."""
    monkeypatch.delitem(sys.modules, module, raising=False)


@pytest.mark.parametrize("provider", ["azure_openai", "azure_openai_structured"])
def test_azure_with_a_key_needs_no_package_for_the_machines_identity(
    endpoint: ScriptedEndpoint, provider: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    forget_class(monkeypatch, f"mem0.llms.{provider}")
    monkeypatch.setattr(packages, "_is_installed", lambda module: module != "azure.identity")
    config = azure(endpoint, api_key="canary")
    assert packages.missing_package("llm", provider, config) is None
    endpoint.script(chat("fine"))
    assert ChatModel(building.build_llm(provider, config), provider, PATIENT_S).generate(MESSAGES) == "fine"
    assert endpoint.headers[0]["api-key"] == "canary"
    assert "azure.identity" not in sys.modules


def test_azure_without_a_key_names_the_package_it_needs(
    endpoint: ScriptedEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    forget_class(monkeypatch, "mem0.llms.azure_openai")
    monkeypatch.setattr(packages, "_is_installed", lambda module: module != "azure.identity")
    assert packages.missing_package("llm", "azure_openai", azure(endpoint)) == "azure-identity"
    building.build_llm("azure_openai", azure(endpoint, api_key="canary"))
    with pytest.raises(CredentialError) as refusal:  # also by the class that was built with a key before
        building.build_llm("azure_openai", azure(endpoint))
    assert refusal.value.key == "credentials_package_missing"


def test_an_embedder_behind_a_url_needs_no_model_in_the_process(
    endpoint: ScriptedEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    forget_class(monkeypatch, "mem0.embeddings.huggingface")
    monkeypatch.setattr(packages, "_is_installed", lambda module: module != "sentence_transformers")
    config = {"model": "m", "huggingface_base_url": f"{endpoint.base_url}/v1"}
    assert packages.missing_package("embedder", "huggingface", config) is None
    assert packages.missing_package("embedder", "huggingface", {"model": "m"}) == "sentence-transformers"
    endpoint.script(embeddings([1.0, 0.0]))
    built = Embedder(building.build_embedder("huggingface", config), "huggingface", PATIENT_S, 2)
    assert built.embed("tea") == [1.0, 0.0]


def test_a_model_that_ollama_lacks_is_not_downloaded(endpoint: ScriptedEndpoint) -> None:
    with pytest.raises(ServiceRejected) as refusal:
        building.build_embedder("ollama", {"model": "nomic-embed-txet", "ollama_base_url": endpoint.base_url})
    assert "ollama pull nomic-embed-txet" in refusal.value.sentence("en_US")
    assert endpoint.requests == 0  # nothing was posted
    assert endpoint.asked_for_free == ["/api/tags"]


def test_litellm_gets_the_key_of_its_own_block_and_a_time_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Against what mem0's class calls; ``contract/test_provider_packages.py`` runs LiteLLM itself."""
    asked: list[dict[str, Any]] = []

    def completion(**given: Any) -> Any:
        asked.append(given)
        return SimpleNamespace(choices=[SimpleNamespace(message=SimpleNamespace(content="fine"))])

    litellm = ModuleType("litellm")
    litellm.completion = completion  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "litellm", litellm)
    forget_class(monkeypatch, "mem0.llms.litellm")
    for key in ("one", "two"):
        llm = building.build_llm("litellm", {"model": "m", "api_key": key, "max_tokens": 7})
        assert ChatModel(llm, "litellm", 3.0).generate(MESSAGES) == "fine"
    assert [(one["api_key"], one["timeout"], one["max_tokens"]) for one in asked] == [("one", 3.0, 7), ("two", 3.0, 7)]
    assert asked[0]["response_format"] == {"type": "json_object"}
    forget_class(monkeypatch, "mem0.llms.litellm")
