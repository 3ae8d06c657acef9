"""Where a block's config leads to, as far as it says."""

from __future__ import annotations

from typing import Any

import pytest

from utils.runtime.service_address import service_address


@pytest.mark.parametrize(
    ("config", "address"),
    [
        ({"model": "m", "api_key": "k", "openai_base_url": "http://llm:8000/v1"}, ("llm", 8000)),
        ({"ollama_base_url": " https://ollama.example/ "}, ("ollama.example", 443)),
        ({"azure_kwargs": {"azure_endpoint": "https://x.openai.azure.com"}}, ("x.openai.azure.com", 443)),
        ({"llm": {"provider": "openai", "config": {"openai_base_url": "http://llm:1/v1"}}}, ("llm", 1)),
        ({"url": "neo4j+s://graph.example", "username": "neo4j"}, ("graph.example", 7687)),
        ({"redis_url": "redis://:secret@redis"}, ("redis", 6379)),
        ({"host": "qdrant", "port": 6333}, ("qdrant", 6333)),
        ({"host": "https://elastic", "port": "9200"}, ("elastic", 9200)),
        ({"url": "http://[::1]:6333"}, ("::1", 6333)),
        ({"url": "http://h:port"}, None),
        ({"mongo_uri": "mongodb+srv://cluster.example"}, None),  # a name of a service, not of a host
        ({"path": "/data/qdrant", "on_disk": True}, None),
        ({"model": "m", "api_key": "http://looks-like-one"}, None),
        ({"url": "./milvus.db"}, None),
    ],
)
def test_the_address_of_a_config(config: dict[str, Any], address: tuple[str, int] | None) -> None:
    assert service_address(config) == address
