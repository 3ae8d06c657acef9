"""Chat model, embedder and reranker of one credential set, built when they are first needed, shared by every call.

A search needs no model, and importing one costs memory and half a second. Every outgoing call has a time-out of its
own, so that nothing waits for ever whatever the caller's patience.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from utils.aio.blocking import run_blocking, run_in_executor
from utils.mem0 import building
from utils.models.chat import ChatModel
from utils.models.clients import keep_connections
from utils.models.embedder import Embedder
from utils.models.embedding_cache import EmbeddingCache
from utils.models.lazy import Lazy
from utils.models.openai_client import openai_embeddings
from utils.models.prefixes import Prefixes, prefixes_of
from utils.models.reranker import Reranker, build_reranker

if TYPE_CHECKING:
    from utils.config.settings import Settings

_log: Final = logging.getLogger(__name__)

# Seconds per request. Reasoning models take tens of seconds; `timeout` in the block overrides it.
_MODEL_TIMEOUT_S: Final = 60.0
_EMBEDDER_TIMEOUT_S: Final = 20.0
_HEARTBEAT_LATE_S: Final = 30.0  # how much later than planned the next one may come, and still find its connection
_RERANKER_TIMEOUT_S: Final = 4.0  # below the 5 s of a search, which is then answered in order of similarity


class Models:
    """The models of one credential set. Constructing it does no I/O.

    Args:
        settings: the credentials, read.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._chat_model = Lazy("llm", self._build_chat_model)
        self._embedder = Lazy("embedder", self._build_embedder)
        self._reranker = Lazy("reranker", self._build_reranker)
        self._embeddings = EmbeddingCache(settings.embedder.cache_size)

    def close(self) -> None:
        """Close the connections of all parts; of one still being built, when it is there. Idempotent."""
        for part in (self._embedder, self._chat_model, self._reranker):
            part.close()

    async def chat_model(self) -> ChatModel:
        """The model, built at the first call."""
        return await self._chat_model.get()

    async def embed(self, text: str) -> list[float]:
        """The vector of a text to search with.

        Raises:
            ServiceError: part ``embedder``.
        """
        known = self._embeddings.get("search", text)
        if known is not None:
            return known
        vector = await run_in_executor((await self._embedder.get()).embed, text)
        self._embeddings.put("search", text, vector)
        return vector

    async def embed_batch(self, texts: Sequence[str]) -> list[list[float]]:
        """The vectors of texts to store, in their order.

        Raises:
            ServiceError: part ``embedder``.
        """
        vectors = {text: self._embeddings.get("add", text) for text in texts}
        missing = [text for text, vector in vectors.items() if vector is None]
        if missing:
            made = await run_in_executor((await self._embedder.get()).embed_batch, missing)
            for text, vector in zip(missing, made, strict=True):
                self._embeddings.put("add", text, vector)
                vectors[text] = vector
        return [vectors[text] or [] for text in texts]

    async def touch_chat_model(self) -> None:
        """Keep a connection to the model alive, if there may be one. Nothing is built, and nothing has to be paid."""
        if (chat_model := self._chat_model.built) is not None:
            await run_in_executor(chat_model.touch)

    async def touch_embedder(self) -> None:
        """The same for the embedder."""
        if (embedder := self._embedder.built) is not None:
            await run_in_executor(embedder.touch)

    @property
    def reranks(self) -> bool:
        """Whether a reranker is configured."""
        return self._settings.reranker is not None

    @property
    def patience_s(self) -> float:
        """Seconds that one request of the chat model may take, and with it whatever waits for one."""
        return self._settings.llm.timeout_s or _MODEL_TIMEOUT_S

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
        reranker = await self._reranker.get()
        run = run_blocking if reranker.computes_here else run_in_executor
        return await run(reranker.rerank, query, texts)

    def _build_chat_model(self) -> ChatModel:
        block = self._settings.llm
        llm = building.build_llm(block.provider, dict(block.config))
        chat_model = ChatModel(llm, block.provider, block.timeout_s or _MODEL_TIMEOUT_S)
        keep_connections(llm, self._idle_s)
        return chat_model

    def _build_embedder(self) -> Embedder:
        block = self._settings.embedder
        timeout_s = block.timeout_s or _EMBEDDER_TIMEOUT_S
        embedder = openai_embeddings(block.provider, block.config, timeout_s) or building.build_embedder(
            block.provider,
            dict(block.config),  # Ollama's asks its server
        )
        prefixes = prefixes_of(block.config.get("model"), block.query_prefix, block.passage_prefix)
        if prefixes != Prefixes():
            _log.info("embedder: %r before a query, %r before a stored text", prefixes.query, prefixes.passage)
        checked = Embedder(embedder, block.provider, timeout_s, self._settings.embedding_dims, prefixes)
        keep_connections(embedder, self._idle_s)
        return checked

    @property
    def _idle_s(self) -> float:
        """How long a connection that nobody uses is kept: until the next heartbeat."""
        return self._settings.heartbeat_interval_s + _HEARTBEAT_LATE_S

    def _build_reranker(self) -> Reranker:
        block = self._settings.reranker
        if block is None:
            raise LookupError("no reranker is configured")
        return build_reranker(block, self.rerank_timeout_s, self._idle_s)
