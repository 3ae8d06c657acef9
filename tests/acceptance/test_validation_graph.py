"""Mistakes about the graph database: what saving the credentials says, in four languages. On a real Neo4j."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from playground.credentials import block
from playground.dify_host import PluginProcess
from playground.neo4j_server import Graph
from tests.acceptance.refusals import GRAPH
from tests.silent_proxy import SilentProxy


def with_graph(credentials: dict[str, Any], graph: Graph, provider: str = "neo4j", **config: Any) -> dict[str, Any]:
    return {**credentials, GRAPH: block(provider, **{**graph.block["config"], **config})}


@pytest.mark.parametrize(
    ("provider", "config", "says"),
    [
        ("neo4j", {"password": "canary"}, "The graph database refused the user neo4j (Unauthorized). Check user and"),
        ("neo4j", {"database": "nowhere"}, "The graph server has no database nowhere. Correct its name; Neo4j's"),
        ("memgraph", {}, "The server is Neo4j/5.26.0, which cannot keep relations for this provider. Memgraph 2.21 or"),
        ("neo4j", {"url": "bolt://graph.invalid"}, "no host of the name graph.invalid is known here."),
    ],
)
def test_what_is_wrong_with_the_graph(
    refusal: Callable[..., str],
    pgvector_credentials: dict[str, Any],
    neo4j_graph: Graph,
    provider: str,
    config: dict[str, str],
    says: str,
) -> None:
    said = refusal(with_graph(pgvector_credentials, neo4j_graph, provider, **config))
    assert said.startswith(f"{GRAPH}: {says}")


def test_a_graph_behind_a_wrong_port(
    refusal: Callable[..., str],
    pgvector_credentials: dict[str, Any],
    neo4j_graph: Graph,
    closed_port: int,
    other_server: int,
) -> None:
    said = refusal(with_graph(pgvector_credentials, neo4j_graph, url=f"bolt://127.0.0.1:{closed_port}"))
    assert said.startswith(f"{GRAPH}: nothing listens at 127.0.0.1:{closed_port}: the connection was refused.")
    said = refusal(with_graph(pgvector_credentials, neo4j_graph, url=f"bolt://127.0.0.1:{other_server}"))
    assert said.startswith(f"{GRAPH}: No Bolt connection came about as the URL has it")


def test_a_graph_that_works_is_accepted_and_one_that_is_slow_let_pass(
    process: PluginProcess, pgvector_credentials: dict[str, Any], neo4j_graph: Graph
) -> None:
    assert process.validate(with_graph(pgvector_credentials, neo4j_graph)).error is None
    with SilentProxy("127.0.0.1", neo4j_graph.port) as silent:
        silent.silence()
        address = f"bolt://127.0.0.1:{silent.port}"
        assert process.validate(with_graph(pgvector_credentials, neo4j_graph, url=address)).error is None
    process.wait_for_log(f"{GRAPH}: no answer within .* let pass")
