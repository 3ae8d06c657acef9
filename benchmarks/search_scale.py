"""How the latency of a search grows with the table: pgvector through ``PgvectorStore``, on a database made for the
purpose.

``python -m benchmarks.search_scale --rows 10000,100000,1000000 --dims 128``

Each table holds users with 100 memories each and one large user with a fifth of all rows. Vectors lie around topics, as
embeddings do. For a user of 100 memories the answers are compared with brute force (recall must be 1.0); for the large
user the table shows the index's recall beside its latency. Everything is measured at the store's own interface, one
search at a time: a user's first search, whose rows may have to be read from the file, and the same user's next one.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import statistics
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import psutil
import psycopg
from numpy.typing import NDArray
from psycopg import sql

from playground.postgres import Database, PostgresServer
from utils.config import pgvector as pgvector_config
from utils.config.values import Where
from utils.stores.pgvector import schema as pgvector_schema
from utils.stores.pgvector.store import PgvectorStore
from utils.stores.protocol import Owner

type Vectors = NDArray[np.float32]

PER_USER: Final = 100
LARGE_USER: Final = "the-large"  # as long as the others' ids: rows of one width are written at once
TOP_K: Final = 10
_LARGE_SHARE: Final = 0.2
_SPREAD: Final = 0.6  # length of the noise around a topic of length 1
_TOPICS: Final = 500
_CHUNK: Final = 50_000
_PAYLOAD: Final = (
    '{{"data": "memory {number:09d}", "hash": "{number:032d}", "user_id": "{user}",'
    ' "created_at": "2026-01-01T00:00:00+00:00"}}'
)


class Population:
    """Reproducible users, topics and vectors.

    Args:
        rows: how many memories in all.
        dims: length of their vectors.
        large_share: which share of the rows is the large user's: a fifth, or none.
    """

    def __init__(self, rows: int, dims: int, large_share: float = _LARGE_SHARE) -> None:
        self.rows = rows
        self.dims = dims
        self.large = int(rows * large_share)
        self.users = (rows - self.large) // PER_USER
        self._topics = _unit(np.random.default_rng(1).standard_normal((_TOPICS, dims), dtype=np.float32))

    def user(self, number: int) -> str:
        """Whose the row ``number`` is; the rows of a user lie scattered over the table, as they come in."""
        if not self.large:
            return f"u{number % self.users:08d}"
        if number % 5 == 0:
            return LARGE_USER
        return f"u{(number - number // 5 - 1) % self.users:08d}"

    def vectors(self, chunk: int, count: int) -> Vectors:
        """The vectors of the rows from ``chunk`` on."""
        return self._around_topics(np.random.default_rng(1000 + chunk), count)

    def queries(self, count: int) -> Vectors:
        """Vectors like the stored ones, but others."""
        return self._around_topics(np.random.default_rng(7), count)

    def _around_topics(self, random: np.random.Generator, count: int) -> Vectors:
        topics = self._topics[random.integers(0, _TOPICS, count)]
        noise = _unit(random.standard_normal((count, self.dims), dtype=np.float32)) * _SPREAD
        return _unit(topics + noise)


def _unit(vectors: Vectors) -> Vectors:
    lengths: Vectors = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / lengths).astype(np.float32)


def copy_rows(database: Database, table: str, population: Population) -> None:
    """Fill a new table of mem0's shape by binary COPY; no index yet but the primary key."""
    with psycopg.connect(database.uri, autocommit=True) as conn, conn.cursor() as cursor:
        cursor.execute("CREATE EXTENSION IF NOT EXISTS vector")
        cursor.execute(
            sql.SQL("CREATE TABLE {} (id uuid PRIMARY KEY, vector vector({}), payload jsonb)").format(
                sql.Identifier(table), sql.Literal(population.dims)
            )
        )
        into = sql.SQL("COPY {} (id, vector, payload) FROM STDIN (FORMAT BINARY)").format(sql.Identifier(table))
        with cursor.copy(into) as copy:
            copy.write(b"PGCOPY\n\xff\r\n\0" + bytes(8))
            for start in range(0, population.rows, _CHUNK):
                copy.write(_binary_rows(population, start, min(_CHUNK, population.rows - start)))
            copy.write(b"\xff\xff")
        cursor.execute(sql.SQL("VACUUM ANALYZE {}").format(sql.Identifier(table)))


