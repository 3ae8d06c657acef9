"""Mistakes about models and what stands before them: what saving the credentials says, in four languages."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from qdrant_client import QdrantClient
from qdrant_client import models as qdrant

from playground.credentials import Endpoint, block, credential_set, pgvector_block, qdrant_block
from playground.dify_host import PluginProcess
from playground.postgres import Database
from playground.stand_in_model import StandInModel
from tests.acceptance.refusals import EMBEDDER, LLM, RERANKER, STORE, dead, refusal_in_every_language
from tests.acceptance.refusals import refusal as refused
from tests.tls_gate import TlsGate
from tests.unit.models.scripted_endpoint import Reply, ScriptedEndpoint, failure


@pytest.mark.parametrize("name", [LLM, EMBEDDER])
def test_a_dead_model(
    refusal: Callable[..., str], pgvector_credentials: dict[str, Any], closed_port: int, name: str
) -> None:
    said = refusal({**pgvector_credentials, name: json.dumps(dead(closed_port))})
    assert said.startswith(f"{name}: nothing listens at 127.0.0.1:{closed_port}")


def test_a_dead_reranker(refusal: Callable[..., str], pgvector_credentials: dict[str, Any], closed_port: int) -> None:
    reranker = block("llm_reranker", llm=dead(closed_port))
    said = refusal({**pgvector_credentials, RERANKER: reranker})
    assert said.startswith(f"{RERANKER}: nothing listens at 127.0.0.1:{closed_port}")


def test_a_refused_key(
    refusal: Callable[..., str], pgvector_credentials: dict[str, Any], stand_in_model: StandInModel
) -> None:
    stand_in_model.control.set(unauthorised=True)
    said = refusal(pgvector_credentials)
    assert said.startswith(f"{LLM}: the service refused the credentials (AuthenticationError, HTTP 401")


def test_a_broken_model(
    refusal: Callable[..., str], pgvector_credentials: dict[str, Any], stand_in_model: StandInModel
) -> None:
    stand_in_model.control.set(failure_share=1.0, failure_kinds=["500"], failing_endpoints=["embeddings"])
    said = refusal(pgvector_credentials)
    assert said.startswith(f"{EMBEDDER}: the service cannot be used at the moment (InternalServerError, HTTP 500)")


def test_an_address_that_is_no_model(
    refusal: Callable[..., str], pgvector_credentials: dict[str, Any], other_server: int
) -> None:
    said = refusal({**pgvector_credentials, LLM: json.dumps(dead(other_server))})
    assert said.startswith(f"{LLM}: the service rejected a small request (BadRequestError, HTTP 400)")


def test_dimensions_that_do_not_fit_the_table(
    refusal: Callable[..., str], pgvector_credentials: dict[str, Any], database: Database
) -> None:
    with psycopg.connect(database.uri) as session:
        session.execute("CREATE EXTENSION vector")
        session.execute("CREATE TABLE mem0 (id uuid PRIMARY KEY, vector vector(5), payload jsonb)")
    said = refusal({**pgvector_credentials, STORE: pgvector_block(database, embedding_model_dims=256)})
    assert said.startswith(f"{STORE}: The embedder makes vectors of 256 dimensions")


def test_dimensions_that_do_not_fit_the_collection_of_another_store(
    refusal: Callable[..., str], endpoint: Endpoint, tmp_path: Path
) -> None:
    """The collection is there already, so opening it fails nowhere: only its length tells."""
    client = QdrantClient(path=str(tmp_path / "qdrant"))
    client.create_collection("mem0", qdrant.VectorParams(size=5, distance=qdrant.Distance.COSINE, on_disk=True))
    client.close()
    said = refusal(credential_set(endpoint, qdrant_block(tmp_path / "qdrant")))
    assert said.startswith(f"{STORE}: The embedder makes vectors of 256 dimensions")


def test_dimensions_that_the_embedder_does_not_make_leave_no_table_behind(
    process: PluginProcess, endpoint: Endpoint, database: Database
) -> None:
    credentials = credential_set(endpoint, pgvector_block(database, dimensions=64))
    embedder = json.loads(credentials[EMBEDDER])
    embedder["provider"], embedder["config"]["embedding_dims"] = "lmstudio", 64
    embedder["config"]["lmstudio_base_url"] = embedder["config"].pop("openai_base_url")
    said = refused(process, {**credentials, EMBEDDER: json.dumps(embedder)})
    assert said.startswith(f"{EMBEDDER}: The embedder returned vectors of")
    with psycopg.connect(database.uri) as session:
        assert session.execute("SELECT to_regclass('mem0')").fetchone() == (None,)


# --- what a service answers


@pytest.fixture
def service() -> Iterator[ScriptedEndpoint]:
    """A model's service that answers what the test scripts."""
    with ScriptedEndpoint() as endpoint:
        yield endpoint


