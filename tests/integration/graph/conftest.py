"""Graph stores on the run's one Neo4j; each test's have a scope of their own, so that they share nothing."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from playground.neo4j_server import Graph
from utils.graph.store import GraphStore

PATIENT_S = 300.0  # a machine may be busy with something else


@pytest.fixture
def scope() -> str:
    """Of the test alone."""
    return uuid.uuid4().hex


@pytest.fixture
async def new_graph_store(neo4j_graph: Graph, scope: str) -> AsyncIterator[Callable[..., GraphStore]]:
    """Makes graph stores: ``new_graph_store()``, or with other keys of the block's config, or another time-out."""
    made: list[GraphStore] = []

    def make(timeout_s: float = PATIENT_S, scope: str = scope, **config: Any) -> GraphStore:
        made.append(GraphStore("neo4j", {**neo4j_graph.block["config"], **config}, scope, timeout_s))
        return made[-1]

    yield make
    for store in made:
        await store.close()


@pytest.fixture
def graph_store(new_graph_store: Callable[..., GraphStore]) -> GraphStore:
    """A graph store in the test's own scope."""
    return new_graph_store()