def _binary_rows(population: Population, start: int, count: int) -> bytes:
    """Rows in COPY's binary format; all payloads are of one length, so that they are one array."""
    numbers = range(start, start + count)
    payloads = [b"\1" + _PAYLOAD.format(number=n, user=population.user(n)).encode() for n in numbers]
    width, vector_bytes = len(payloads[0]), 4 + 4 * population.dims
    rows = np.zeros(
        count,
        dtype=[
            ("fields", ">i2"), ("id_length", ">i4"), ("id", "V16"), ("vector_length", ">i4"), ("dims", ">i2"),
            ("unused", ">i2"), ("vector", ">f4", (population.dims,)), ("payload_length", ">i4"),
            ("payload", f"V{width}"),
        ],
    )  # fmt: skip
    rows["fields"], rows["id_length"], rows["vector_length"] = 3, 16, vector_bytes
    rows["dims"], rows["payload_length"] = population.dims, width
    rows["id"] = np.array([uuid.uuid5(uuid.NAMESPACE_OID, str(n)).bytes for n in numbers], dtype="V16")
    rows["vector"] = population.vectors(start, count)
    rows["payload"] = np.array(payloads, dtype=f"V{width}")
    return rows.tobytes()


@dataclass(frozen=True, slots=True)
class Result:
    """What one table showed; times in milliseconds."""

    rows: int
    first: list[float]
    small: list[float]
    small_recall: float
    large: list[float]
    large_recall: float
    exact: list[float]
    index_s: float


async def measure(database: Database, rows: int, dims: int, searches: int) -> Result:
    """Fill a table, index it, search it."""
    population = Population(rows, dims)
    table = f"scale_{rows}"
    copy_rows(database, table, population)
    index_s = await build_indexes(database, table)
    block = {"connection_string": database.uri, "collection_name": table, "minconn": 1}
    store = PgvectorStore(pgvector_config.read(block, Where("local_vector_db_json_secret")), dims)
    await store.open()
    queries = population.queries(searches)
    users = [f"u{number:08d}" for number in np.random.default_rng(3).integers(0, population.users, searches)]
    await store.search(queries[0], Owner("warm-up"), TOP_K)

    async def small(number: int) -> list[str]:
        return [row.id for row in await store.search(queries[number], Owner(users[number]), TOP_K)]

    async def large(number: int) -> list[str]:
        return [row.id for row in await store.search(queries[number], Owner(LARGE_USER), TOP_K)]

    brute = BruteForce(database, table)
    first_ms, _ = await _timed(small, searches)
    small_ms, small_found = await _timed(small, searches)
    await _timed(large, 10)
    large_ms, large_found = await _timed(large, min(searches, 50))
    exact_ms, large_true = await _timed(lambda n: brute.nearest(queries[n], LARGE_USER), min(searches, 50))
    small_true = [await brute.nearest(queries[number], users[number]) for number in range(searches)]
    await store.close()
    small_recall, large_recall = _recall(small_found, small_true), _recall(large_found, large_true)
    return Result(rows, first_ms, small_ms, small_recall, large_ms, large_recall, exact_ms, index_s)


async def build_indexes(database: Database, table: str) -> float:
    """Give the table its indexes, as the store does in the background; how many seconds it took."""
    began = time.perf_counter()
    connect = psycopg.AsyncConnection.connect
    async with (
        await connect(database.uri, autocommit=True) as conn,
        await connect(database.uri, autocommit=True) as lock_holder,
    ):
        table_found = await pgvector_schema.find_or_create(conn, table, None, "hnsw")
        assert table_found is not None
        await pgvector_schema.build_indexes(conn, lock_holder, table_found)
        await conn.execute("CHECKPOINT")  # or the searches that follow would write what the build has left
    return time.perf_counter() - began


