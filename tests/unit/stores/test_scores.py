"""The table of scores: every provider's formula turned back into the cosine it was made of."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

from utils.mem0 import registry
from utils.mem0.refused import REFUSED
from utils.stores.mem0.adapters import ADAPTERS
from utils.stores.scores import SCALES, UNKNOWN, scale_of, unit, vector_distance

COSINES = (1.0, 0.8, 0.5, 0.0, -0.5)


def squared_l2(cosine: float) -> float:
    return 2 - 2 * cosine


@pytest.mark.parametrize(
    ("provider", "config", "score"),
    [
        ("pgvector", {}, lambda cosine: max(0.0, cosine)),
        ("qdrant", {}, lambda cosine: cosine),
        ("chroma", {}, lambda cosine: 1 / (1 + squared_l2(cosine))),
        ("faiss", {}, lambda cosine: 1 / (1 + squared_l2(cosine))),
        ("faiss", {"distance_strategy": "cosine"}, lambda cosine: cosine),
        ("faiss", {"distance_strategy": "inner_product"}, lambda cosine: cosine),
        ("milvus", {}, lambda cosine: 1 / (1 + squared_l2(cosine))),
        ("milvus", {"metric_type": "COSINE"}, lambda cosine: cosine),
        ("milvus", {"metric_type": "IP"}, lambda cosine: cosine),
        ("azure_ai_search", {"hybrid_search": False}, lambda cosine: 1 / (2 - cosine)),
        ("elasticsearch", {}, lambda cosine: (1 + cosine) / 2),
        ("mongodb", {}, lambda cosine: (1 + cosine) / 2),
        ("upstash_vector", {}, lambda cosine: (1 + cosine) / 2),
        ("neptune", {}, squared_l2),
        ("opensearch", {}, lambda cosine: (1 + cosine) / 2),
        ("oracledb", {}, lambda cosine: max(0.0, cosine)),
        ("oracledb", {"distance_metric": "EUCLIDEAN"}, lambda cosine: 1 / (1 + math.sqrt(squared_l2(cosine)))),
        ("pinecone", {"metric": "cosine"}, lambda cosine: cosine),
        ("redis", {}, lambda cosine: max(0.0, cosine)),
        ("turbopuffer", {"distance_metric": "euclidean_squared"}, lambda cosine: 1 / (1 + squared_l2(cosine))),
    ],
)
def test_a_score_becomes_the_similarity(provider: str, config: dict[str, Any], score: Callable[[float], float]) -> None:
    scale = scale_of(provider, config)
    for cosine in COSINES:
        assert scale.similarity(score(cosine)) == pytest.approx(max(0.0, cosine))


@pytest.mark.parametrize(
    ("provider", "config"),
    [
        ("baidu", {}),
        ("azure_ai_search", {"hybrid_search": True}),
        ("oracledb", {"distance_metric": "HAMMING"}),
        ("no such store", {}),
    ],
)
def test_a_scale_that_is_no_cosine_is_clamped_and_says_so(provider: str, config: dict[str, Any]) -> None:
    scale = scale_of(provider, config)
    assert scale is UNKNOWN
    assert not scale.known
    assert [scale.similarity(score) for score in (-3.0, 0.25, 7.0)] == [0.0, 0.25, 1.0]


def test_every_store_of_mem0_is_in_both_tables() -> None:
    registered = registry.providers("vector_store") - REFUSED["vector_store"].keys()
    assert SCALES.keys() == registered
    assert ADAPTERS.keys() | {"pgvector"} == registered


@pytest.mark.parametrize("provider", sorted(SCALES))
@pytest.mark.parametrize("score", [None, float("nan"), float("inf"), float("-inf"), 0.0, -1.0, 1e308, 5e-324])
def test_whatever_a_store_answers_is_between_0_and_1(provider: str, score: float | None) -> None:
    for scale in SCALES[provider].values():
        assert 0.0 <= scale.similarity(score) <= 1.0


def test_distance_is_what_similarity_lacks() -> None:
    assert (vector_distance(1.0), vector_distance(0.25), vector_distance(0.0)) == (0.0, 0.75, 1.0)


def test_unit_has_length_1_unless_there_is_no_direction() -> None:
    assert unit([3.0, 4.0]) == [0.6, 0.8]
    assert unit([0.0, 0.0]) == [0.0, 0.0]
