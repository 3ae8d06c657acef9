"""Where a block's config leads to, as far as it says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from utils.runtime.service_address import embedded_folder, may_write, proxy_between, service_address


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


@pytest.mark.parametrize(
    ("url", "proxy"),
    [
        ("http://model.example:8000/v1", "plain:3128"),
        ("https://model.example/v1", "tunnel:3129"),
        ("http://inside.example/v1", None),
        (None, "tunnel:3129"),  # the vendor's own address
    ],
)
def test_the_proxy_before_an_address_is_named_without_its_password(
    monkeypatch: pytest.MonkeyPatch, url: str | None, proxy: str | None
) -> None:
    monkeypatch.setenv("http_proxy", "http://user:canary@plain:3128")
    monkeypatch.setenv("https_proxy", "tunnel:3129")
    monkeypatch.setenv("no_proxy", "inside.example")
    assert proxy_between({"openai_base_url": url, "api_key": "k"}) == proxy


@pytest.mark.parametrize(
    ("config", "folder"),
    [
        ({"path": "/data/qdrant"}, "/data/qdrant"),
        ({"url": "/data/milvus.db"}, "/data"),
        ({"host": "h", "port": 6333, "path": "/data"}, None),
        ({"url": "http://h:6333", "path": "/data"}, None),
        ({"collection_name": "c"}, None),
    ],
)
def test_the_folder_of_an_engine_in_this_process(config: dict[str, Any], folder: str | None) -> None:
    assert embedded_folder(config) == folder


def test_a_folder_may_be_written_where_it_can_be_made(tmp_path: Path) -> None:
    assert may_write(str(tmp_path)) and may_write(str(tmp_path / "not" / "there"))
    (tmp_path / "file").touch()
    assert not may_write(str(tmp_path / "file")) and not may_write(str(tmp_path / "file" / "below"))