class BruteForce:
    """The true nearest, by a scan that no index can shorten."""

    def __init__(self, database: Database, table: str, top_k: int = TOP_K) -> None:
        self._top_k = top_k
        self._uri = database.uri
        self._statement = sql.SQL(
            "SELECT id::text FROM (SELECT id, vector <=> %s::vector AS distance FROM {}"
            " WHERE payload ->> 'user_id' = %s OFFSET 0) AS mine ORDER BY distance, id LIMIT %s"
        ).format(sql.Identifier(table))
        self._conn: psycopg.AsyncConnection[tuple[Any, ...]] | None = None

    async def nearest(self, query: Vectors, user: str) -> list[str]:
        """Ids of the user's nearest memories."""
        if self._conn is None:
            self._conn = await psycopg.AsyncConnection.connect(self._uri, autocommit=True)
        cursor = await self._conn.execute(self._statement, [str(query.tolist()), user, self._top_k])
        return [row[0] for row in await cursor.fetchall()]


async def _timed(ask: Callable[[int], Awaitable[list[str]]], count: int) -> tuple[list[float], list[list[str]]]:
    times, found = [], []
    for number in range(count):
        began = time.perf_counter()
        found.append(await ask(number))
        times.append((time.perf_counter() - began) * 1000)
    return times, found


def _recall(found: Sequence[Sequence[str]], true: Sequence[Sequence[str]]) -> float:
    return statistics.fmean(
        len(set(got) & set(wanted)) / len(wanted) for got, wanted in zip(found, true, strict=True) if wanted
    )


def _p(times: Sequence[float], percent: int) -> str:
    return f"{np.percentile(times, percent):.2f}"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def report(results: Sequence[Result], dims: int) -> str:
    """The measurements as a Markdown table, with the machine."""
    memory = psutil.virtual_memory().total / 2**30
    columns = [
        "rows", "user of 100, first: p50", "p95", "again: p50", "p95", "recall",
        "large user's rows", "p50", "p95", "recall", "exact: p50", "indexed, s",
    ]  # fmt: skip
    lines = [
        f"Machine: {os.cpu_count()} cores, {memory:.0f} GiB, {platform.machine()}, Python {platform.python_version()};"
        f" {dims} dimensions, top {TOP_K}, milliseconds.",
        "",
        _line(columns),
        _line(["---"] * len(columns)),
    ]
    for result in results:
        small = [_p(result.first, 50), _p(result.first, 95), _p(result.small, 50), _p(result.small, 95)]
        large = [f"{int(result.rows * _LARGE_SHARE):,}", _p(result.large, 50), _p(result.large, 95)]
        rest = [f"{result.large_recall:.3f}", _p(result.exact, 50), f"{result.index_s:.0f}"]
        lines.append(_line([f"{result.rows:,}", *small, f"{result.small_recall:.3f}", *large, *rest]))
    growth = statistics.median(results[-1].small) / statistics.median(results[0].small)
    lines += ["", f"A user of 100 memories again, largest against smallest table: {growth:.2f}x."]
    return "\n".join(lines)


def _server_settings() -> dict[str, str]:
    """A quarter of the memory for the cache, as PostgreSQL's manual advises, and room to build the index in."""
    quarter_mb = psutil.virtual_memory().total // 2**22
    return {
        "shared_buffers": f"{quarter_mb}MB",
        "maintenance_work_mem": f"{quarter_mb // 2}MB",
        "max_wal_size": "4GB",
        "autovacuum": "off",
    }


async def run(rows: Sequence[int], dims: int, searches: int) -> list[Result]:
    """Measure every size on one fresh server."""
    with (
        tempfile.TemporaryDirectory() as folder,
        PostgresServer(Path(folder, "postgres"), durable=False, settings=_server_settings()) as server,
    ):
        database = server.create_database("scale")
        return [await measure(database, count, dims, searches) for count in sorted(rows)]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--rows", default="10000,100000,1000000", help="sizes of the table, separated by commas")
    parser.add_argument("--dims", type=int, default=128, help="length of the vectors")
    parser.add_argument("--searches", type=int, default=300, help="searches per measurement")
    arguments = parser.parse_args()
    rows = [int(count) for count in arguments.rows.split(",")]
    print(report(asyncio.run(run(rows, arguments.dims, arguments.searches)), arguments.dims))


if __name__ == "__main__":
    main()
