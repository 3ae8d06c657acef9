"""Chat model, embedder and reranker of one credential set, built when they are first needed, shared by every call.

A search needs no model, and importing one costs memory and half a second. Every outgoing call has a time-out of its
own, so that nothing waits for ever whatever the caller's patience.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from utils.aio.blocking import run_in_executor
from utils.mem0 import building
from utils.models.chat import ChatModel
from utils.models.embedder import Embedder
from utils.models.reranker import Reranker

if TYPE_CHECKING:
    from utils.config.settings import Settings

# Seconds per request. Reasoning models take tens of seconds; `timeout` in the block overrides it.
_MODEL_TIMEOUT_S: Final = 60.0
_EMBEDDER_TIMEOUT_S: Final = 20.0
_RERANKER_TIMEOUT_S: Final = 4.0  # below the 5 s of a search, which is then answered in order of similarity


class Models:
    """The models of one credential set. Constructing it does no I/O.

    Args:
        settings: the credentials, read.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._building = asyncio.Lock()
        self._chat_model: ChatModel | None = None
        self._embedder: Embedder | None = None
        self._reranker: Reranker | None = None

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
                llm = await run_in_executor(building.build_llm, block.provider, dict(block.config))
                self._chat_model = ChatModel(llm, block.provider, block.timeout_s or _MODEL_TIMEOUT_S)
            return self._chat_model

    async def embedder(self) -> Embedder:
        """The embedder, built at the first call (Ollama's asks its server while it is made)."""
        if self._embedder is None:
            async with self._building:
                if self._embedder is None:
                    block = self._settings.embedder
                    built = await run_in_executor(building.build_embedder, block.provider, dict(block.config))
                    timeout_s = block.timeout_s or _EMBEDDER_TIMEOUT_S
                    self._embedder = Embedder(built, block.provider, timeout_s, self._settings.embedding_dims)
        return self._embedder

    async def embed(self, text: str) -> list[float]:
        """The vector of a text to search with.

        Raises:
            ServiceError: part ``embedder``.
        """
        return await run_in_executor((await self.embedder()).embed, text)

    async def embed_batch(self, texts: Sequence[str]) -> list[list[float]]:
        """The vectors of texts to store, in their order.

        Raises:
            ServiceError: part ``embedder``.
        """
        return await run_in_executor((await self.embedder()).embed_batch, texts) if texts else []

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
        return await run_in_executor((await self._built_reranker()).rerank, query, texts)

    async def _built_reranker(self) -> Reranker:
        block = self._settings.reranker
        if block is None:
            raise LookupError("no reranker is configured")
        async with self._building:
            if self._reranker is None:
                built = await run_in_executor(building.build_reranker, block.provider, dict(block.config))
                self._reranker = Reranker(built, self.rerank_timeout_s)
            return self._reranker
