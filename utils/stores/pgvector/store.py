"""Memories in PostgreSQL with pgvector: the store the plugin does best.

It answers on the event loop (psycopg's asynchronous pool notices a gevent-patched process and waits cooperatively), in
one round trip per operation. What it adds to the promises of ``Store``:

* **A user's search is never starved.** A user with up to ``EXACT_ROWS`` memories is searched exactly, over the
  B-tree on the user id, and the statement itself finds out whether that is so. For larger ones the approximate index is
  scanned iteratively until ``top_k`` is full, and when even that falls short the exact search answers.
* Filters are pushed down in full (``pgvector_filters``).
* Every statement can be repeated safely, so one that lost its connection (a restarted server) is sent again over a new
  one (``pgvector_connections``).
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import psycopg
from psycopg import sql

from utils.errors import ServiceError, ServiceRejected
from utils.stores.errors import database_errors, rejected
from utils.stores.pgvector.connections import Connections, Vector
from utils.stores.pgvector.filters import compile_condition, instant_sql
from utils.stores.pgvector.schema import AnnKind, Table, adopt, build_indexes, missing_indexes, quoted
from utils.stores.pgvector.sizes import EXACT_ROWS, OwnerSizes
from utils.stores.protocol import Owner, Row
from utils.stores.values import is_encodable, is_memory_id

if TYPE_CHECKING:
    from utils.config.pgvector import PgvectorConfig
    from utils.stores.filters import Condition

_INDEX_LOOKUP_EVERY_S: Final = 30.0  # how often a large user's search looks whether the index is ready by now
_ROWS_PER_INSERT: Final = 500
_CLOSE_TIMEOUT_S: Final = 3.0
_log: Final = logging.getLogger(__name__)

type _Clause = tuple[sql.Composable, list[Any]]


class PgvectorStore:
    """``Store`` over one pgvector table.

    Args:
        config: the credential block.
        dims: the embedder's vector length, if known. A table that does not exist is created for it, else for the
            block's ``embedding_model_dims``, else for the first vector that comes.
        statement_timeout_ms: after this time the server itself ends a statement; 0: never.
        exact_rows: up to how many memories a user is searched exactly.
    """

    def __init__(
        self,
        config: PgvectorConfig,
        dims: int | None = None,
        statement_timeout_ms: int = 60_000,
        exact_rows: int = EXACT_ROWS,
    ) -> None:
        self._config = config
        self._dims = dims or config.embedding_model_dims
        self._connections = Connections(config, statement_timeout_ms)
        self._adopting = asyncio.Lock()
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
        await self._connections.close()

    async def indexes_built(self) -> None:
        """Wait until this process has built what indexes were missing; nothing needs to, it is only faster then."""
        if self._building is not None:
            await asyncio.wait([self._building])

    async def check(self, dims: int) -> None:
        """Ask the server for the table as it is now and compare its vector length."""
        self._dims = self._dims or dims
        async with self._adopting:
            self._table = await self._adopt(None)
        if self._table is not None:
            self._fits(self._table, dims)

    async def get(self, memory_id: str) -> Row | None:
        """The memory with this id; one statement."""
        table = await self._collection()
        if table is None or not is_memory_id(memory_id):
            return None
        rows = await self._fetch("SELECT id::text, payload FROM {table} WHERE id = %s::uuid", table, [memory_id])
        return Row(rows[0][0], rows[0][1] if isinstance(rows[0][1], dict) else {}) if rows else None

    async def search(
        self, vector: Sequence[float], owner: Owner, top_k: int, condition: Condition | None = None
    ) -> list[Row]:
        """The nearest of the owner's matching memories: exactly for all but large owners."""
        table = await self._collection(vector)
        if table is None or top_k < 1 or not _storable(owner):
            return []
        query = Vector(vector)
        large = self._sizes.is_large(owner.user_id)
        if large is None:
            counted, rows = await self._search_counting(table, query, owner, top_k, condition)
            self._sizes.counted(owner.user_id, counted)
            if counted <= self._exact_rows:
                return rows
            large = True
        if large and await self._has_index(table):
            rows = await self._search_index(table, query, owner, top_k, condition)
            if len(rows) == top_k:
                return rows
        return await self._search_exactly(table, query, owner, top_k, condition)

    async def page(
        self, owner: Owner, limit: int, offset: int = 0, condition: Condition | None = None
    ) -> tuple[list[Row], int]:
        """One page and the total, in one statement."""
        table = await self._collection()
        if table is None or not _storable(owner):
            return [], 0
        where, params = _where(owner, condition)
        rows = await self._fetch(
            _PAGE, table, [*params, max(limit, 0), max(offset, 0)], where=where, created_at=_CREATED_AT
        )
        return _owned(owner, ((row[1], row[2], None) for row in rows)), rows[0][0]

    async def batch(self, owner: Owner, limit: int) -> list[Row]:
        """The first ``limit`` of the owner's memories that the server comes upon."""
        table = await self._collection()
        if table is None or not _storable(owner):
            return []
        where, params = _where(owner, None)
        found = await self._fetch(
            "SELECT id::text, payload FROM {table} WHERE {where} LIMIT %s", table, [*params, max(limit, 0)], where=where
        )
        return _owned(owner, ((row[0], row[1], None) for row in found))

    async def insert(self, rows: Sequence[Row], vectors: Sequence[Sequence[float]]) -> None:
        """Store new rows, up to 500 in one statement; an id that is there is passed over."""
        if not rows:
            return
        table = await self._collection(vectors[0])
        if table is None:
            return
        values = [self._values(table, row, vector) for row, vector in zip(rows, vectors, strict=True)]
        for start in range(0, len(values), _ROWS_PER_INSERT):
            chunk = values[start : start + _ROWS_PER_INSERT]
            await self._change(
                "INSERT INTO {table} (id, vector, payload) VALUES {rows} ON CONFLICT (id) DO NOTHING",
                table,
                [value for row in chunk for value in row],
                rows=sql.SQL(", ").join([sql.SQL("(%s::uuid, %s::vector, %s::jsonb)")] * len(chunk)),
            )

    async def update(self, row: Row, vector: Sequence[float]) -> None:
        """Replace vector and payload in one statement."""
        table = await self._collection(vector)
        if table is None:
            return
        memory_id, packed, payload = self._values(table, row, vector)
        await self._change(
            "UPDATE {table} SET vector = %s::vector, payload = %s::jsonb WHERE id = %s::uuid",
            table,
            [packed, payload, memory_id],
        )

    async def delete(self, memory_ids: Sequence[str]) -> None:
        """Delete by id in one statement; malformed ids are no row's."""
        table = await self._collection()
        known = [memory_id for memory_id in memory_ids if is_memory_id(memory_id)]
        if table is not None and known:
            await self._change("DELETE FROM {table} WHERE id = ANY(%s::uuid[])", table, [known])

    # -- the collection

    async def _collection(self, vector: Sequence[float] | None = None) -> Table | None:
        """The table, adopted or created at first use; None when it is missing and no vector length is known.

        Raises:
            ServiceRejected: ``vector`` does not have the table's length.
        """
        if self._table is None:
            async with self._adopting:
                if self._table is None:
                    self._table = await self._adopt(vector)
        if self._table is not None and vector is not None and self._table.dims not in (None, len(vector)):
            async with self._adopting:  # before refusing: somebody may have made the table anew
                self._table = await self._adopt(vector)
            if self._table is not None:
                self._fits(self._table, len(vector))
        return self._table

    async def _adopt(self, vector: Sequence[float] | None) -> Table | None:
        dims = self._dims if self._dims is not None or vector is None else len(vector)
        async with self._connections.single() as conn:
            with database_errors():
                table = await adopt(conn, self._config.collection_name, dims, self._ann())
                missing = table is not None and bool(await missing_indexes(conn, table))
        await self._connections.open()
        if table is not None and missing and self._building is None:
            self._building = asyncio.create_task(self._build(table))
        self._index_ready = table is not None and table.ann is not None and not missing
        return table

    def _ann(self) -> AnnKind | None:
        return "diskann" if self._config.diskann else "hnsw" if self._config.hnsw else None

    async def _build(self, table: Table) -> None:
        """Build missing indexes beside the work; without them everything is right, only slower."""
        try:
            async with self._connections.single(statement_timeout_ms=0) as conn:
                with database_errors():
                    await build_indexes(conn, table)
        except ServiceError as exc:
            _log.warning("index of collection %s not built: %s", table.name, exc.reason)
        self._index_looked_up_at = -math.inf

    async def _has_index(self, table: Table) -> bool:
        """Whether the approximate index can be used; asked again now and then, another process may build it."""
        now = time.monotonic()
        if not self._index_ready and table.ann is not None and now - self._index_looked_up_at > _INDEX_LOOKUP_EVERY_S:
            self._index_looked_up_at = now
            self._index_ready = table.ann not in await self._connections.run(lambda conn: missing_indexes(conn, table))
        return self._index_ready

    def _fits(self, table: Table, dims: int) -> None:
        if table.dims is not None and table.dims != dims:
            raise rejected("store_other_dims", "dimensions", collection=table.name, found=dims, expected=table.dims)

    def _values(self, table: Table, row: Row, vector: Sequence[float]) -> tuple[str, Vector, str]:
        self._fits(table, len(vector))
        if not is_memory_id(row.id):
            raise rejected("store_bad_row", "id")
        try:
            return row.id, Vector(vector), json.dumps(row.payload, allow_nan=False)
        except (TypeError, ValueError) as exc:
            raise rejected("store_bad_row", type(exc).__name__) from exc

    # -- search

    async def _search_counting(
        self, table: Table, query: Vector, owner: Owner, top_k: int, condition: Condition | None
    ) -> tuple[int, list[Row]]:
        """How many memories the user has, counted to just above ``exact_rows``; up to there, the exact answer, too."""
        owned, user = _where(Owner(owner.user_id), None)
        where, params = _where(owner, condition)
        params = [*user, self._exact_rows + 1, query, self._exact_rows, *params, top_k]
        found = await self._fetch(_SEARCH_COUNTING, table, params, owned=owned, where=where)
        return found[0][0], _owned(owner, ((row[1], row[2], row[3]) for row in found))

    async def _search_exactly(
        self, table: Table, query: Vector, owner: Owner, top_k: int, condition: Condition | None
    ) -> list[Row]:
        where, params = _where(owner, condition)
        return _owned(owner, await self._fetch(_SEARCH_EXACTLY, table, [query, *params, top_k], where=where))

    async def _search_index(
        self, table: Table, query: Vector, owner: Owner, top_k: int, condition: Condition | None
    ) -> list[Row]:
        where, params = _where(owner, condition, _BESIDE_INDEX)
        half = table.ann is not None and table.ann.opclass.startswith("halfvec")
        cast = sql.SQL("::halfvec({})").format(sql.Literal(table.dims)) if half else sql.SQL("")
        found = await self._fetch(_SEARCH_INDEX, table, [query, *params, query, top_k], where=where, cast=cast)
        return _owned(owner, found)

    # -- statements

    async def _fetch(
        self, statement: str, table: Table, params: list[Any], **parts: sql.Composable
    ) -> list[tuple[Any, ...]]:
        with self._noticing_loss():
            return await self._connections.fetch(sql.SQL(statement).format(table=quoted(table.name), **parts), params)

    async def _change(self, statement: str, table: Table, params: list[Any], **parts: sql.Composable) -> None:
        with self._noticing_loss():
            await self._connections.execute(sql.SQL(statement).format(table=quoted(table.name), **parts), params)

    @contextmanager
    def _noticing_loss(self) -> Iterator[None]:
        """When somebody has dropped the table, the next call looks for it anew and creates it."""
        try:
            yield
        except ServiceRejected as exc:
            if isinstance(exc.__cause__, psycopg.errors.UndefinedTable):
                self._table = None
            raise


