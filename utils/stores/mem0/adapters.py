"""Which adapter each provider of mem0's registry has, the refused ones (``mem0.refused``) excepted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from utils.stores.mem0 import servers
from utils.stores.mem0.adapter import StoreAdapter
from utils.stores.mem0.chroma import Chroma
from utils.stores.mem0.faiss import Faiss
from utils.stores.mem0.milvus import Milvus
from utils.stores.mem0.qdrant import Qdrant
from utils.stores.mem0.redis import Redis, Valkey
from utils.stores.mem0.search_engines import Elasticsearch, Opensearch

ADAPTERS: Final[Mapping[str, type[StoreAdapter]]] = {
    "qdrant": Qdrant,
    "chroma": Chroma,
    "faiss": Faiss,
    "milvus": Milvus,
    "azure_ai_search": servers.AzureAiSearch,
    "azure_mysql": servers.AzureMysql,
    "baidu": servers.Baidu,
    "elasticsearch": Elasticsearch,
    "mongodb": servers.Mongodb,
    "neptune": servers.Neptune,
    "opensearch": Opensearch,
    "oracledb": servers.Oracledb,
    "pinecone": servers.Pinecone,
    "redis": Redis,
    "s3_vectors": servers.S3Vectors,
    "supabase": servers.Supabase,
    "turbopuffer": servers.Turbopuffer,
    "upstash_vector": servers.UpstashVector,
    "valkey": Valkey,
}


def adapter_of(provider: str) -> type[StoreAdapter]:
    """The store's adapter; the ordinary one for a provider that is newer than the table."""
    return ADAPTERS.get(provider, StoreAdapter)
