"""The parts one credential set stands for: model, embedder, vector store, reranker; built once, shared by every call.

Parts come from mem0's own registries (``utils.mem0_parts``) and are built when they are first needed, because a
search needs no model and importing one costs memory and half a second. Every outgoing call has a time-out of its own,
so that nothing waits for ever whatever the caller's patience.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from utils import mem0_parts
from utils.errors import ServiceUnavailable
from utils.memory.model import ChatModel, Embedder, map_error
from utils.runtime.blocking import hop

if TYPE_CHECKING:
    from utils.config.settings import Settings
    from utils.memory.store import Store

_MODEL_TIMEOUT_S: Final = (
    60.0  # per request; reasoning models take tens of seconds. `timeout` in the block overrides it
)
_EMBEDDER_TIMEOUT_S: Final = 20.0
_STATEMENT_TIMEOUT_MS: Final = 60_000  # nothing waits longer for a read or write (SPEC 4); deletes go in batches


class Client:
    """Model, embedder, store and reranker of one credential set. Constructing it does no I/O."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._building = asyncio.Lock()
        self._chat_model: ChatModel | None = None

    async def open(self) -> None:
        """Connect the store. Idempotent."""
        await self.store.open()

    async def close(self) -> None:
        """Close every connection the parts hold. Idempotent."""
        if "store" in self.__dict__:
            await self.store.close()
        if "embedder" in self.__dict__:
            self.embedder.close()
        if self._chat_model is not None:
            self._chat_model.close()

    async def chat_model(self) -> ChatModel:
        """The model, built at the first call."""
        async with self._building:
            if self._chat_model is None:
                block = self._settings.llm
                llm = await hop(mem0_parts.build_llm, block.provider, dict(block.config))
                self._chat_model = ChatModel(llm, block.provider, block.timeout_s or _MODEL_TIMEOUT_S)
            return self._chat_model

    @cached_property
    def embedder(self) -> Embedder:
        """The embedder."""
        block = self._settings.embedder
        built = mem0_parts.build_embedder(block.provider, dict(block.config))
        timeout_s = block.timeout_s or _EMBEDDER_TIMEOUT_S
        return Embedder(built, block.provider, timeout_s, self._settings.embedding_dims)

    @cached_property
    def store(self) -> Store:
        """The vector store: our own for pgvector, mem0's class behind our promises for every other."""
        block = self._settings.vector_store
        if self._settings.pgvector is not None:
            from utils.memory.pgvector import PgvectorStore

            return PgvectorStore(self._settings.pgvector, self._settings.embedding_dims, _STATEMENT_TIMEOUT_MS)
        from utils.memory.mem0_store import Mem0Store

        return Mem0Store(
            block.provider, block.config, lambda: mem0_parts.build_vector_store(block.provider, dict(block.config))
        )

    @cached_property
    def reranker(self) -> Any | None:
        """mem0's reranker object, or None when none is configured."""
        block = self._settings.reranker
        return None if block is None else mem0_parts.build_reranker(block.provider, dict(block.config))

    def rerank(self, query: str, texts: Sequence[str]) -> list[float]:
        """How relevant each text is to ``query``, 0..1, in the order given. Blocks; called in a worker.

        Raises:
            ServiceUnavailable: the reranker failed. mem0's rerankers raise nothing and answer one and the same
                constant for all texts instead: 0.0, or 0.5 for ``llm_reranker`` (measured).
        """
        documents = [{"memory": text, "position": position} for position, text in enumerate(texts)]
        try:
            ranked = self.reranker.rerank(query, documents, top_k=len(documents)) if self.reranker else []
        except Exception as exc:
            raise map_error(exc, "reranker") from exc
        scores = {document["position"]: float(document["rerank_score"]) for document in ranked}
        if (
            len(scores) != len(texts)
            or set(scores.values()) <= {0.0}
            or (len(texts) > 1 and set(scores.values()) == {0.5})
        ):
            raise ServiceUnavailable("service_unavailable", part="reranker", reason="no scores")
        values = [scores[position] for position in range(len(texts))]
        if all(0.0 <= value <= 1.0 for value in values):
            return values
        return [1.0 / (1.0 + math.exp(-value)) for value in values]  # cross encoders answer logits
