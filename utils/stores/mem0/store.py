"""Every vector store of mem0's registry, kept to the promises of ``Store``.

What a store does wrong is in three tables (``store_traits``, ``scores``, ``store_payloads``), what is done about it in
``store_collection``, where its calls run in ``store_engines``. This module ties them together and cuts long writes into
pieces, so that a read never waits for more than one of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from utils.aio.gather import gather
from utils.stores.mem0.collection import Collection
from utils.stores.mem0.engine import Engine
from utils.stores.mem0.traits import traits_of
from utils.stores.protocol import Owner, Row
from utils.stores.scores import scale_of

if TYPE_CHECKING:
    from utils.stores.filters import Condition

_ROWS_PER_CALL: Final = 50  # of an insert or a delete


class Mem0Store:
    """``Store`` over a vector store object of mem0.

    Args:
        provider: mem0's name of the store.
        config: its configuration, as ``build`` uses it.
        build: makes the object; may block and connect.
    """

    def __init__(self, provider: str, config: Mapping[str, Any], build: Callable[[], Any]) -> None:
        self._provider = provider
        self._config = config
        self._traits = traits_of(provider)
        native = (self._traits.embedded(config) or self._traits.blocks) and not self._traits.grpc
        self._engine = Engine(build, native=native, grpc=self._traits.grpc)
        self._collection: Collection | None = None

    async def open(self) -> None:
        """Build the store, which connects and creates the collection on most."""
        await self._call(lambda collection: None)

    async def close(self) -> None:
        """Close the store's client, and with it an embedded engine."""
        await self._engine.close()

    async def check(self, dims: int | None) -> None:
        """Compare vector length and metric with the engine's, and read once."""
        await self._call(lambda collection: collection.check(dims))

    async def get(self, memory_id: str) -> Row | None:
        """See ``Store.get``."""
        return await self._call(lambda collection: collection.get(memory_id))

    async def search(
        self, vector: Sequence[float], owner: Owner, top_k: int, condition: Condition | None = None
    ) -> list[Row]:
        """See ``Store.search``; all tries are one call on the engine's thread."""
        return await self._call(lambda collection: collection.search(vector, owner, top_k, condition))

    async def page(
        self, owner: Owner, limit: int, offset: int = 0, condition: Condition | None = None
    ) -> tuple[list[Row], int]:
        """See ``Store.page``; reads all of the owner's rows, no store of mem0 has an offset."""
        return await self._call(lambda collection: collection.page(owner, limit, offset, condition))

    async def search_batch(self, vectors: Sequence[Sequence[float]], owner: Owner, top_k: int) -> list[list[Row]]:
        """See ``Store.search_batch``; one call each, so that others come in between."""
        return await gather(*(self.search(vector, owner, top_k) for vector in vectors))

    async def scan(self, owner: Owner, after_id: str | None, limit: int) -> list[Row]:
        """See ``Store.scan``."""
        return await self._call(lambda collection: collection.scan(owner, after_id, limit))

    async def insert(self, rows: Sequence[Row], vectors: Sequence[Sequence[float]]) -> None:
        """See ``Store.insert``."""
        for start in range(0, len(rows), _ROWS_PER_CALL):
            some, theirs = rows[start : start + _ROWS_PER_CALL], vectors[start : start + _ROWS_PER_CALL]
            await self._call(partial(Collection.insert, rows=some, vectors=theirs))

    async def update(self, row: Row, vector: Sequence[float]) -> None:
        """See ``Store.update``."""
        await self._call(lambda collection: collection.update(row, vector))

    async def delete(self, memory_ids: Sequence[str]) -> None:
        """See ``Store.delete``."""
        for start in range(0, len(memory_ids), _ROWS_PER_CALL):
            some = memory_ids[start : start + _ROWS_PER_CALL]
            await self._call(partial(Collection.delete, memory_ids=some))

    async def _call[T](self, work: Callable[[Collection], T]) -> T:
        return await self._engine.run(lambda store: work(self._over(store)))

    def _over(self, store: Any) -> Collection:
        if self._collection is None:
            scale = scale_of(self._provider, self._config)
            self._collection = Collection(store, self._provider, self._config, self._traits, scale)
        return self._collection
