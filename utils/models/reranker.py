"""The reranker: what it is given is bounded, what it answers is checked and lies between 0 and 1, and it is asked once.

mem0's classes for rerankers hide every failure behind equal scores (0.0, or 0.5 for ``llm_reranker``, measured). So the
services are asked without them: Cohere's and ZeroEntropy's over HTTP (``rerank_http``), a chat model in one request for
all texts (``llm_reranker``; mem0's asks once for each). Models that run in this process stay mem0's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol

from utils.errors import ServiceUnavailable, UnusableAnswer
from utils.mem0 import building
from utils.messages import Sentence
from utils.models.clients import close, keep_connections, mapping_errors
from utils.models.llm_reranker import LLMReranker
from utils.models.rerank_http import SERVICES, RerankService

if TYPE_CHECKING:
    from utils.config.blocks import Block

# Characters. About the 500 tokens that Cohere counts as one document and cross encoders read at most.
_MOST_OF_QUERY: Final = 2_000
_MOST_OF_TEXT: Final = 2_000


class Scorer(Protocol):
    """Whoever gives scores."""

    def scores(self, query: str, texts: Sequence[str]) -> Sequence[Any]:
        """One score for each text, in their order. Blocks; raises what its SDK raises."""
        ...

    def close(self) -> None:
        """Close its connections. Idempotent."""
        ...


class Reranker:
    """A reranker of mem0's registry.

    Args:
        scorer: whoever gives the scores.
    """

    def __init__(self, scorer: Scorer) -> None:
        self._scorer = scorer

    @property
    def computes_here(self) -> bool:
        """Whether :meth:`rerank` computes in C instead of waiting for a service: then it needs a real OS thread. In a
        greenlet torch stops the loop, and crashed the process (seen with 2.15).
        """
        return isinstance(self._scorer, LocalReranker)

    def rerank(self, query: str, texts: Sequence[str]) -> list[float]:
        """How relevant each text is to ``query``, 0..1, in the order given. Blocks.

        Args:
            query: its beginning is sent.
            texts: at least one; of each the beginning is sent.

        Raises:
            ServiceError: it failed, or gave anything but one number for each text.
        """
        with mapping_errors("reranker"):
            scores = self._scorer.scores(query[:_MOST_OF_QUERY], [text[:_MOST_OF_TEXT] for text in texts])
        numbers = [float(score) for score in scores if _is_number(score)]
        if len(numbers) != len(scores) or len(scores) != len(texts):
            raise UnusableAnswer("service_unusable", part="reranker", reason=Sentence("reason_no_scores", {}))
        if all(0.0 <= number <= 1.0 for number in numbers):
            return numbers
        return [sigmoid(number) for number in numbers]  # some services answer logits

    def close(self) -> None:
        """Close the connections. Idempotent."""
        self._scorer.close()


def build_reranker(block: Block, timeout_s: float, idle_s: float) -> Reranker:
    """The reranker a credential describes. A local model is loaded, and at first downloaded.

    Args:
        block: of the credential.
        timeout_s: seconds to connect to a service, and for each wait for data.
        idle_s: seconds a connection that nobody uses is kept.

    Raises:
        CredentialError: the configuration is refused or a package is missing.
    """
    if block.provider in SERVICES:
        service = RerankService(block.provider, block.config, timeout_s)
        keep_connections(service, idle_s)
        return Reranker(service)
    if block.provider == "llm_reranker":
        asked = LLMReranker(block.config, timeout_s)
        keep_connections(asked.llm, idle_s)
        return Reranker(asked)
    probabilities = {"normalize": True} if block.provider == "huggingface" else {}  # else it may answer logits
    return Reranker(LocalReranker(building.build_reranker(block.provider, {**block.config, **probabilities})))


class LocalReranker:
    """A model that mem0's class runs in this process: ``sentence_transformer`` or ``huggingface``.

    Args:
        reranker: mem0's object.
    """

    def __init__(self, reranker: Any) -> None:
        self._reranker = reranker
        # Cross encoders answer probabilities, or logits where their model was saved with no function after them.
        activation = getattr(reranker.model, "activation_fn", None)
        self._answers_logits = type(activation).__name__ == "Identity"

    def scores(self, query: str, texts: Sequence[str]) -> list[float]:
        """One score for each text, 0..1, in their order. Blocks.

        Raises:
            ServiceUnavailable: the model failed. mem0 tells by scores that are all 0.0, which no model gives.
        """
        documents = [{"memory": text, "position": position} for position, text in enumerate(texts)]
        ranked = self._reranker.rerank(query, documents, top_k=len(documents))
        scores = {document["position"]: float(document["rerank_score"]) for document in ranked}
        if len(scores) != len(texts) or not any(scores.values()):
            raise ServiceUnavailable("service_unavailable", part="reranker", reason=Sentence("reason_no_scores", {}))
        in_order = [scores[position] for position in range(len(texts))]
        return [sigmoid(score) for score in in_order] if self._answers_logits else in_order

    def close(self) -> None:
        """Close what mem0's object has open. Idempotent."""
        close(self._reranker)


def sigmoid(logit: float) -> float:
    """The probability a logit stands for, without overflow."""
    small = math.exp(-abs(logit))
    return (1.0 if logit >= 0 else small) / (1.0 + small)


def _is_number(score: object) -> bool:
    return isinstance(score, int | float) and not isinstance(score, bool) and math.isfinite(score)
