"""In the patched process the loop keeps beating while a database works, on both kinds of state store.

The bound is the promise itself (100 ms, against a statement of two seconds); the machine may be busy with something
else at any one moment, so the best of a few runs counts.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from playground.postgres import Database
from tests.plugin import TRIES

COUNT_TO = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < {}) SELECT count(*) FROM n"


def measured(script_name: str, *arguments: str) -> dict[str, float]:
    script = Path(__file__).with_name(script_name)
    root = script.parent.parent.parent
    done = subprocess.run(
        [sys.executable, str(script), *arguments],
        cwd=root,
        env={"PYTHONPATH": str(root), "TIKTOKEN_CACHE_DIR": os.environ["TIKTOKEN_CACHE_DIR"]},
        capture_output=True,
        text=True,
        check=True,
    )
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


@pytest.mark.parametrize("kind", ["postgresql", "sqlite"])
def test_the_loop_beats_while_a_statement_of_two_seconds_runs(kind: str, database: Database, tmp_path: Path) -> None:
    if kind == "postgresql":
        url, statement = database.uri, "SELECT pg_sleep(2)"
    else:
        url, statement = str(tmp_path / "state.sqlite3"), COUNT_TO.format(6_000_000)
    runs = []
    for _ in range(TRIES):
        runs.append(measured("patched_heartbeat.py", url, statement))
        if runs[-1]["longest_gap_s"] < 0.1:
            break
    assert min(run["longest_gap_s"] for run in runs) < 0.1, runs
    assert all(run["statement_s"] > 0.5 for run in runs), runs


def test_the_loop_beats_while_millions_of_characters_are_counted_in_tokens() -> None:
    run = measured("patched_tokens.py")
    assert run["longest_gap_s"] < run["statement_s"] / 4, run
