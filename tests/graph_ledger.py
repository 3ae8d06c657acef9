"""What a graph holds, read past the plugin: the tests' own look into Neo4j."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Self

from neo4j import GraphDatabase

from playground.neo4j_server import Graph
from tests.faults.ledger import wait_until
from tests.plugin import Plugin

type Edge = tuple[str, str, str, str]  # source, relation, destination, id of the memory


def with_graph(credentials: Mapping[str, Any], graph: Graph) -> dict[str, Any]:
    """``credentials`` with this graph."""
    return {**credentials, "local_graph_db_json_secret": json.dumps(graph.block)}


class GraphLedger:
    """Reads a Neo4j; the users of a test are its own."""

    def __init__(self, graph: Graph) -> None:
        self._driver = GraphDatabase.driver(
            graph.url, auth=(graph.username, graph.password), notifications_min_severity="OFF"
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._driver.close()

    def edges(self, user_id: str) -> list[Edge]:
        """Every edge of the user, in order; one that is there twice is told twice."""
        found = self._driver.execute_query(
            "MATCH (a:Mem0Entity {user_id: $user_id})-[r:MEM0_RELATION]->(b) "
            "RETURN a.name, r.name, b.name, r.memory_id ORDER BY r.memory_id, a.name, r.name, b.name",
            user_id=user_id,
        )
        return [(str(row[0]), str(row[1]), str(row[2]), str(row[3])) for row in found.records]

    def entities(self, user_id: str) -> list[str]:
        """The names of the user's entities, in order."""
        query = "MATCH (a:Mem0Entity {user_id: $user_id}) RETURN a.name ORDER BY a.name"
        return [str(row[0]) for row in self._driver.execute_query(query, user_id=user_id).records]

    def wait_for(self, user_id: str, *edges: tuple[str, str, str]) -> None:
        """Return when the user has these edges and no others, whatever memory each is of."""
        wait_until(lambda: sorted(edge[:3] for edge in self.edges(user_id)) == sorted(edges))


def relations(plugin: Plugin, user_id: str, query: str, **more: Any) -> list[dict[str, Any]]:
    """What a search finds in the graph. One that the busy machine kept from asking in time asks again."""
    found: list[dict[str, Any]] = []

    def asked() -> bool:
        answer = plugin.call("search_memory", user_id=user_id, query=query, **more)
        assert answer.status == "SUCCESS", answer.envelope
        found[:] = answer.envelope["relations"]
        return "graph store" not in answer.text

    wait_until(asked)
    return found


def triples(found: list[dict[str, Any]]) -> list[tuple[str, str, str]]:
    """Source, relation and destination of each."""
    return [(one["source"], one["relation"], one["destination"]) for one in found]