# OFFSET 0 keeps the planner from pulling the inner query up and walking the approximate index for an exact question.
_SEARCH_COUNTING: Final = """
SELECT c.owned, s.* FROM (SELECT count(*) AS owned FROM (SELECT FROM {table} WHERE {owned} LIMIT %s) AS bounded) AS c
LEFT JOIN LATERAL (
    SELECT * FROM (
        SELECT id::text, payload, vector <=> %s::vector AS distance
        FROM {table} WHERE c.owned <= %s AND {where} OFFSET 0
    ) AS mine ORDER BY distance, id LIMIT %s
) AS s ON TRUE ORDER BY s.distance, s.id"""
_SEARCH_EXACTLY: Final = """
SELECT * FROM (
    SELECT id::text, payload, vector <=> %s::vector AS distance FROM {table} WHERE {where} OFFSET 0
) AS mine ORDER BY distance, id LIMIT %s"""
_SEARCH_INDEX: Final = """
SELECT * FROM (
    SELECT id::text, payload, vector <=> %s::vector AS distance
    FROM {table} WHERE {where} ORDER BY vector{cast} <=> %s::vector{cast} LIMIT %s
) AS mine ORDER BY distance, id"""
_PAGE: Final = """
WITH mine AS (
    SELECT id, {created_at} AS created_at FROM {table} WHERE {where}
), page AS (
    SELECT id, created_at FROM mine ORDER BY created_at DESC NULLS LAST, id LIMIT %s OFFSET %s
)
SELECT c.total, s.id::text, s.payload FROM (SELECT count(*) AS total FROM mine) AS c LEFT JOIN (
    SELECT page.id, page.created_at, t.payload FROM page JOIN {table} AS t ON t.id = page.id
) AS s ON TRUE ORDER BY s.created_at DESC NULLS LAST, s.id"""
_CREATED_AT: Final = sql.SQL(instant_sql("(payload ->> 'created_at')"))


