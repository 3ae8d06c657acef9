"""Rerankers behind HTTP: Cohere's, whose protocol vLLM, Jina, LiteLLM and others speak as well, and ZeroEntropy's.

One request for all texts, asked once: a search does not wait for a second try, it has an order without. The SDKs are
not needed for it, and Cohere's alone brings 30 MB.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any, Final, NamedTuple

from utils.models.openai_http import OpenAIHttp


class _Service(NamedTuple):
    """Where a service is, the path of a request, and the model that mem0 takes where none is named."""

    base_url: str
    path: str
    model: str


SERVICES: Final[Mapping[str, _Service]] = {
    "cohere": _Service("https://api.cohere.com/v2", "/rerank", "rerank-v3.5"),
    "zero_entropy": _Service("https://api.zeroentropy.dev/v1", "/models/rerank", "zerank-1"),
}


class RerankService:
    """A service that scores texts. Constructing it does no I/O.

    Args:
        provider: one of :data:`SERVICES`.
        config: the block's; checked already. ``<provider>_base_url`` in it is another address than the vendor's.
        timeout_s: seconds to connect, and for each wait for data.

    Attributes:
        client: for ``clients``.
    """

    def __init__(self, provider: str, config: Mapping[str, Any], timeout_s: float) -> None:
        service = SERVICES[provider]
        base_url = config.get(f"{provider}_base_url") or service.base_url
        self._http = OpenAIHttp(base_url, config["api_key"], timeout_s, retries=0)
        self._path = service.path
        self._model = config.get("model") or service.model
        self.client = SimpleNamespace(http=self._http, close=self._http.close)

    def scores(self, query: str, texts: Sequence[str]) -> list[Any]:
        """The score of each text as the service gave it, in their order; None where it gave none. Blocks.

        Raises:
            Exception: of ``openai_http``.
        """
        body = {"model": self._model, "query": query, "documents": list(texts), "top_n": len(texts)}
        answer = self._http.post(self._path, body)
        results = answer.get("results") if isinstance(answer, dict) else None
        rows = [row for row in (results if isinstance(results, list) else ()) if isinstance(row, dict)]
        found = {row.get("index"): row.get("relevance_score") for row in rows if isinstance(row.get("index"), int)}
        return [found.get(index) for index in range(len(texts))]

    def close(self) -> None:
        """Close the connections. Idempotent."""
        self._http.close()
