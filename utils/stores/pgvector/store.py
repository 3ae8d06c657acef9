"""Memories in PostgreSQL with pgvector: the store the plugin does best.

It answers on the event loop (psycopg's asynchronous pool notices a gevent-patched process and waits cooperatively), in
one round trip per operation. What it adds to the promises of ``Store``:

* **A user's search is never starved.** A user with up to ``EXACT_ROWS`` memories is searched exactly, over the
  B-tree on the user id, and the statement itself finds out whether that is so. For larger ones the approximate index is
  scanned iteratively until ``top_k`` is full, and when even that falls short the exact search answers.
* Filters are pushed down in full (``pgvector.filters``).
* All windows of a text are searched for in one statement, and every page of a scan costs the same.
* **Writes leave readers their connections**, and readers the writes theirs. What the write queue asks (``insert``,
  ``update``, ``delete``, ``scan``, ``search_batch``, ``get`` of what is to be changed) has a pool of its own, what a
  caller waits for (``get``, ``search``, ``page``) another.
* Every statement can be repeated safely, so one that lost its connection (a restarted server) is sent again over a new
  one (``pgvector.connections``).
* Its changes can also be part of somebody else's transaction (``TransactionalStore``).
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

import psycopg
from psycopg import sql

from utils.errors import PluginError, ServiceRejected
from utils.stores.errors import database_errors, rejected
from utils.stores.pgvector import statements
from utils.stores.pgvector.connections import Connections, shares
from utils.stores.pgvector.schema import (
    AnnKind,
    Table,
    build_indexes,
    find_or_create,
    id_by_name,
    id_in_comment,
    index_state,
    require_writable,
)
from utils.stores.pgvector.sessions import Login, ServerFull, is_shared
from utils.stores.pgvector.sizes import EXACT_ROWS, OwnerSizes
from utils.stores.pgvector.vector import Vector
from utils.stores.protocol import Owner, Question, Row, RowChanges
from utils.stores.values import is_encodable, is_memory_id
from utils.stores.visibility import is_memory

if TYPE_CHECKING:
    from utils.config.pgvector import PgvectorConfig
    from utils.stores.filters import Condition

_INDEX_LOOKUP_EVERY_S: Final = 30.0  # how often a large user's search looks whether the index is ready by now
_CLOSE_TIMEOUT_S: Final = 3.0
_BY_INDEX: Final = 60  # rows to ask the approximate index for where fewer are needed: one step of its scan has as many
_log: Final = logging.getLogger(__name__)


class PgvectorStore:
    """``Store`` over one pgvector table.

    Args:
        config: the credential block.
        dims: the embedder's vector length, if known. A table that does not exist is created for it, else for the
            block's ``embedding_model_dims``, else for the first vector that comes.
        statement_timeout_ms: after this time the server itself ends a statement; 0: never.
        exact_rows: up to how many memories a user is searched exactly.
    """

    visible_after_s: Final = 0.0

    def __init__(
        self,
        config: PgvectorConfig,
        dims: int | None = None,
        statement_timeout_ms: int = 60_000,
        exact_rows: int = EXACT_ROWS,
    ) -> None:
        self._config = config
        self._dims = dims or config.embedding_model_dims
        self._login = Login(config.conninfo)
        reads, writes = shares(config)
        self._reads = Connections(self._login, config, reads, statement_timeout_ms)
        self._writes = (
            self._reads
            if writes is reads
            else Connections(self._login, config, writes, statement_timeout_ms, spare=self._reads)
        )
        self._opening = asyncio.Lock()
        self._table: Table | None = None
        self._building: asyncio.Task[None] | None = None
        self._index_ready = False
        self._index_looked_up_at = -math.inf
        self._exact_rows = exact_rows
        self._sizes = OwnerSizes(exact_rows)

    async def open(self) -> None:
        """Connect and adopt or create the collection; with ``pool_open`` false the first operation does that."""
        if self._config.pool_open:
            await self._collection()

    async def close(self) -> None:
        """Close every connection; an index that is being built is begun again by the next process."""
        building, self._building = self._building, None
        if building is not None:
            building.cancel()
            await asyncio.wait([building], timeout=_CLOSE_TIMEOUT_S)
        self._login.close()
        await asyncio.gather(self._reads.close(), self._writes.close())

    async def indexes_built(self) -> None:
        """Wait until this process has built what indexes were missing; nothing needs to, it is only faster then."""
        if self._building is not None:
            await asyncio.wait([self._building])

    async def check(self, dims: int | None) -> None:
        """Ask the server for the table as it is now and compare its vector length, over one connection of its own.

        A table that is missing is made for ``dims``, but neither the pool nor the building of indexes begins.
        """
        async with self._login.connection() as conn:
            with database_errors():
                table = await find_or_create(conn, self._config.collection_name, self._dims or dims, self._ann())
                if table is not None:
                    await require_writable(conn, table)
        if table is not None and dims is not None:
            self._fits(table, dims)

    async def collection_id(self, beside_state: bool) -> str | None:
        """See ``Store.collection_id``; the random one stands in the comment on the table."""
        table = await self._collection()
        async with self._login.connection() as conn:
            with database_errors():
                if beside_state:
                    return await id_by_name(conn, self._config.collection_name)
                return None if table is None else await id_in_comment(conn, table)

    async def get(self, memory_id: str, *, to_change: bool = False) -> Row | None:
        """The memory with this id; one statement."""
        rows = await self.get_many([memory_id], to_change=to_change)
        return rows[0] if rows else None

    async def get_many(self, memory_ids: Sequence[str], *, to_change: bool = False) -> list[Row]:
        """The memories with these ids; one statement."""
        table, known = await self._collection(), [one for one in memory_ids if is_memory_id(one)]
        if table is None or not known:
            return []
        connections = self._writes if to_change else self._reads
        found = await self._execute(connections, statements.get(table, known))
        rows = [Row(memory_id, payload if isinstance(payload, dict) else {}) for memory_id, payload in found]
        return [row for row in rows if is_memory(row.payload)]

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
        """The nearest of the owner's matching memories: exactly for all but large owners, and with rows by words."""
        return (await self._nearest(self._reads, [vector], owner, top_k, condition, enough, words, beside))[0]

    async def search_batch(self, vectors: Sequence[Sequence[float]], owner: Owner, top_k: int) -> list[list[Row]]:
        """The nearest to each vector, in one statement for all."""
        return await self._nearest(self._writes, vectors, owner, top_k, None)

    async def _nearest(
        self,
        connections: Connections,
        vectors: Sequence[Sequence[float]],
        owner: Owner,
        top_k: int,
        condition: Condition | None,
        enough: int | None = None,
        words: Sequence[str] = (),
        beside: Question | None = None,
    ) -> list[list[Row]]:
        table = await self._collection(*vectors)
        if table is None or not vectors or top_k < 1 or not _storable(owner):
            return [[] for _ in vectors]
        queries = [Vector(vector) for vector in vectors]
        nearest = statements.Nearest(table, queries, owner, top_k, condition, words, beside)
        large = self._sizes.is_large(owner.user_id)
        if large is None:
            found = await self._execute(connections, nearest.counted(self._exact_rows))
            owned = found[0][0]
            _note_answer(beside, found, 5)
            self._sizes.counted(owner.user_id, owned)
            if owned <= self._exact_rows:
                return _by_vector(owner, len(vectors), (row[1:] for row in found))
            large = True
        if large and await self._has_index(table):
            needed = top_k if enough is None else min(top_k, enough)
            found = await self._execute(connections, nearest.by_index(min(top_k, max(needed, _BY_INDEX))))
            _note_answer(beside, found, 4)
            answers = _by_vector(owner, len(vectors), found)
            if all(len(rows) >= needed for rows in answers):
                return answers
        found = await self._execute(connections, nearest.exactly())
        _note_answer(beside, found, 4)
        return _by_vector(owner, len(vectors), found)

    async def page(
        self,
        owner: Owner,
        limit: int,
        offset: int = 0,
        condition: Condition | None = None,
        *,
        beside: Question | None = None,
    ) -> tuple[list[Row], int]:
        """One page and the total, in one statement."""
        table = await self._collection()
        if table is None or not _storable(owner):
            return [], 0
        found = await self._execute(self._reads, statements.page(table, owner, limit, offset, condition, beside))
        _note_answer(beside, found, 3)
        return _owned(owner, (row[1:3] for row in found)), found[0][0]

    async def scan(self, owner: Owner, after_id: str | None, limit: int) -> list[Row]:
        """The owner's next memories by id, at the same cost for every page, however many there are."""
        table = await self._collection()
        if table is None or limit < 1 or not _storable(owner):
            return []
        while True:
            found = await self._execute(self._writes, statements.scan(table, owner, after_id, limit))
            rows = _owned(owner, found)
            if rows or len(found) < limit:
                return rows
            after_id = found[-1][0]  # a whole page of rows whose user_id is no text and only reads like the owner's

    async def internal_rows(self, kinds: Sequence[str], after_id: str | None, limit: int) -> list[Row]:
        """See ``Store.internal_rows``; no index helps, so it looks at the whole table."""
        table = await self._collection()
        if table is None:
            return []
        found = await self._execute(self._writes, statements.internal_rows(table, kinds, after_id, limit))
        return [Row(row_id, payload) for row_id, payload in found]

    async def insert(self, rows: Sequence[Row], vectors: Sequence[Sequence[float]]) -> None:
        """Store new rows, up to 500 in one statement; an id that is there is passed over."""
        table = await self._collection(*vectors)
        if table is not None:
            for statement in statements.insert(table, rows, map(Vector, vectors)):
                await self._execute(self._writes, statement)

    async def update(self, row: Row, vector: Sequence[float]) -> None:
        """Replace vector and payload in one statement."""
        table = await self._collection(vector)
        if table is not None:
            await self._execute(self._writes, statements.update(table, row, Vector(vector)))

    async def delete(self, memory_ids: Sequence[str]) -> None:
        """Delete by id in one statement; malformed ids are no row's."""
        table = await self._collection()
        statement = None if table is None else statements.delete(table, memory_ids)
        if statement is not None:
            await self._execute(self._writes, statement)

    # -- changes in somebody else's transaction

    @property
    def conninfo(self) -> str:
        """The libpq connection string; holds the password."""
        return self._config.conninfo

    async def change_statements(
        self, owner: Owner, changes: RowChanges
    ) -> list[tuple[sql.Composed | sql.SQL, list[Any]]]:
        """See ``TransactionalStore.change_statements``; finds or creates the table first."""
        table = await self._collection(*changes.added_vectors, *(patch.vector for patch in changes.patched))
        if table is None:
            return []
        if not all(owner.owns(row.payload) for row in changes.added):
            raise rejected("store_bad_row", "owner")
        texts = (Vector(vector).as_text() for vector in changes.added_vectors)
        made: list[statements.Statement | None] = [
            *statements.insert(table, changes.added, texts),
            *(statements.patch(table, owner, patch, Vector(patch.vector).as_text()) for patch in changes.patched),
            statements.delete(table, changes.deleted, owner),
        ]
        return [(statement.text, list(statement.params)) for statement in made if statement is not None]

    def send(self, cursor: psycopg.Cursor[Any], statement: tuple[sql.Composed | sql.SQL, list[Any]]) -> int:
        """See ``TransactionalStore.send``."""
        text, params = statement
        with self._noticing_loss(), database_errors():
            return cursor.execute(text, params).rowcount

    # -- the collection

    async def _collection(self, *vectors: Sequence[float]) -> Table | None:
        """The table, found or created at first use; None when it is missing and no vector length is known.

        Raises:
            ServiceRejected: one of ``vectors`` does not have the table's length.
        """
        if self._table is None:
            async with self._opening:
                if self._table is None:
                    self._table = await self._find_or_create(*vectors)
        for vector in vectors:
            if self._table is not None and self._table.dims not in (None, len(vector)):
                async with self._opening:  # before refusing: somebody may have made the table anew
                    self._table = await self._find_or_create(vector)
                if self._table is not None:
                    self._fits(self._table, len(vector))
        return self._table

    async def _find_or_create(self, *vectors: Sequence[float]) -> Table | None:
        dims = self._dims if self._dims is not None or not vectors else len(vectors[0])
        async with self._login.connection() as conn:
            with database_errors():
                table = await find_or_create(conn, self._config.collection_name, dims, self._ann())
                indexes = None if table is None else await index_state(conn, table)
        await asyncio.gather(self._reads.open(), self._writes.open())
        if table is None or indexes is None:
            return None
        if not indexes.complete and (self._building is None or self._building.done()):
            self._building = asyncio.create_task(self._build(table))
        self._index_ready = table.ann is not None and table.ann not in indexes.missing
        return table

    def _ann(self) -> AnnKind | None:
        return "diskann" if self._config.diskann else "hnsw" if self._config.hnsw else None

    async def _build(self, table: Table) -> None:
        """Build missing indexes beside the work; without them everything is right, only slower."""
        try:
            async with self._login.connection() as conn, self._login.connection() as lock_holder:
                with database_errors():
                    if not await is_shared(conn):  # a pooler would hand the setting on: there the server's own holds
                        await conn.execute("SET statement_timeout = 0")
                    await build_indexes(conn, lock_holder, table)
        except PluginError as exc:
            _log.warning("index of collection %s not built: %s", table.name, exc)
        self._index_looked_up_at = -math.inf

    async def _has_index(self, table: Table) -> bool:
        """Whether the approximate index can be used; asked again now and then, another process may build it."""
        now = time.monotonic()
        if not self._index_ready and table.ann is not None and now - self._index_looked_up_at > _INDEX_LOOKUP_EVERY_S:
            self._index_looked_up_at = now
            with suppress(ServerFull):  # without the index it is found, too
                async with self._login.connection() as conn:
                    with database_errors():
                        self._index_ready = table.ann not in (await index_state(conn, table)).missing
        return self._index_ready

    def _fits(self, table: Table, dims: int) -> None:
        if table.dims is not None and table.dims != dims:
            raise rejected("store_other_dims", "dimensions", collection=table.name, found=dims, expected=table.dims)

    async def _execute(self, connections: Connections, statement: statements.Statement) -> list[tuple[Any, ...]]:
        with self._noticing_loss():
            return await connections.execute(statement)

    @contextmanager
    def _noticing_loss(self) -> Iterator[None]:
        """When somebody has dropped the table, the next call looks for it anew and creates it."""
        try:
            yield
        except ServiceRejected as exc:
            if isinstance(exc.__cause__, psycopg.errors.UndefinedTable):
                self._table = None
            raise


