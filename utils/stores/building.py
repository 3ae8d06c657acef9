"""The vector store a credential set names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from utils.config.settings import Settings
    from utils.stores.protocol import Store

_STATEMENT_TIMEOUT_MS: Final = 60_000  # nothing waits longer for a read or write (SPEC 4); deletes go in batches


def build_store(settings: Settings) -> Store:
    """The vector store ``settings`` name: our own class for pgvector, mem0's behind our promises for every other."""
    block = settings.vector_store
    if settings.pgvector is not None:
        from utils.stores.pgvector.store import PgvectorStore

        return PgvectorStore(settings.pgvector, settings.embedding_dims, _STATEMENT_TIMEOUT_MS)
    from utils.stores.mem0.store import Mem0Store

    return Mem0Store(block.provider, block.config, settings.embedding_dims)
