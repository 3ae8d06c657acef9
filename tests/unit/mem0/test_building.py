"""The door to mem0. Imports are watched in processes of their own: in this one others may have imported anything."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from utils.errors import CredentialError
from utils.mem0 import building, environment, registry

ROOT = Path(__file__).resolve().parents[3]
HEAVY = ("posthog", "qdrant_client", "grpc", "mem0.memory.main", "mem0.memory.telemetry", "numpy")


def run(code: str, **environ: str) -> dict[str, object]:
    """What a fresh interpreter prints as JSON."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result: dict[str, object] = json.loads(done.stdout)
    return result


def test_importing_the_door_and_the_settings_imports_no_part() -> None:
    loaded = run(
        "import sys, json, utils.mem0.building, utils.config.settings, utils.config.state_location;"
        "print(json.dumps({name: name in sys.modules for name in"
        f" ('mem0', 'openai', 'psycopg', 'httpx', *{HEAVY!r})}}))"
    )
    assert not any(loaded.values()), loaded


def test_the_factories_import_light_and_build_an_llm_and_an_embedder(tmp_path: Path) -> None:
    """Fails when a new mem0 no longer allows its factories without its front door."""
    result = run(
        "import sys, json, os; from utils.mem0 import building, environment, registry\n"
        "llm = building.build_llm('openai', {'model': 'm', 'api_key': 'from-the-form'})\n"
        "embedder = building.build_embedder('openai', {'model': 'm', 'api_key': 'from-the-form'})\n"
        f"loaded = [name for name in {HEAVY!r} if name in sys.modules]\n"
        "print(json.dumps({'loaded': loaded, 'telemetry': os.environ['MEM0_TELEMETRY'], 'dir': os.environ['MEM0_DIR'],"
        " 'llm': [llm.client.api_key, str(llm.client.base_url)],"
        " 'embedder': [embedder.client.api_key, str(embedder.client.base_url)]}))",
        OPENROUTER_API_KEY="env",
        OPENAI_API_KEY="env",
        OPENAI_BASE_URL="http://env.invalid/v1",
        OPENAI_API_BASE="http://env.invalid/v1",
        MEM0_TELEMETRY="True",
        HOME=str(tmp_path),
    )
    here = ["from-the-form", "https://api.openai.com/v1/"]
    assert result["loaded"] == []
    assert result["llm"] == here
    assert result["embedder"] == here
    assert result["telemetry"] == "False"
    assert not list(tmp_path.iterdir()), "something was written into the home folder"


def test_every_registered_vector_store_has_a_config_class() -> None:
    """`vector_store_keys` reads a private table of mem0: it must stay where it is and be complete."""
    table = building._vector_store_config().model_construct()._provider_configs
    assert set(table) == set(registry.vector_store_registry())


def test_the_registries_are_mem0s() -> None:
    assert registry.llm_registry()["openai"] == "mem0.llms.openai.OpenAILLM"
    assert registry.embedder_registry()["ollama"] == "mem0.embeddings.ollama.OllamaEmbedding"
    assert registry.vector_store_registry()["pgvector"] == "mem0.vector_stores.pgvector.PGVector"
    assert registry.reranker_registry()["cohere"] == "mem0.reranker.cohere_reranker.CohereReranker"
    assert registry.providers("graph") == {"neo4j", "memgraph"}


def test_keys_come_from_mem0s_config_classes() -> None:
    assert {"model", "api_key", "openai_base_url"} <= registry.llm_keys("openai")
    assert {"model", "aws_region", "reasoning_effort"} <= registry.llm_keys("aws_bedrock")
    assert {"embedding_dims", "azure_kwargs"} <= registry.embedder_keys()
    assert {"azure_endpoint", "api_version"} <= registry.azure_keys()
    assert {"collection_name", "url"} <= building.vector_store_keys("qdrant")
    assert {"top_k", "api_key"} <= registry.reranker_keys("cohere")


