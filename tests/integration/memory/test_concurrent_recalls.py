"""Several processes recall the same memories at once: every recall counts, in some order."""

from __future__ import annotations

import itertools
import json
import random
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Final

import pytest

from playground.postgres import Database
from utils.config.state_location import PostgresLocation
from utils.state import recalls
from utils.state.engine import StateStore

ROOT: Final = Path(__file__).resolve().parents[3]
MOST: Final = 5  # the count saturates at 6


@pytest.mark.parametrize("processes", [3, pytest.param(10, marks=pytest.mark.long)])
async def test_processes_that_recall_at_once_lose_nothing(database: Database, processes: int) -> None:
    chance = random.Random(processes)
    given: dict[str, list[float]] = {
        f"m-{number:03d}": [round(chance.uniform(0.5, 1.0), 3) for _ in range(chance.randint(1, MOST))]
        for number in range(200)
    }
    parts: dict[int, list[tuple[str, float]]] = defaultdict(list)
    for memory_id, qualities in given.items():
        for quality in qualities:
            parts[chance.randrange(processes)].append((memory_id, quality))
    for part in parts.values():
        chance.shuffle(part)
    script = str(Path(__file__).with_name("recalling.py"))
    running = [start(script, database.uri, json.dumps(part)) for part in parts.values()]
    assert [process.wait() for process in running] == [0] * processes
    state = StateStore(PostgresLocation(database.uri))
    found = await state.read(lambda conn: recalls.of_memories(conn, "store-1", "alice", list(given)))
    await state.close()
    assert {memory_id: one.recall_count for memory_id, one in found.items()} == {
        memory_id: len(qualities) for memory_id, qualities in given.items()
    }
    for memory_id, qualities in given.items():
        averages = [average(order) for order in itertools.permutations(qualities)]
        assert min(abs(found[memory_id].quality_ema - one) for one in averages) < 1e-9, memory_id


def start(*args: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, *args], cwd=ROOT, env={"PYTHONPATH": "."})


def average(qualities: tuple[float, ...]) -> float:
    value = qualities[0]
    for quality in qualities[1:]:
        value = 0.3 * quality + 0.7 * value
    return value
