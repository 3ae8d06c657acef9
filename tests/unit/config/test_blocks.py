"""SPEC 2, "Reading a block": each kind of mistake is one sentence that names credential, place and what is accepted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from utils.config.blocks import Block, read_block
from utils.errors import CredentialError, causes
from utils.mem0 import registry
from utils.mem0.packages import _NEEDED, missing_package
from utils.mem0.refused import REFUSED
from utils.mem0.registry import Kind

OPENAI = {"model": "gpt", "api_key": "k"}
AZURE = {"api_key": "k", "azure_endpoint": "https://a.example", "api_version": "1", "azure_deployment": "d"}


def block(provider: object, /, **config: Any) -> str:
    return json.dumps({"provider": provider, "config": config})


def refusal(kind: Kind, pasted: object) -> str:
    with pytest.raises(CredentialError) as caught:
        read_block(kind, pasted)
    assert str(caught.value).startswith(registry.FORM_NAMES[kind])
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand-ins for packages that are not installed here: only whether they exist is looked at before building."""
    for module in ("azure/identity", "google/genai", "cohere", "anthropic", "neo4j", "redis", "redisvl", "pinecone"):
        (tmp_path / module).mkdir(parents=True)
        (tmp_path / module / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))


@pytest.mark.parametrize(
    ("kind", "provider", "config"),
    [
        ("llm", "openai", OPENAI | {"temperature": 0.1, "max_tokens": 2000, "openai_base_url": "http://h/v1"}),
        ("llm", "openai_structured", OPENAI),
        ("llm", "deepseek", OPENAI),
        ("llm", "lmstudio", {"model": "m", "lmstudio_base_url": "http://h"}),
        ("llm", "vllm", {"model": "m", "vllm_base_url": "http://h"}),
        ("llm", "ollama", {"model": "m", "ollama_base_url": "http://h"}),
        ("llm", "azure_openai", {"model": "m", "azure_kwargs": AZURE}),
        ("llm", "azure_openai_structured", {"azure_kwargs": AZURE}),
        ("llm", "anthropic", OPENAI | {"enable_sampling_parameters": False, "top_p": None}),
        ("llm", "gemini", OPENAI),
        ("llm", "gemini", {"model": "m", "vertexai": True, "project": "p"}),
        ("embedder", "openai", OPENAI | {"embedding_dims": 256}),
        ("embedder", "ollama", {"model": "m"}),
        ("embedder", "lmstudio", {"model": "m"}),
        ("embedder", "azure_openai", {"model": "m", "azure_kwargs": AZURE}),
        ("vector_store", "pgvector", {"anything": "is read by its own module"}),
        ("vector_store", "qdrant", {"host": "h", "port": 6333, "embedding_model_dims": 256}),
        ("vector_store", "qdrant", {"url": "http://h:6333"}),
        ("vector_store", "qdrant", {"path": "/data/q", "collection_name": "c"}),
        ("vector_store", "faiss", {"path": "/data/f"}),
        ("vector_store", "redis", {"redis_url": "redis://h"}),
        ("vector_store", "pinecone", {"api_key": "k", "collection_name": "c"}),
        ("graph", "neo4j", {"url": "bolt://h:7687", "username": "u", "password": "p", "database": "d"}),
        ("graph", "memgraph", {"url": "bolt+s://h:7687", "username": "", "password": ""}),
        ("graph", "memgraph", {"url": "bolt://h", "username": None}),
        ("reranker", "cohere", {"api_key": "k", "model": "m", "top_k": 5}),
        ("reranker", "cohere", {"api_key": "k", "cohere_base_url": "http://h:8000/v1"}),
        ("reranker", "zero_entropy", {"api_key": "k", "zero_entropy_base_url": "https://h/v1"}),
        ("reranker", "llm_reranker", {"provider": "openai", "model": "m", "api_key": "k"}),
        ("reranker", "llm_reranker", {"llm": {"provider": "ollama", "config": {"model": "m"}}, "top_k": 5}),
        ("reranker", "llm_reranker", {"api_key": "k", "llm": {"config": {"openai_base_url": "http://h"}}}),
    ],
)
@pytest.mark.usefixtures("installed")
def test_good_blocks_are_read_as_they_are(kind: Kind, provider: str, config: dict[str, Any]) -> None:
    read = read_block(kind, block(provider, **config))
    assert (read.provider, read.timeout_s) == (provider, None)
    assert read.config.items() >= {key: value for key, value in config.items() if key != "llm"}.items()


def test_an_unknown_provider_is_told_with_the_nearest_and_with_known_names() -> None:
    said = refusal("llm", block("opnai", **OPENAI))
    assert "unknown provider opnai; nearest: openai" in said
    assert ". Accepted: ollama, openai, " in said and said.endswith(", ….")


