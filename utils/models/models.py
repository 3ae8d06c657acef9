"""The parts one credential set stands for: model, embedder, vector store, reranker; built once, shared by every call.

Parts come from mem0's own registries (``utils.mem0.building``) and are built when they are first needed, because a
search needs no model and importing one costs memory and half a second. Every outgoing call has a time-out of its own,
so that nothing waits for ever whatever the caller's patience.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from utils.aio.blocking import hop
from utils.errors import ServiceUnavailable
from utils.mem0 import building
from utils.models.chat import ChatModel, Embedder, bound, call

if TYPE_CHECKING:
    from utils.config.settings import Settings
    from utils.stores.protocol import Store

_MODEL_TIMEOUT_S: Final = (
    60.0  # per request; reasoning models take tens of seconds. `timeout` in the block overrides it
)
_EMBEDDER_TIMEOUT_S: Final = 20.0
_RERANKER_TIMEOUT_S: Final = 4.0  # below the 5 s of a search, which is then answered in order of similarity
_STATEMENT_TIMEOUT_MS: Final = 60_000  # nothing waits longer for a read or write (SPEC 4); deletes go in batches


class Client:
    """Model, embedder, store and reranker of one credential set. Constructing it does no I/O.

    Args:
        settings: the credentials, read.
        store: the vector store they name (:func:`build_store`), shared with other sets that name the same.
    """

    def __init__(self, settings: Settings, store: Store) -> None:
        self.store = store
        self._settings = settings
        self._building = asyncio.Lock()
        self._chat_model: ChatModel | None = None
        self._embedder: Embedder | None = None
        self._reranker: Any | None = None

    def close(self) -> None:
        """Close the connections of model and embedder. Idempotent."""
        for part in (self._embedder, self._chat_model):
            if part is not None:
                part.close()

    async def chat_model(self) -> ChatModel:
        """The model, built at the first call."""
        async with self._building:
            if self._chat_model is None:
                block = self._settings.llm
                llm = await hop(building.build_llm, block.provider, dict(block.config))
                self._chat_model = ChatModel(llm, block.provider, block.timeout_s or _MODEL_TIMEOUT_S)
            return self._chat_model

    async def embedder(self) -> Embedder:
        """The embedder, built at the first call (Ollama's asks its server while it is made)."""
        if self._embedder is None:
            async with self._building:
                if self._embedder is None:
                    block = self._settings.embedder
                    built = await hop(building.build_embedder, block.provider, dict(block.config))
                    timeout_s = block.timeout_s or _EMBEDDER_TIMEOUT_S
                    self._embedder = Embedder(built, block.provider, timeout_s, self._settings.embedding_dims)
        return self._embedder

    async def embed(self, text: str) -> list[float]:
        """The vector of a text to search with.

        Raises:
            ServiceError: part ``embedder``.
        """
        return await hop((await self.embedder()).embed, text)

    async def embed_batch(self, texts: Sequence[str]) -> list[list[float]]:
        """The vectors of texts to store, in their order.

        Raises:
            ServiceError: part ``embedder``.
        """
        return await hop((await self.embedder()).embed_batch, texts) if texts else []

    @property
    def reranks(self) -> bool:
        """Whether a reranker is configured."""
        return self._settings.reranker is not None

    @property
    def rerank_timeout_s(self) -> float:
        """Seconds a search waits for the reranker before it answers without."""
        block = self._settings.reranker
        return (block and block.timeout_s) or _RERANKER_TIMEOUT_S

    async def rerank(self, query: str, texts: Sequence[str]) -> list[float]:
        """How relevant each text is to ``query``, 0..1, in the order given.

        Raises:
            ServiceError: part ``reranker``.
        """
        async with self._building:
            block = self._settings.reranker
            if self._reranker is None and block is not None:
                self._reranker = await hop(building.build_reranker, block.provider, dict(block.config))
                bound(self._reranker, self.rerank_timeout_s)
                bound(
                    getattr(self._reranker, "llm", None), self.rerank_timeout_s
                )  # llm_reranker asks a model of its own
        return await hop(_relevance, self._reranker, query, texts)


def build_store(settings: Settings) -> Store:
    """The vector store ``settings`` name: our own class for pgvector, mem0's behind our promises for every other."""
    block = settings.vector_store
    if settings.pgvector is not None:
        from utils.stores.pgvector.store import PgvectorStore

        return PgvectorStore(settings.pgvector, settings.embedding_dims, _STATEMENT_TIMEOUT_MS)
    from utils.stores.mem0.store import Mem0Store

    return Mem0Store(
        block.provider,
        block.config,
        lambda: building.build_vector_store(block.provider, block.config, settings.embedding_dims),
    )


def _relevance(reranker: Any, query: str, texts: Sequence[str]) -> list[float]:
    """Ask one of mem0's rerankers; blocks.

    Raises:
        ServiceUnavailable: it failed. mem0's rerankers raise nothing and answer one and the same constant for all texts
            instead: 0.0, or 0.5 for ``llm_reranker`` (measured).
    """
    documents = [{"memory": text, "position": position} for position, text in enumerate(texts)]
    ranked = call("reranker", reranker.rerank, query, documents, top_k=len(documents))
    scores = {document["position"]: float(document["rerank_score"]) for document in ranked}
    constant = set(scores.values()) <= {0.0} or (len(texts) > 1 and set(scores.values()) == {0.5})
    if len(scores) != len(texts) or constant:
        raise ServiceUnavailable("service_unavailable", part="reranker", reason="no scores")
    values = [scores[position] for position in range(len(texts))]
    if all(0.0 <= value <= 1.0 for value in values):
        return values
    return [1.0 / (1.0 + math.exp(-value)) for value in values]  # cross encoders answer logits
