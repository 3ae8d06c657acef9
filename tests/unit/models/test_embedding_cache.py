"""Texts embedded a moment ago are not embedded again."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from playground.credentials import Endpoint, credential_set, qdrant_block
from tests.unit.models.scripted_endpoint import ScriptedEndpoint, embeddings
from utils.aio.blocking import ThreadPool, use_pool
from utils.config.blocks import read_block
from utils.config.settings import Settings
from utils.errors import CredentialError
from utils.models.embedding_cache import EmbeddingCache
from utils.models.models import Models

EMBEDDER = {"provider": "openai", "config": {"model": "m", "api_key": "sk-canary"}}


def test_the_least_recently_used_vector_goes_first() -> None:
    cache = EmbeddingCache(2)
    cache.put("search", "a", [0.1])
    cache.put("search", "b", [0.2])
    assert cache.get("search", "a") == [0.1]
    cache.put("search", "c", [0.3])
    assert [cache.get("search", text) for text in "abc"] == [[0.1], None, [0.3]]
    assert cache.get("add", "a") is None


def test_what_is_handed_out_is_the_callers() -> None:
    cache = EmbeddingCache(1)
    cache.put("search", "a", [0.1])
    vector = cache.get("search", "a")
    assert vector is not None
    vector.append(1.0)
    assert cache.get("search", "a") == [0.1]


def test_a_cache_of_no_size_keeps_nothing() -> None:
    cache = EmbeddingCache(0)
    cache.put("search", "a", [0.1])
    assert cache.get("search", "a") is None


@pytest.mark.parametrize(("given", "size"), [({}, 512), ({"cache_size": 0}, 0), ({"cache_size": "7"}, 7)])
def test_the_size_stands_in_the_embedders_block_and_mem0_does_not_see_it(given: dict[str, Any], size: int) -> None:
    block = read_block("embedder", {**EMBEDDER, "config": {**EMBEDDER["config"], **given}})  # type: ignore[dict-item]
    assert block.cache_size == size
    assert "cache_size" not in block.config
    assert block.model_dump() == read_block("embedder", EMBEDDER).model_dump()


def test_a_size_that_is_none_is_refused() -> None:
    with pytest.raises(CredentialError, match=r"config\.cache_size"):
        read_block("embedder", {**EMBEDDER, "config": {**EMBEDDER["config"], "cache_size": -1}})  # type: ignore[dict-item]


@pytest.fixture
def endpoint() -> Iterator[ScriptedEndpoint]:
    with ScriptedEndpoint() as endpoint:
        yield endpoint


@pytest.fixture
async def models(endpoint: ScriptedEndpoint, tmp_path: Path) -> AsyncIterator[Models]:
    pool = ThreadPool("test", 2)
    use_pool(pool)
    service = Endpoint(f"{endpoint.base_url}/v1", dimensions=1)
    models = Models(Settings.from_credentials(credential_set(service, qdrant_block(tmp_path, 1))))
    yield models
    models.close()
    pool.close()


async def test_only_what_is_new_is_asked_for(endpoint: ScriptedEndpoint, models: Models) -> None:
    endpoint.script(embeddings([1.0]), embeddings([2.0], [3.0]), embeddings([4.0]))
    assert [await models.embed("a"), await models.embed("a")] == [[1.0], [1.0]]
    assert await models.embed_batch(["b", "c", "b"]) == [[2.0], [3.0], [2.0]]
    assert await models.embed_batch(["c", "d", "b"]) == [[3.0], [4.0], [2.0]]
    assert [body["input"] for body in endpoint.bodies] == [["a"], ["b", "c"], ["d"]]