@pytest.mark.parametrize(
    ("kind", "provider", "box"),
    [
        ("vector_store", "anthropic", "local_llm_json_secret"),
        ("vector_store", "openai", "local_llm_json_secret, local_embedder_json_secret"),
        ("llm", "pgvector", "local_vector_db_json_secret"),
        ("embedder", "cohere", "local_reranker_json_secret"),
        ("llm", "neo4j", "local_graph_db_json_secret"),
        ("graph", "qdrant", "local_vector_db_json_secret"),
    ],
)
def test_a_provider_in_the_wrong_box_is_sent_to_the_right_one(kind: Kind, provider: str, box: str) -> None:
    assert f"the provider {provider} belongs in {box}. Accepted here: " in refusal(kind, block(provider))


@pytest.mark.parametrize(
    ("kind", "provider", "package"),
    [
        ("llm", "litellm", "litellm"),
        ("embedder", "huggingface", "sentence-transformers"),
        ("vector_store", "pinecone", "pinecone"),
        ("reranker", "sentence_transformer", "sentence-transformers"),
    ],
)
def test_a_missing_package_is_named(kind: Kind, provider: str, package: str) -> None:
    said = refusal(kind, block(provider, model="m"))
    assert f"the provider {provider} needs the Python package {package}, which is not installed here." in said


def test_the_table_of_packages_names_mem0s_providers() -> None:
    for kind, providers in _NEEDED.items():
        assert set(providers) <= registry.providers(kind)  # type: ignore[arg-type]
    assert set(_NEEDED["vector_store"]) == registry.providers("vector_store") - REFUSED["vector_store"].keys()
    assert missing_package("llm", "newer_than_the_table") is None