def at(base_url: str, model: str = "m") -> str:
    return block("openai", model=model, api_key="canary", openai_base_url=f"{base_url}/v1")


@pytest.mark.parametrize("name", [LLM, EMBEDDER])
def test_a_model_that_does_not_exist(
    refusal: Callable[..., str], pgvector_credentials: dict[str, Any], service: ScriptedEndpoint, name: str
) -> None:
    service.script(failure(404, "model_not_found"))
    said = refusal({**pgvector_credentials, name: at(service.base_url)})
    assert said.startswith(f"{name}: the service has no model of the name in config.model that this key may use (Not")


def test_an_embedding_model_in_the_box_of_the_llm(
    refusal: Callable[..., str], pgvector_credentials: dict[str, Any], service: ScriptedEndpoint
) -> None:
    service.script(failure(404, "not_a_chat_model"))
    said = refusal({**pgvector_credentials, LLM: at(service.base_url, "text-embedding-3-small")})
    assert said.startswith(f"{LLM}: the model in config.model makes embeddings, and the service rejected it for a chat")
    assert f"Name a chat model here; this one belongs in {EMBEDDER}." in said


def test_a_deployment_that_azure_does_not_have(
    refusal: Callable[..., str], pgvector_credentials: dict[str, Any], service: ScriptedEndpoint
) -> None:
    service.script(failure(404, "DeploymentNotFound"))
    azure = {"api_key": "canary", "azure_endpoint": service.base_url, "api_version": "2024-10-21"}
    said = refusal({**pgvector_credentials, LLM: block("azure_openai", model="gpt", azure_kwargs=azure)})
    assert said.startswith(f"{LLM}: Azure has no deployment of this name (NotFoundError, HTTP 404).")
    assert service.paths[0].startswith("/openai/deployments/gpt/chat/completions")


def test_a_host_of_a_model_that_is_not_there(refusal: Callable[..., str], pgvector_credentials: dict[str, Any]) -> None:
    said = refusal({**pgvector_credentials, LLM: at("http://model.invalid:8000")})
    assert said.startswith(f"{LLM}: no host of the name model.invalid is known here. Check its spelling;")


def test_a_model_at_localhost(
    refusal: Callable[..., str], pgvector_credentials: dict[str, Any], closed_port: int
) -> None:
    said = refusal({**pgvector_credentials, EMBEDDER: at(f"http://localhost:{closed_port}")})
    assert said.startswith(f"{EMBEDDER}: nothing listens at localhost:{closed_port}: the connection was refused.")
    assert "Inside a container, localhost is the plugin itself: write the name of the service instead." in said


def test_an_empty_quota(
    refusal: Callable[..., str], pgvector_credentials: dict[str, Any], service: ScriptedEndpoint
) -> None:
    """It comes with the status of a service that has too much to do, which would be let pass."""
    service.script(failure(429, "insufficient_quota"))
    said = refusal({**pgvector_credentials, LLM: at(service.base_url)})
    assert said.startswith(f"{LLM}: the service knows the key, but its account has no credit or quota left (RateLimit")


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key_of_a_reranker(
    refusal: Callable[..., str], pgvector_credentials: dict[str, Any], service: ScriptedEndpoint, status: int
) -> None:
    service.script(failure(status))
    reranker = block("cohere", api_key="canary", cohere_base_url=f"{service.base_url}/v1")
    said = refusal({**pgvector_credentials, RERANKER: reranker})
    assert said.startswith(f"{RERANKER}: the service refused the credentials (") and f"HTTP {status}" in said