def test_scrubbing_takes_keys_and_addresses_and_leaves_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    gone = (
        "OPENROUTER_API_KEY", "OPENROUTER_API_BASE", "OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_API_BASE",
        "OPENAI_LOG", "OPENAI_CUSTOM_HEADERS", "AZURE_OPENAI_ENDPOINT", "LLM_AZURE_ENDPOINT",
        "EMBEDDING_AZURE_OPENAI_API_KEY", "ANTHROPIC_BASE_URL", "DEEPSEEK_API_BASE", "XAI_API_BASE",
        "MINIMAX_API_BASE", "SARVAM_API_BASE", "VLLM_BASE_URL", "OLLAMA_HOST", "GROQ_BASE_URL",
        "TOGETHER_API_KEY", "GOOGLE_API_KEY", "GEMINI_API_KEY", "HUGGINGFACE_API_KEY", "COHERE_API_KEY",
        "CO_API_KEY", "ZERO_ENTROPY_API_KEY", "PINECONE_API_KEY", "TURBOPUFFER_API_KEY",
        "UPSTASH_VECTOR_REST_URL", "PGHOSTADDR", "PGPASSWORD", "AWS_BEARER_TOKEN_BEDROCK",
    )  # fmt: skip
    kept = (
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "NO_PROXY",
        "AWS_ACCESS_KEY_ID",
        "AWS_REGION",
        "PGSSLROOTCERT",
        "SSL_CERT_FILE",
    )
    for name in (*gone, *kept):
        monkeypatch.setenv(name, "value")
    removed = environment.scrub_environment()
    assert set(removed) >= set(gone)
    assert not set(gone) & set(os.environ)
    assert set(kept) <= set(os.environ)


@pytest.mark.parametrize(
    ("build", "provider", "config", "says"),
    [
        (building.build_llm, "openai", {"model": "m", "api_key": "canary-5EcReT", "bogus": 1}, "bogus"),
        (building.build_llm, "openai", {"model": "m"}, "keys: api_key"),
        (building.build_llm, "together", {"model": "m", "api_key": "canary-5EcReT"}, "Python package together"),
        (
            building.build_llm,
            "azure_openai",
            {"azure_kwargs": {"api_version": "canary-5EcReT"}},
            "Python package azure",
        ),
        (building.build_embedder, "huggingface", {"model": "m"}, "Python package sentence_transformers"),
        (building.build_reranker, "zero_entropy", {"api_key": "canary-5EcReT"}, "zero"),
        (building.build_reranker, "cohere", {"api_key": {"a": "canary-5EcReT"}}, "keys: api_key"),
        (building.build_vector_store, "qdrant", {"api_key": {"a": "canary-5EcReT"}}, "keys: api_key"),
        (building.build_vector_store, "pinecone", {"api_key": "canary-5EcReT"}, "Python package pinecone"),
        (building.build_vector_store, "redis", {"redis_url": "redis://:canary-5EcReT@h"}, "Python package redis"),
        (
            building.build_vector_store,
            "azure_mysql",
            {"host": "h", "user": "u", "database": "d", "password": "p", "collection_name": "canary-5EcReT"},
            "keys: collection_name",
        ),
    ],
)
def test_refusals_become_sentences_without_values(build, provider, config, says) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(CredentialError, match=says) as caught:
        build(provider, config)
    assert "5EcReT" not in str(caught.value)
    assert caught.value.__cause__ is None or isinstance(caught.value.__cause__, ImportError)


def test_a_store_is_built_with_the_embedders_dimensions_and_leaves_the_config_alone(tmp_path: Path) -> None:
    config = {"path": str(tmp_path / "q"), "collection_name": "c"}
    store = building.build_vector_store("qdrant", config, embedding_dims=7)
    assert store.client.get_collection("c").config.params.vectors.size == 7
    store.client.close()
    assert config == {"path": str(tmp_path / "q"), "collection_name": "c"}