def _storable(owner: Owner) -> bool:
    """Whether PostgreSQL can hold such ids at all; an id with NUL or half a surrogate pair owns nothing here."""
    return is_encodable(owner.user_id + (owner.agent_id or ""))


def _by_vector(owner: Owner, count: int, found: Iterable[tuple[Any, ...]]) -> list[list[Row]]:
    """The owner's rows of ``(number of the vector from 1, id, payload, distance)``, by vector."""
    answers: list[list[Row]] = [[] for _ in range(count)]
    for number, memory_id, payload, distance, *_ in found:
        if _is_owned(owner, payload):
            score = None if distance is None else _similarity(distance)  # a row without a vector has no distance
            answers[number - 1].append(Row(memory_id, payload, score))
    return answers


def _note_answer(beside: Question | None, found: Sequence[tuple[Any, ...]], columns: int) -> None:
    """Take the answer to a further question, which stands behind so many columns of every row."""
    if beside is not None and found:
        beside.answer = found[0][columns:]


def _owned(owner: Owner, found: Iterable[Sequence[Any]]) -> list[Row]:
    """The owner's rows of ``(id, payload)``."""
    return [Row(memory_id, payload) for memory_id, payload in found if _is_owned(owner, payload)]


def _is_owned(owner: Owner, payload: object) -> bool:
    """Whether a payload found is the owner's. The statement said so in SQL's terms, where the number 7 and the text "7"
    are one user; a row of nulls stands for nothing found.
    """
    return isinstance(payload, dict) and owner.owns(payload)


def _similarity(distance: float) -> float:
    """Similarity in 0..1 from pgvector's cosine distance, 1 - cos; a zero vector's is NaN and resembles nothing."""
    return 0.0 if math.isnan(distance) else min(1.0, max(0.0, 1.0 - distance))
