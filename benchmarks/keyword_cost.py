"""What the order by keywords costs a search: the server's time for rows found by words, and the plugin's CPU.

``python -m benchmarks.keyword_cost``

Users of different size in one pgvector collection are searched for the ten nearest, for the hundred nearest, and for
the hundred nearest and those that hold most words; in turns, at the store's own interface.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import tempfile
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from playground.postgres import PostgresServer
from utils.config import pgvector as pgvector_config
from utils.config.values import Where
from utils.memory.ranking import beginnings, by_similarity_and_keywords
from utils.stores.pgvector.store import PgvectorStore
from utils.stores.protocol import Owner, Row

_DIMS: Final = 256
_VOCABULARY: Final = 20_000
_WORDS: Final = 12  # of a memory
_QUERY: Final = "What did Caroline research about the adoption agencies in July?"


async def measure(store: PgvectorStore, sizes: Sequence[int], rounds: int) -> None:
    """Store users of these sizes, search them, and print medians."""
    lots = random.Random(1)
    vocabulary = ["".join(lots.choices("abcdefghijklmnoprstuvz", k=lots.randint(3, 10))) for _ in range(_VOCABULARY)]
    weights = [1 / (rank + 1) for rank in range(_VOCABULARY)]  # as words come in any language
    print("| memories | what | wall, ms | least, ms | CPU of this process, ms |\n|---|---|---|---|---|")
    for size in sizes:
        texts = [" ".join(lots.choices(vocabulary, weights, k=_WORDS)) for _ in range(size)]
        await store.insert([_row(size, text) for text in texts], [_vector(lots) for _ in texts])
        ways: dict[str, dict[str, Any]] = {
            "10 nearest": {"top_k": 10},
            "100 nearest": {"top_k": 100},
            "100 nearest, 30 by words": {"top_k": 100, "words": beginnings(_QUERY)},
        }
        took: dict[str, list[tuple[float, float]]] = {way: [] for way in [*ways, "the order itself"]}
        for _ in range(rounds):
            vector = _vector(lots)
            for way, asked in ways.items():
                began, began_cpu = time.perf_counter(), time.process_time()
                rows = await store.search(vector, Owner(str(size)), **asked)
                took[way].append((time.perf_counter() - began, time.process_time() - began_cpu))
            began, began_cpu = time.perf_counter(), time.process_time()
            by_similarity_and_keywords(_QUERY, rows)
            took["the order itself"].append((time.perf_counter() - began, time.process_time() - began_cpu))
        for way, times in took.items():
            wall, cpu = ([1000 * one for one in column] for column in zip(*times, strict=True))
            print(
                f"| {size} | {way} | {statistics.median(wall):.2f} | {min(wall):.2f} | {statistics.median(cpu):.2f} |"
            )


def _row(size: int, text: str) -> Row:
    return Row(str(uuid.uuid4()), {"data": text, "user_id": str(size), "created_at": "2026-01-01T00:00:00+00:00"})


def _vector(lots: random.Random) -> list[float]:
    return [lots.gauss(0, 1) for _ in range(_DIMS)]


async def run(sizes: Sequence[int], rounds: int) -> None:
    """Measure on a server of its own."""
    with tempfile.TemporaryDirectory() as folder, PostgresServer(Path(folder, "postgres")) as server:
        database = server.create_database("cost")
        block = {"connection_string": database.uri, "collection_name": "memories", "minconn": 2}
        store = PgvectorStore(pgvector_config.read(block, Where("local_vector_db_json_secret")), _DIMS)
        await store.open()
        await measure(store, sizes, rounds)
        await store.close()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--sizes", default="100,600,5000", help="memories of a user, separated by commas")
    parser.add_argument("--rounds", type=int, default=100, help="searches of each kind")
    options = parser.parse_args()
    asyncio.run(run([int(size) for size in options.sizes.split(",")], options.rounds))


if __name__ == "__main__":
    main()