@pytest.mark.parametrize(
    ("kind", "pasted", "says"),
    [
        ("llm", "{'provider'}", "is not valid JSON at line 1, column 2."),
        ("llm", "[]", "must be one JSON object such as"),
        ("llm", {"config": OPENAI}, 'names no "provider". Accepted: ollama, openai, '),
        ("llm", {"provider": " ", "config": OPENAI}, 'names no "provider"'),
        ("llm", {"provider": 5, "config": OPENAI}, "provider must be text that is not blank; found number."),
        ("llm", {"provider": ["openai"], "config": OPENAI}, "provider must be text that is not blank; found array."),
        ("llm", {"provider": "openai"}, ": config must be a JSON object; found null."),
        ("llm", {"provider": "openai", "config": "canary"}, ": config must be a JSON object; found string."),
        (
            "llm",
            {"provider": "openai", "config": OPENAI, "confg": 1},
            ": confg is not a key that openai accepts; nearest: config",
        ),
        ("llm", block("openai", model="m"), ": config.api_key is missing; the provider openai needs it."),
        ("llm", block("openai", model="m", api_key=" "), ": config.api_key is missing"),
        ("llm", block("openai", model="m", api_key=5), ": config.api_key must be text"),
        ("llm", block("openai", api_key="canary"), ": config.model is missing; the provider openai needs it."),
        (
            "llm",
            block("openai", **OPENAI, base_url="canary"),
            ": config.base_url is not a key that openai accepts; nearest: ",
        ),
        (
            "llm",
            block("openai", **OPENAI, openai_base_url="canary"),
            "config.openai_base_url must be an address that starts",
        ),
        ("llm", block("openai", **OPENAI, temperature="canary"), ": config.temperature must be a number"),
        (
            "llm",
            block("openai", **OPENAI, max_tokens="canary"),
            ": config.max_tokens must be a whole number from 1 to ",
        ),
        ("llm", block("langchain", model="m"), "the provider langchain needs a live Python object"),
        ("llm", block("azure_openai", model="m"), ": config.azure_kwargs must be a JSON object; found null."),
        ("llm", block("azure_openai", azure_kwargs={}), ": config.azure_kwargs.azure_endpoint is missing"),
        (
            "llm",
            block("azure_openai", azure_kwargs=AZURE | {"azure_deployment": None}),
            ": config.azure_kwargs.azure_deployment is missing",
        ),
        (
            "llm",
            block("azure_openai", azure_kwargs=AZURE | {"azure_endpoint": "canary"}),
            ": config.azure_kwargs.azure_endpoint must be an address",
        ),
        (
            "embedder",
            block("azure_openai", model="m", azure_kwargs=AZURE | {"endpoint": "canary"}),
            ": config.azure_kwargs.endpoint is not a key that azure_openai accepts; nearest: azure_endpoint",
        ),
        (
            "llm",
            block("azure_openai", model="m", api_key="canary", azure_kwargs=AZURE | {"api_key": ""}),
            ": config.api_key is not read by azure_openai; write it as azure_kwargs.api_key.",
        ),
        ("embedder", block("openai", model="m"), ": config.api_key is missing; the provider openai needs it."),
        (
            "embedder",
            block("openai", **OPENAI, embedding_dims="canary"),
            ": config.embedding_dims must be a whole number",
        ),
        ("embedder", block("openai", **OPENAI, dimensions=5), ": config.dimensions is not a key that openai accepts"),
        ("vector_store", block("qdrant", host="h"), ": config.port is missing; the provider qdrant needs it."),
        (
            "vector_store",
            block("qdrant", path="p", api_key=["canary"]),
            "qdrant does not accept this config. Check these keys: api_key.",
        ),
        ("vector_store", block("qdrant", paht="p"), ": config.paht is not a key that qdrant accepts; nearest: path"),
        ("vector_store", block("redis"), "redis does not accept this config. Check these keys: redis_url."),
        ("vector_store", block("pinecone"), ": config.api_key is missing; the provider pinecone needs it."),
        (
            "vector_store",
            block("faiss", distance_strategy="canary"),
            "faiss does not accept this config. Check these keys: distance_strategy.",
        ),
        ("vector_store", block("qdrant", timeout=5), ": config.timeout is not a key that qdrant accepts"),
        ("graph", block("neo4j", url="bolt://h", username="u"), ": config.password is missing; the provider neo4j"),
        (
            "graph",
            block("neo4j", url="http://canary", username="u", password="p"),
            ": config.url must be a Bolt address",
        ),
        ("graph", block("memgraph", url="bolt://h", password=5), ": config.password must be text"),
        ("graph", block("neo4j", uri="bolt://h"), ": config.uri is not a key that neo4j accepts; nearest: url"),
        ("reranker", block("cohere"), ": config.api_key is missing; the provider cohere needs it."),
        (
            "reranker",
            block("cohere", api_key="canary", topk=5),
            ": config.topk is not a key that cohere accepts; nearest: top_k",
        ),
        (
            "reranker",
            block("cohere", api_key="k", cohere_base_url="h:8000"),
            ": config.cohere_base_url must be an addr",
        ),
        ("reranker", block("cohere", api_key="k", model=5), ": config.model must be text"),
        ("reranker", block("llm_reranker", model="m"), ": config.api_key is missing; the provider openai needs it."),
        (
            "reranker",
            block("llm_reranker", model="m", api_key="canary", openai_base_url="http://h"),
            ": config.openai_base_url is not a key that llm_reranker accepts",
        ),
        (
            "reranker",
            block("llm_reranker", provider="pgvector"),
            ": config: the provider pgvector belongs in local_vector",
        ),
        ("reranker", block("llm_reranker", provider="azure_openai"), ": config.llm must be a JSON object; found null."),
        ("reranker", block("llm_reranker", llm={"provider": "openai"}), ": config.llm.config must be a JSON object"),
        (
            "reranker",
            block("llm_reranker", llm={"provider": "openai", "config": {"model": "m"}}),
            ": config.llm.config.api_key is missing; the provider openai needs it.",
        ),
    ],
)
@pytest.mark.usefixtures("installed")
def test_a_mistake_is_told_with_its_place(kind: Kind, pasted: object, says: str) -> None:
    said = refusal(kind, pasted)
    assert says in said
    assert "canary" not in said


def test_what_may_be_a_key_is_not_shown_where_a_name_should_be() -> None:
    for secret in ("sk-proj-abcdef", "5EcReT-1-2-3-4-5", "correct horse battery staple, and so on and on", "a\nb"):
        assert secret not in refusal("llm", {"provider": secret, "config": {}})
        assert secret not in refusal("llm", block("openai", **OPENAI, **{secret: 1}))


@pytest.mark.parametrize(("given", "seconds"), [(5, 5.0), (0.5, 0.5), (600, 600.0), (None, None)])
@pytest.mark.parametrize(("kind", "config"), [("llm", OPENAI), ("embedder", OPENAI)])
def test_a_timeout_is_taken_out_of_the_config(kind: Kind, config: dict[str, Any], given: Any, seconds: Any) -> None:
    read = read_block(kind, block("openai", **config, timeout=given))
    assert (read.timeout_s, read.config) == (seconds, config)


def test_a_reranker_has_a_timeout_too() -> None:
    config = {"provider": "openai", "model": "m", "api_key": "k"}
    read = read_block("reranker", block("llm_reranker", **config, timeout=7))
    assert (read.timeout_s, read.config) == (7.0, config)


