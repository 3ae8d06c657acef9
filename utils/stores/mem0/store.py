"""Every vector store of mem0's registry, kept to the promises of ``Store``.

What is particular about a store says its adapter (``adapters``), what its scores mean ``scores``, what is done about
both ``collection``, where its calls run ``connection``. This module ties them together and cuts long writes into
pieces, so that a read never waits for more than one of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from utils.aio.blocking import run_blocking
from utils.stores.mem0.adapters import adapter_of
from utils.stores.mem0.collection import Collection
from utils.stores.mem0.connection import Connection
from utils.stores.mem0.folder_id import collection_id
from utils.stores.protocol import Owner, Question, Row
from utils.stores.scores import scale_of

if TYPE_CHECKING:
    from utils.stores.filters import Condition

_ROWS_PER_CALL: Final = 50  # of an insert or a delete


class Mem0Store:
    """``Store`` over a vector store object of mem0.

    Args:
        provider: mem0's name of the store.
        config: its configuration.
        embedding_dims: length of the vectors, where ``config`` gives none.
        build: makes the object in another way than the adapter would; it is given the shared client, or None.
    """

    def __init__(
        self,
        provider: str,
        config: Mapping[str, Any],
        embedding_dims: int | None = None,
        build: Callable[[Any], Any] | None = None,
    ) -> None:
        self._provider = provider
        self._config = config
        self._adapter = adapter_of(provider)
        own = partial(self._adapter.build, provider, config, embedding_dims)
        self._connection = Connection(self._adapter, config, build or own)
        self._collection: Collection | None = None

    @property
    def visible_after_s(self) -> float:
        """Seconds for which :meth:`scan` and :meth:`page` may still show what was deleted."""
        return self._adapter.visible_after_s

    async def open(self) -> None:
        """Build the store, which connects and creates the collection on most."""
        await self._call(lambda collection: None)

    async def close(self) -> None:
        """Close the store's client, and with it an embedded engine, unless another store uses it, too."""
        await self._connection.close()

    async def check(self, dims: int | None) -> None:
        """Compare vector length and metric with the engine's, and read once."""
        await self._call(lambda collection: collection.check(dims))

    async def collection_id(self, beside_state: bool) -> str | None:
        """See ``Store.collection_id``; an embedded engine keeps it in a file of its folder, servers have no place."""
        folder = self._adapter.shared_folder(self._config)
        if folder is None:
            return None
        return await run_blocking(collection_id, Path(folder), str(self._config.get("collection_name") or "mem0"))

    async def get(self, memory_id: str, *, to_change: bool = False) -> Row | None:
        """See ``Store.get``."""
        return await self._call(lambda collection: collection.get(memory_id))

    async def get_many(self, memory_ids: Sequence[str], *, to_change: bool = False) -> list[Row]:
        """See ``Store.get_many``; one after the other, in one call on the engine's thread."""
        return await self._call(
            lambda collection: [row for one in memory_ids if (row := collection.get(one)) is not None]
        )

    async def search(
        self,
        vector: Sequence[float],
        owner: Owner,
        top_k: int,
        condition: Condition | None = None,
        *,
        enough: int | None = None,
        words: Sequence[str] = (),
        beside: Question | None = None,
    ) -> list[Row]:
        """See ``Store.search``; all tries are one call on the engine's thread, and no engine is asked for words."""
        return await self._call(lambda collection: collection.search(vector, owner, top_k, condition, enough))

    async def search_batch(self, vectors: Sequence[Sequence[float]], owner: Owner, top_k: int) -> list[list[Row]]:
        """See ``Store.search_batch``; one after the other, in one call on the engine's thread."""
        return await self._call(
            lambda collection: [collection.search(vector, owner, top_k, None) for vector in vectors]
        )

    async def page(
        self,
        owner: Owner,
        limit: int,
        offset: int = 0,
        condition: Condition | None = None,
        *,
        beside: Question | None = None,
    ) -> tuple[list[Row], int]:
        """See ``Store.page``; reads all of the owner's rows, no store of mem0 has an offset."""
        return await self._call(lambda collection: collection.page(owner, limit, offset, condition))

    async def scan(self, owner: Owner, after_id: str | None, limit: int) -> list[Row]:
        """See ``Store.scan``; at constant cost where the adapter ``scans``, else out of a listing of all rows."""
        return await self._call(lambda collection: collection.scan(owner, after_id, limit))

    async def internal_rows(self, kinds: Sequence[str], after_id: str | None, limit: int) -> list[Row]:
        """See ``Store.internal_rows``; out of a listing by their ``internal_type``."""
        return await self._call(lambda collection: collection.internal_rows(kinds, after_id, limit))

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
        return await self._connection.run(lambda store: work(self._over(store)))

    def _over(self, store: Any) -> Collection:
        if self._collection is None:
            adapter = self._adapter(store, self._config)
            self._collection = Collection(adapter, self._provider, scale_of(self._provider, self._config))
        return self._collection
