"""Which Python package each provider of mem0 needs beyond mem0's own requirements.

mem0 finds out by importing and says so in a dozen ways. Here a missing package is found without importing anything,
when the credential is read. A provider that is not listed needs nothing more, or is newer than this table; then
building it tells.
"""

from __future__ import annotations

import importlib.util
from typing import Final

# kind -> provider -> the modules it imports (read in mem0 2.2.1) and what to install for them
_NEEDED: Final[dict[str, dict[str, tuple[tuple[str, ...], str]]]] = {
    "llm": {
        "sarvam": (("requests",), "requests"),
        "azure_openai": (("azure.identity",), "azure-identity"),  # imported even where an API key is used
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
        "huggingface": (("sentence_transformers",), "sentence-transformers"),  # also where only a URL is called
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
        "databricks": (("databricks.sdk",), "databricks-sdk"),
        "elasticsearch": (("elasticsearch",), "elasticsearch"),
        "vertex_ai_vector_search": (("google.cloud.aiplatform",), "google-cloud-aiplatform"),
        "opensearch": (("opensearchpy",), "opensearch-py"),
        "supabase": (("vecs",), "vecs"),
        "weaviate": (("weaviate",), "weaviate-client"),
        "faiss": (("faiss",), "faiss-cpu"),
        "s3_vectors": (("boto3",), "boto3"),
        "baidu": (("pymochow",), "pymochow"),
        "cassandra": (("cassandra",), "cassandra-driver"),
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


def missing_package(kind: str, provider: str) -> str | None:
    """What to ``pip install`` before this provider can work, or None when all it needs is there."""
    modules, package = _NEEDED[kind].get(provider, ((), ""))
    return None if all(_is_installed(module) for module in modules) else package


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # the parent of a dotted name is not there
        return False
    except ValueError:  # imported already, by something that left it no spec
        return True
