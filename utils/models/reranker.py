"""The reranker: mem0's object, bounded in time, its silence made an error."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from utils.errors import ServiceUnavailable
from utils.messages import Sentence
from utils.models.clients import close, mapping_errors, prepare_client


class Reranker:
    """A reranker of mem0's registry.

    Args:
        reranker: mem0's reranker object; its client gets the time-out.
        timeout_s: seconds one request may wait for the service.
    """

    def __init__(self, reranker: Any, timeout_s: float) -> None:
        self._reranker = reranker
        prepare_client(reranker, timeout_s)
        prepare_client(getattr(reranker, "llm", None), timeout_s)  # llm_reranker asks a model of its own

    def rerank(self, query: str, texts: Sequence[str]) -> list[float]:
        """How relevant each text is to ``query``, 0..1, in the order given. Blocks.

        Raises:
            ServiceUnavailable: it failed. mem0's rerankers raise nothing and answer one and the same constant for all
                texts instead: 0.0, or 0.5 for ``llm_reranker`` (measured).
        """
        documents = [{"memory": text, "position": position} for position, text in enumerate(texts)]
        with mapping_errors("reranker"):
            ranked = self._reranker.rerank(query, documents, top_k=len(documents))
        scores = {document["position"]: float(document["rerank_score"]) for document in ranked}
        constant = set(scores.values()) <= {0.0} or (len(texts) > 1 and set(scores.values()) == {0.5})
        if len(scores) != len(texts) or constant:
            raise ServiceUnavailable("service_unavailable", part="reranker", reason=Sentence("reason_no_scores", {}))
        values = [scores[position] for position in range(len(texts))]
        if all(0.0 <= value <= 1.0 for value in values):
            return values
        return [1.0 / (1.0 + math.exp(-value)) for value in values]  # cross encoders answer logits

    def close(self) -> None:
        """Close the client's connections. Idempotent."""
        close(self._reranker)
        close(getattr(self._reranker, "llm", None))