# The planner cannot take the B-tree on the user id for this form, whatever it believes about the number of rows.
_BESIDE_INDEX: Final = "payload ->> 'user_id' IS NOT DISTINCT FROM %s"
_BY_INDEX: Final = "payload ->> 'user_id' = %s"


def _where(owner: Owner, condition: Condition | None, user: str = _BY_INDEX) -> _Clause:
    fragment, params = user, [owner.user_id]
    if owner.agent_id is not None:
        fragment, params = f"{fragment} AND payload ->> 'agent_id' = %s", [*params, owner.agent_id]
    if condition is not None:
        asked, more = compile_condition(condition)
        fragment, params = f"{fragment} AND {asked}", [*params, *more]
    return sql.SQL(fragment), params


def _storable(owner: Owner) -> bool:
    """Whether PostgreSQL can hold such ids at all; an id with NUL or half a surrogate pair owns nothing here."""
    return is_encodable(owner.user_id + (owner.agent_id or ""))


def _owned(owner: Owner, found: Any) -> list[Row]:
    """The rows found that are the owner's (the statement said so; this makes sure), with similarities for distances."""
    return [
        Row(memory_id, payload, None if distance is None else _similarity(distance))
        for memory_id, payload, distance in found
        if memory_id is not None and isinstance(payload, dict) and owner.owns(payload)
    ]


def _similarity(distance: float) -> float:
    """Similarity in 0..1 from pgvector's cosine distance, 1 - cos; a zero vector's is NaN and resembles nothing."""
    return 0.0 if math.isnan(distance) else min(1.0, max(0.0, 1.0 - distance))
