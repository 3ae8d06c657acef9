"""What each vector store's score means, and the similarity it stands for.

mem0's classes answer similarities, distances turned round, fusion ranks; all of it under the one name ``score``. The
plugin shows one thing whatever the store: **similarity = max(0, cos)**, 0..1, higher is better, and ``vector_distance =
1 - similarity``. The scale of a store depends on its metric and never on guesses from the numbers; :data:`SCALES`
states it once per store and metric, for mem0ai 2.2.1. Where a score cannot be turned into a cosine it is clamped to
0..1: then it orders the memories of one answer, and a ``threshold`` means only as much as the store's own scale does.

Some scales are a cosine only for vectors of length 1 (``unit``): the plugin scales vectors to length 1 on such stores,
both what it stores and what it asks with. Memories written there by others count as they are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final


@dataclass(frozen=True, slots=True)
class Scale:
    """How a store's score relates to the cosine.

    Attributes:
        name: for documentation.
        cosine: the cosine a score stands for.
        unit: whether that holds only for vectors of length 1.
        known: False when the score cannot be turned into a cosine.
    """

    name: str
    cosine: Callable[[float], float]
    unit: bool = False
    known: bool = True

    def similarity(self, score: float | None) -> float:
        """Similarity in 0..1 of a raw score; 0 for none and for NaN, which a zero vector gives."""
        if score is None or math.isnan(score):
            return 0.0
        return min(1.0, max(0.0, self.cosine(score)))


def _two_minus_reciprocal(score: float) -> float:
    return 2.0 - 1.0 / score if score > 0 else 0.0


def _from_squared_l2(score: float) -> float:
    """From 1/(1+d) with d the squared distance, which is 2 - 2 cos between vectors of length 1."""
    return (3.0 - 1.0 / score) / 2.0 if score > 0 else 0.0


def _from_l2(score: float) -> float:
    """From 1/(1+d) with d the plain distance, whose square is 2 - 2 cos between vectors of length 1."""
    return 1.0 - (1.0 / score - 1.0) ** 2 / 2.0 if score > 0 else 0.0


COSINE: Final = Scale("cos", lambda score: score)
DOT: Final = Scale("dot product", lambda score: score, unit=True)
HALVED: Final = Scale("(1 + cos) / 2", lambda score: 2.0 * score - 1.0)
RECIPROCAL: Final = Scale("1 / (2 - cos)", _two_minus_reciprocal)
SQUARED_L2: Final = Scale("1 / (1 + squared L2)", _from_squared_l2, unit=True)
L2: Final = Scale("1 / (1 + L2)", _from_l2, unit=True)
SQUARED_DISTANCE: Final = Scale("squared L2", lambda score: 1.0 - score / 2.0, unit=True)
UNKNOWN: Final = Scale("not a cosine: clamped", lambda score: score, known=False)

# By provider, then by metric as configured, lower case; "" is what mem0 takes when nothing is said. A provider or
# metric that is not here is UNKNOWN.
SCALES: Final[Mapping[str, Mapping[str, Scale]]] = {
    "pgvector": {"": COSINE},
    "qdrant": {"": COSINE},
    "chroma": {"": SQUARED_L2},
    "faiss": {"": SQUARED_L2, "euclidean": SQUARED_L2, "cosine": COSINE, "inner_product": DOT},
    "milvus": {"": SQUARED_L2, "l2": SQUARED_L2, "cosine": COSINE, "ip": DOT},
    "azure_ai_search": {"": RECIPROCAL, "hybrid": UNKNOWN},
    "azure_mysql": {"": COSINE},
    "baidu": {"": UNKNOWN},  # whether its L2 is squared and which way its other metrics run was never checked
    "elasticsearch": {"": HALVED},
    "mongodb": {"": HALVED},
    "neptune": {"": SQUARED_DISTANCE},
    "opensearch": {"": HALVED},  # the adapter's own, whatever the index's engine
    "oracledb": {"": COSINE, "cosine": COSINE, "dot": DOT, "euclidean": L2, "euclidean_squared": SQUARED_L2},
    "pinecone": {"": COSINE, "cosine": COSINE, "dotproduct": DOT, "hybrid": DOT},  # its sparse half is never asked
    "redis": {"": COSINE},
    "s3_vectors": {"": COSINE, "cosine": COSINE},
    "supabase": {"": COSINE},  # the query is by cosine whatever the index measures
    "turbopuffer": {"": COSINE, "cosine_distance": COSINE, "euclidean_squared": SQUARED_L2},
    "upstash_vector": {"": HALVED},
    "valkey": {"": COSINE},
}
_METRIC_KEYS: Final = ("distance_strategy", "metric_type", "distance_metric", "metric")


def scale_of(provider: str, config: Mapping[str, Any]) -> Scale:
    """The scale of a store's scores.

    Args:
        provider: mem0's name of the store.
        config: its configuration, which may name a metric.
    """
    return SCALES.get(provider, {}).get(_metric(config), UNKNOWN)


def _metric(config: Mapping[str, Any]) -> str:
    if config.get("hybrid_search") is True:
        return "hybrid"
    named = next((config[key] for key in _METRIC_KEYS if config.get(key)), "")
    return str(named).lower()


def vector_distance(similarity: float) -> float:
    """What a search result shows beside its similarity: 0..1, lower is better."""
    return 1.0 - similarity


def unit(vector: Sequence[float]) -> list[float]:
    """``vector`` at length 1; a zero vector as it is."""
    length = math.sqrt(math.fsum(value * value for value in vector))
    return [value / length for value in vector] if length > 0 else list(vector)
