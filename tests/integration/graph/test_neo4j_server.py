"""The Neo4j of the tests and of ``make neo4j``: it asks for a password, and never outlives who needed it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from neo4j import GraphDatabase
from neo4j.exceptions import AuthError

from playground.neo4j_server import Graph, wait_until_ended

ROOT = Path(__file__).resolve().parents[3]
HOLDER = """
import sys
from tests.shared_neo4j import SharedNeo4j, shared_graph
shared = SharedNeo4j()
first, second = shared_graph(shared.folder), shared_graph(shared.folder)
print(first == second, shared.folder, flush=True)
sys.stdin.read()
"""


def test_nobody_enters_without_the_password(neo4j_graph: Graph) -> None:
    with (
        GraphDatabase.driver(neo4j_graph.url, auth=(neo4j_graph.username, "guessed")) as driver,
        pytest.raises(AuthError),
    ):
        driver.verify_connectivity()


@pytest.mark.long
@pytest.mark.usefixtures("neo4j_graph")  # skips where there is no Java
def test_the_shared_server_ends_when_the_run_is_killed() -> None:
    with subprocess.Popen([sys.executable, "-c", HOLDER], cwd=ROOT, stdin=-1, stdout=-1, text=True) as holder:
        assert holder.stdout is not None
        is_one, folder = holder.stdout.readline().split()
        holder.kill()
    wait_until_ended(Path(folder))
    shutil.rmtree(folder)
    assert is_one == "True"