def test_a_page_instead_of_an_answer(
    refusal: Callable[..., str], pgvector_credentials: dict[str, Any], service: ScriptedEndpoint
) -> None:
    service.script(Reply(b"<html>Welcome</html>"))
    said = refusal({**pgvector_credentials, LLM: at(service.base_url)})
    assert said.startswith(f"{LLM}: something answers, but not as this provider does (")


# --- what stands between


def test_a_certificate_nobody_knows(
    refusal: Callable[..., str], pgvector_credentials: dict[str, Any], service: ScriptedEndpoint
) -> None:
    service.script(failure(500))
    with TlsGate(service.address, speaks_tls_at_once=True) as gate:
        said = refusal({**pgvector_credentials, LLM: at(f"https://127.0.0.1:{gate.port}")})
    assert said.startswith(f"{LLM}: the TLS certificate of 127.0.0.1:{gate.port} cannot be verified")
    assert service.requests == 0


def test_https_where_there_is_none(
    refusal: Callable[..., str], pgvector_credentials: dict[str, Any], service: ScriptedEndpoint
) -> None:
    said = refusal({**pgvector_credentials, EMBEDDER: at(service.base_url.replace("http:", "https:"))})
    assert said.startswith(f"{EMBEDDER}: 127.0.0.1:{service.address[1]} does not speak TLS as the address says.")


def test_a_model_at_an_ipv6_address(
    refusal: Callable[..., str], pgvector_credentials: dict[str, Any], closed_port: int
) -> None:
    said = refusal({**pgvector_credentials, LLM: at(f"http://[::1]:{closed_port}")})
    assert said.startswith(f"{LLM}: nothing listens at [::1]:{closed_port}: the connection was refused.")


@pytest.fixture(scope="module")
def proxy() -> Iterator[ScriptedEndpoint]:
    """A proxy that the environment names, for everything but the stand-in's address."""
    with ScriptedEndpoint() as endpoint:
        yield endpoint


@pytest.fixture(scope="module")
def behind_a_proxy(proxy: ScriptedEndpoint, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PluginProcess]:
    address = proxy.base_url.removeprefix("http://")
    surroundings = {"HTTP_PROXY": f"http://user:canary@{address}", "HTTPS_PROXY": address, "NO_PROXY": "127.0.0.1"}
    home = str(tmp_path_factory.mktemp("home"))
    with PluginProcess({"HOME": home, **surroundings}) as started:
        yield started


@pytest.mark.parametrize("address", ["http://model.invalid", "https://model.invalid"])
@pytest.mark.parametrize("reply", [Reply(b"<html>Log in</html>", 407), Reply(b"<html>Log in</html>")])
def test_a_proxy_in_the_way(
    behind_a_proxy: PluginProcess,
    proxy: ScriptedEndpoint,
    pgvector_credentials: dict[str, Any],
    address: str,
    reply: Reply,
) -> None:
    proxy.script(reply)
    said = refusal_in_every_language(behind_a_proxy, {**pgvector_credentials, LLM: at(address)})
    between = proxy.base_url.removeprefix("http://")
    assert said.startswith(f"{LLM}: the proxy {between} of the environment stands in between, and no answer came")
    assert "NO_PROXY" in said


def test_a_host_that_the_proxy_is_not_for_is_told_of_as_ever(
    behind_a_proxy: PluginProcess, pgvector_credentials: dict[str, Any], closed_port: int
) -> None:
    said = refused(behind_a_proxy, {**pgvector_credentials, LLM: json.dumps(dead(closed_port))})
    assert said.startswith(f"{LLM}: nothing listens at 127.0.0.1:{closed_port}")