@pytest.mark.parametrize("timeout", [0, -1, 601, True, "30", float("1e400"), []])
def test_a_timeout_that_is_none_is_refused(timeout: object) -> None:
    if timeout == float("inf"):
        pasted = '{"provider": "openai", "config": {"model": "m", "api_key": "k", "timeout": 1e400}}'
    else:
        pasted = block("openai", **OPENAI, timeout=timeout)
    assert "config.timeout must be a number of seconds above 0 and up to 600;" in refusal("llm", pasted)


def test_numbers_in_quotes_become_numbers() -> None:
    read = read_block("embedder", block("openai", **OPENAI, embedding_dims="256"))
    assert read.config["embedding_dims"] == 256


def test_a_block_does_not_show_its_config() -> None:
    assert "canary" not in repr(Block(provider="openai", config={"api_key": "canary"}))


def test_the_name_of_an_older_form_is_used_in_errors() -> None:
    with pytest.raises(CredentialError, match=r"^local_llm_json is not valid JSON"):
        read_block("llm", "{", "local_llm_json")


# -- what is the plugin's own


STORES = [
    ("pgvector", {"connection_string": "postgresql://u:p@h/d"}),
    *(("qdrant", {"path": "/m"}), ("chroma", {"path": "/m"}), ("faiss", {"path": "/m"}), ("milvus", {"url": "/m.db"})),
]


@pytest.mark.parametrize(("provider", "config"), STORES, ids=[provider for provider, _ in STORES])
@pytest.mark.parametrize(("given", "means"), [(True, True), (False, False), ("false", False), (None, True)])
def test_every_store_takes_keyword_order_and_mem0_never_sees_it(
    provider: str, config: dict[str, Any], given: Any, means: bool
) -> None:
    read = read_block("vector_store", block(provider, **config, keyword_order=given))
    assert read.keyword_order is means
    assert read.config == read_block("vector_store", block(provider, **config)).config


def test_keyword_order_is_yes_or_no() -> None:
    pasted = block("qdrant", path="/m", keyword_order="often")
    assert "config.keyword_order" in refusal("vector_store", pasted)


def test_prefixes_are_taken_as_they_stand() -> None:
    read = read_block("embedder", block("openai", **OPENAI, query_prefix="query: ", passage_prefix=""))
    assert (read.query_prefix, read.passage_prefix, read.config) == ("query: ", "", OPENAI)
    assert "config.query_prefix" in refusal("embedder", block("openai", **OPENAI, query_prefix=5))


def test_blocks_that_do_not_use_them_are_known_by_the_same_digest_as_ever() -> None:
    """Accepted writes belong to clients that are known by all fields of their blocks (``config/identity.py``)."""
    plain = {"provider": "openai", "config": OPENAI, "timeout_s": None}
    assert read_block("embedder", block("openai", **OPENAI)).model_dump() == plain
    off = read_block("vector_store", block("qdrant", path="/m", keyword_order=False))
    assert off.model_dump() == {"provider": "qdrant", "config": {"path": "/m"}, "timeout_s": None}
    prefixed = read_block("embedder", block("openai", **OPENAI, query_prefix="q: "))
    assert prefixed.model_dump() == {**plain, "query_prefix": "q: "}


KEY = "sk-secret"


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("spoiled", [f"{KEY}\n{KEY}", f"{KEY}\r{KEY}", f"“{KEY}”", f"{KEY}\u2028{KEY}", f"{KEY}\x7f"])
@pytest.mark.parametrize(
    ("kind", "provider", "config"),
    [
        ("llm", "openai", {"model": "m"}),
        ("embedder", "openai", {"model": "m"}),
        ("vector_store", "qdrant", {"url": "http://h:6333"}),
        ("reranker", "cohere", {}),
        ("reranker", "llm_reranker", {"model": "m"}),
    ],
)
def test_a_key_that_no_request_can_carry_is_refused_and_stands_in_no_error(
    kind: Kind, provider: str, config: dict[str, Any], spoiled: str
) -> None:
    with pytest.raises(CredentialError, match=r"config\.api_key: a key is one line") as caught:
        read_block(kind, {"provider": provider, "config": {**config, "api_key": spoiled}})
    assert all(KEY not in repr((link, vars(link), link.args)) for link in causes(caught.value))


def test_so_is_one_of_azure() -> None:
    config = {"model": "m", "azure_kwargs": {**AZURE, "api_key": f"{KEY}\n{KEY}"}}
    with pytest.raises(CredentialError, match=r"config\.azure_kwargs\.api_key: a key is one line") as caught:
        read_block("llm", {"provider": "azure_openai", "config": config})
    assert all(KEY not in repr((link, vars(link), link.args)) for link in causes(caught.value))


def test_blanks_around_a_key_do_not_matter() -> None:
    assert read_block("llm", block("openai", model="m", api_key=f" {KEY}\n")).config["api_key"] == KEY
