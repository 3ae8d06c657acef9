"""Which Python package each provider of mem0 needs beyond mem0's own requirements.

mem0 finds out by importing and says so in a dozen ways. Here a missing package is found without importing anything,
when the credential is read. A provider that is not listed needs nothing more, or is newer than this table; then
building it tells.

Some classes import at once what they use under one configuration only: Azure's the package for the machine's own
identity, Hugging Face's the one for models inside the process. Nobody has to install what is not used.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType
from typing import Any, Final

# kind -> provider -> the modules it imports (read in mem0 2.2.1) and what to install for them
_NEEDED: Final[dict[str, dict[str, tuple[tuple[str, ...], str]]]] = {
    "llm": {
        "sarvam": (("requests",), "requests"),
        "azure_openai": (("azure.identity",), "azure-identity"),
        "azure_openai_structured": (("azure.identity",), "azure-identity"),
        "ollama": (("ollama",), "ollama"),
        "anthropic": (("anthropic",), "anthropic"),
        "groq": (("groq",), "groq"),
        "together": (("together",), "together"),
        "aws_bedrock": (("boto3",), "boto3"),
        "litellm": (("litellm",), "litellm"),
        "gemini": (("google.genai",), "google-genai"),
    },
    "embedder": {
        "ollama": (("ollama",), "ollama"),
        "azure_openai": (("azure.identity",), "azure-identity"),
        "huggingface": (("sentence_transformers",), "sentence-transformers"),
        "gemini": (("google.genai",), "google-genai"),
        "vertexai": (("vertexai",), "google-cloud-aiplatform"),
        "together": (("together",), "together"),
        "aws_bedrock": (("boto3",), "boto3"),
        "fastembed": (("fastembed",), "fastembed"),
    },
    "vector_store": {
        "pgvector": (("psycopg", "psycopg_pool"), "psycopg[binary,pool]"),
        "qdrant": (("qdrant_client",), "qdrant-client"),
        "chroma": (("chromadb",), "chromadb"),
        "milvus": (("pymilvus",), "pymilvus"),
        "upstash_vector": (("upstash_vector",), "upstash-vector"),
        "azure_ai_search": (("azure.search.documents", "azure.identity"), "azure-search-documents azure-identity"),
        "azure_mysql": (("pymysql", "dbutils"), "pymysql dbutils"),
        "pinecone": (("pinecone",), "pinecone"),
        "mongodb": (("pymongo",), "pymongo"),
        "redis": (("redis", "redisvl"), "redis redisvl"),
        "valkey": (("valkey", "pytz"), "valkey pytz"),
        "elasticsearch": (("elasticsearch",), "elasticsearch"),
        "opensearch": (("opensearchpy",), "opensearch-py"),
        "supabase": (("vecs",), "vecs"),
        "faiss": (("faiss",), "faiss-cpu"),
        "s3_vectors": (("boto3",), "boto3"),
        "baidu": (("pymochow",), "pymochow"),
        "neptune": (("langchain_aws",), "langchain-aws"),
        "turbopuffer": (("turbopuffer",), "turbopuffer"),
        "oracledb": (("oracledb",), "oracledb"),
    },
    "graph": {
        "neo4j": (("neo4j",), "neo4j"),
        "memgraph": (("neo4j",), "neo4j"),  # the same protocol, Bolt, and the same driver
    },
    "reranker": {
        "sentence_transformer": (("sentence_transformers",), "sentence-transformers"),
        "huggingface": (("transformers", "torch"), "transformers torch"),
    },
}


# What mem0's class imports but uses under some configurations only: module -> the names it imports.
_PERHAPS_UNUSED: Final[dict[str, tuple[str, ...]]] = {
    "azure.identity": ("DefaultAzureCredential", "get_bearer_token_provider"),
    "sentence_transformers": ("SentenceTransformer",),
}
_NO_KEY: Final = (None, "", "your-api-key")  # as mem0's Azure classes see it: then the machine's identity is used


def missing_package(kind: str, provider: str, config: Mapping[str, Any] | None = None) -> str | None:
    """What to ``pip install`` before this provider can work, or None when all it needs is there.

    Args:
        kind: of the provider.
        provider: its name.
        config: its configuration, which may need less; None: whatever it is.
    """
    modules, package = _needed(kind, provider, config)
    return None if all(map(_is_installed, modules)) else package


def package_of(kind: str, provider: str, config: Mapping[str, Any] | None = None) -> str:
    """What this provider needs beyond mem0's own requirements, installed or not; empty: nothing."""
    modules, package = _needed(kind, provider, config)
    return package if modules else ""


def _needed(kind: str, provider: str, config: Mapping[str, Any] | None) -> tuple[list[str], str]:
    modules, package = _NEEDED.get(kind, {}).get(provider, ((), ""))
    return [module for module in modules if config is None or not _is_unused(module, config)], package


@contextmanager
def without_unused(config: Mapping[str, Any]) -> Iterator[None]:
    """While the body imports a class of mem0's, let it import what is not installed and what ``config`` leaves unused.

    A class that was imported so says so when it is used otherwise: with the same error as if it were imported then.
    """
    lent = [name for name in _PERHAPS_UNUSED if _is_unused(name, config) and not _is_installed(name)]
    for name in lent:
        sys.modules[name] = _stand_in(name)
    try:
        yield
    finally:
        for name in lent:
            del sys.modules[name]


def _is_unused(module: str, config: Mapping[str, Any]) -> bool:
    if module == "azure.identity":
        azure = config.get("azure_kwargs")
        return isinstance(azure, Mapping) and azure.get("api_key") not in _NO_KEY
    return module == "sentence_transformers" and bool(config.get("huggingface_base_url"))


def _stand_in(name: str) -> ModuleType:
    def missing(*_args: object, **_options: object) -> None:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    module = ModuleType(name)
    for imported in _PERHAPS_UNUSED[name]:
        setattr(module, imported, missing)
    return module


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # the parent of a dotted name is not there
        return False
    except ValueError:  # imported already, by something that left it no spec
        return True
