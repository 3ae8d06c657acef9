"""What an index for keywords would cost on pgvector: inserts with and without it, and the search it would allow.

``python -m benchmarks.keyword_index --rows 20000``

Tried are expression indexes that leave mem0's table as it is, need no extension and keep to one owner: GIN over hashes
of the owner with each word (pairs of characters in Chinese and Japanese), and of the owner with each three letters.
Inserts take turns on three tables with the indexes of the plugin; one of them has no other.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import psycopg

from playground.postgres import PostgresServer

_DIMS: Final = 128
_LARGE: Final = "the-large"  # has half of the rows
_PER_STATEMENT: Final = 10  # about what a plan adds
_VOCABULARY: Final = 20_000
_WORDS: Final = 12  # of a memory
_ROUNDS: Final = 40
_QUERIES: Final = 40

_KEYS: Final = """
CREATE FUNCTION {name}(payload jsonb) RETURNS int[] LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT array_agg(DISTINCT ('x' || left(md5((payload ->> 'user_id') || ' ' || piece), 8))::bit(32)::int)
    FROM regexp_matches(lower(payload ->> 'data'), '[[:alnum:]]+', 'g') AS word, {pieces}
$$"""
_HAN: Final = "word[1] ~ '[\u3040-\u9fff]'"
_WORD_PIECES: Final = f"""
    LATERAL (SELECT word[1] WHERE NOT {_HAN} UNION ALL
    SELECT substr(word[1], n, 2) FROM generate_series(1, length(word[1]) - 1) AS n WHERE {_HAN}) AS piece (piece)"""
_LETTER_PIECES: Final = """
    LATERAL (SELECT substr(word[1], n, 3) FROM generate_series(1, length(word[1]) - 2) AS n) AS piece (piece)"""
_INDEXES: Final = {"plain": None, "words": _WORD_PIECES, "letters": _LETTER_PIECES}


def measure(conn: psycopg.Connection[Any], rows: int) -> None:
    """Fill the three tables, insert into them in turns, search in them, and print what it took."""
    lots = random.Random(1)
    vocabulary = ["".join(lots.choices("abcdefghijklmnoprstuvz", k=lots.randint(3, 10))) for _ in range(_VOCABULARY)]
    weights = [1 / (rank + 1) for rank in range(_VOCABULARY)]  # as words come in any language
    conn.execute("CREATE EXTENSION IF NOT EXISTS vector")
    for table, pieces in _INDEXES.items():
        _make(conn, table, pieces, [_row(lots, vocabulary, weights) for _ in range(rows)])
    took: dict[str, list[float]] = {table: [] for table in _INDEXES}
    for _ in range(_ROUNDS):
        added = [_row(lots, vocabulary, weights) for _ in range(_PER_STATEMENT)]
        for table in _INDEXES:
            took[table].append(_insert(conn, table, added))
    plain = statistics.median(took["plain"])
    for table, times in took.items():
        size = conn.execute(f"SELECT pg_indexes_size('{table}'), pg_relation_size('{table}')").fetchone()
        assert size is not None
        cost = statistics.median(times)
        print(
            f"{table}: {_PER_STATEMENT} rows in {cost * 1000:.1f} ms, throughput {plain / cost:.2f} of plain;"
            f" indexes {size[0] / 2**20:.0f} MiB"
        )
    for table in ("words", "letters"):
        for common in (False, True):
            times = [_search(conn, table, _query(lots, vocabulary, common)) for _ in range(_QUERIES)]
            kind = "with a common word" if common else "rare words only"
            print(f"search by {table}, {kind}: p50 {statistics.median(times) * 1000:.1f} ms")


def _make(conn: psycopg.Connection[Any], table: str, pieces: str | None, rows: Sequence[tuple[Any, ...]]) -> None:
    conn.execute(f"CREATE TABLE {table} (id uuid PRIMARY KEY, vector vector({_DIMS}), payload jsonb)")
    with conn.cursor().copy(f"COPY {table} FROM STDIN") as copy:
        for row in rows:
            copy.write_row(row)
    conn.execute(f"CREATE INDEX ON {table} ((payload ->> 'user_id'), id)")
    conn.execute(f"CREATE INDEX ON {table} USING hnsw (vector vector_cosine_ops)")
    if pieces is not None:
        conn.execute(_KEYS.format(name=f"keys_of_{table}", pieces=pieces))
        conn.execute(f"CREATE INDEX ON {table} USING gin (keys_of_{table}(payload))")
    conn.execute(f"VACUUM ANALYZE {table}")


def _row(lots: random.Random, vocabulary: Sequence[str], weights: Sequence[float]) -> tuple[Any, ...]:
    user = _LARGE if lots.random() < 0.5 else f"user-{lots.randrange(100)}"
    text = " ".join(lots.choices(vocabulary, weights, k=_WORDS))
    payload = psycopg.types.json.Jsonb({"data": text, "user_id": user, "created_at": "2026-01-01T00:00:00+00:00"})
    return str(uuid.UUID(int=lots.getrandbits(128))), str([lots.gauss(0, 1) for _ in range(_DIMS)]), payload


def _insert(conn: psycopg.Connection[Any], table: str, rows: Sequence[tuple[Any, ...]]) -> float:
    began = time.perf_counter()
    values = ", ".join(["(%s::uuid, %s::vector, %s)"] * len(rows))
    conn.execute(f"INSERT INTO {table} VALUES {values}", [value for row in rows for value in row])
    return time.perf_counter() - began


def _query(lots: random.Random, vocabulary: Sequence[str], common: bool) -> str:
    words = lots.sample(vocabulary[1000:], 3)
    return " ".join([*words, vocabulary[0]] if common else words)


def _search(conn: psycopg.Connection[Any], table: str, query: str) -> float:
    """Seconds for the ids of the hundred rows that share most keys with the query."""
    asked = psycopg.types.json.Jsonb({"data": query, "user_id": _LARGE})
    began = time.perf_counter()
    conn.execute(
        f"SELECT id, (SELECT count(*) FROM unnest(keys_of_{table}(payload)) AS key WHERE key = ANY (q.keys)) AS shared"
        f" FROM {table}, (SELECT keys_of_{table}(%s) AS keys) AS q WHERE keys_of_{table}(payload) && q.keys"
        " AND payload ->> 'user_id' = %s ORDER BY shared DESC LIMIT 100",
        [asked, _LARGE],
    ).fetchall()
    return time.perf_counter() - began


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--rows", type=int, default=20_000, help="of each table; half of them are one user's")
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        PostgresServer(Path(folder, "postgres")) as server,
        psycopg.connect(server.create_database("keywords").uri, autocommit=True) as conn,
    ):
        measure(conn, options.rows)


if __name__ == "__main__":
    main()
