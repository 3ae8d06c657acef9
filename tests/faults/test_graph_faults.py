"""The graph is another database, and may be away: memories go on without it, and it catches up, whatever is killed."""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

import psycopg
import pytest

from playground.neo4j_server import Graph, Neo4jServer
from playground.stand_in_model import StandInModel
from tests.faults.conftest import Site
from tests.faults.ledger import Ledger, PostgresLedger, SqliteLedger, wait_until
from tests.faults.test_late_writes import deleting_refused, taken_up
from tests.faults.test_purge import rows_about
from tests.graph_ledger import GraphLedger, relations, triples, with_graph
from tests.plugin import Plugin
from tests.silent_proxy import SilentProxy

OUTAGE: Final = "The graph store does not answer at the moment"
SUBJECTS: Final = ("I live in {}.", "My favourite colour is {}.", "My sister is {}.", "I like {}.", "I have a {}.")
WORDS: Final = ("green", "Oslo", "tea", "Ana", "piano", "cat", "Lisbon")


@pytest.fixture
def graph(neo4j_graph: Graph) -> Iterator[GraphLedger]:
    with GraphLedger(neo4j_graph) as ledger:
        yield ledger


@pytest.fixture
def proxy(neo4j_graph: Graph) -> Iterator[SilentProxy]:
    """Stands between the plugin and the graph; silent, it is a graph that takes connections and never answers."""
    with SilentProxy("127.0.0.1", int(neo4j_graph.url.rpartition(":")[2])) as relay:
        yield relay


@pytest.fixture
def user_id() -> str:
    """Of the test alone: all tests share the graph."""
    return f"user-{uuid.uuid4().hex[:8]}"


def through(proxy: SilentProxy, graph: Graph) -> dict[str, Any]:
    """The credential for ``graph`` behind the proxy."""
    return with_graph({}, replace(graph, url=f"bolt://127.0.0.1:{proxy.port}"))


def steps(ledger: Ledger) -> list[tuple[Any, ...]]:
    """The steps that are still to be carried out, with their tries."""
    pending = "SELECT kind, attempts FROM mem0_dify_writes WHERE status = 'pending' AND kind LIKE ?"
    return ledger.rows(pending, "graph_%")


def test_an_outage_costs_relations_alone_and_is_made_up_for(
    postgres_site: Site[PostgresLedger], own_neo4j: Neo4jServer, stand_in_model: StandInModel
) -> None:
    plugin = postgres_site.start(**with_graph({}, own_neo4j.graph))
    plugin.accept("alice", "I live in Lisbon.")
    plugin.drain("alice")
    with GraphLedger(own_neo4j.graph) as graph:
        graph.wait_for("alice", ("user", "lives_in", "in Lisbon"))
    assert triples(relations(plugin, "alice", "Lisbon")) == [("user", "lives_in", "in Lisbon")]

    own_neo4j.stop()
    waiting = plugin.with_credentials(async_mode=False)
    for text in ("I live in Oslo.", "I like tea."):
        assert waiting.call("add_memory", user_id="alice", user=text).status == "SUCCESS"
    assert plugin.texts("alice") == ["I live in Oslo", "I like tea"]
    found = plugin.search_in_time("alice", "Oslo")
    assert (found.status, found.envelope["relations"]) == ("SUCCESS", []) and OUTAGE in found.text, found.envelope
    assert "I live in Oslo" in {one["memory"] for one in found.results}
    assert plugin.pending("alice") == 0
    wait_until(lambda: any(tries for _, tries in steps(postgres_site.ledger)))

    own_neo4j.start()
    while steps(postgres_site.ledger):
        postgres_site.ledger.make_due()  # the next try may be two minutes away
        time.sleep(1)
    with GraphLedger(own_neo4j.graph) as graph:
        graph.wait_for("alice", ("user", "lives_in", "in Oslo"), ("user", "taste", "like tea"))
    assert ("user", "lives_in", "in Oslo") in triples(relations(plugin, "alice", "Oslo"))
    assert stand_in_model.control.counts["chat"] == 3


def test_killed_between_a_writes_end_and_its_step(
    postgres_site: Site[PostgresLedger], proxy: SilentProxy, neo4j_graph: Graph, graph: GraphLedger, user_id: str
) -> None:
    postgres_site.credentials.update(through(proxy, neo4j_graph))
    proxy.silence()
    plugin = postgres_site.start()
    plugin.accept(user_id, "I live in Lisbon.")
    plugin.drain(user_id)
    assert plugin.call("search_memory", user_id=user_id, query="Lisbon").results  # a hanging graph keeps none back
    assert [kind for kind, _ in steps(postgres_site.ledger)] == ["graph_change"]
    plugin.process.kill()
    proxy.speak()
    plugin = postgres_site.start()
    plugin.drain(user_id)  # any call brings the credentials
    graph.wait_for(user_id, ("user", "lives_in", "in Lisbon"))
    wait_until(lambda: not steps(postgres_site.ledger))
    graph.wait_for(user_id, ("user", "lives_in", "in Lisbon"))


def test_a_deletion_of_all_that_is_taken_up_late_leaves_the_edges_of_what_came_after_it(
    postgres_site: Site[PostgresLedger], neo4j_graph: Graph, graph: GraphLedger, user_id: str
) -> None:
    plugin = postgres_site.start(**with_graph({}, neo4j_graph))
    plugin.accept(user_id, "I live in Lisbon.")
    plugin.drain(user_id)
    graph.wait_for(user_id, ("user", "lives_in", "in Lisbon"))
    with deleting_refused(postgres_site.ledger):
        late = plugin.call("delete_all_memories", user_id=user_id).envelope["write_id"]
        wait_until(lambda: plugin.call("check_extraction_status", task_id=late).variables["task_status"] == "failed")
    plugin.accept(user_id, "I like tea.")
    plugin.drain(user_id)
    graph.wait_for(user_id, ("user", "lives_in", "in Lisbon"), ("user", "taste", "like tea"))
    taken_up(plugin, user_id)
    assert plugin.texts(user_id) == ["I like tea"]
    wait_until(lambda: not steps(postgres_site.ledger))
    graph.wait_for(user_id, ("user", "taste", "like tea"))


def test_a_purge_leaves_nothing_of_a_person_in_the_steps_either(
    sqlite_site: Site[SqliteLedger], proxy: SilentProxy, neo4j_graph: Graph, graph: GraphLedger, user_id: str
) -> None:
    sqlite_site.credentials.update(through(proxy, neo4j_graph))
    plugin = sqlite_site.start()
    plugin.accept(user_id, "I live in Lisbon.")
    plugin.drain(user_id)
    graph.wait_for(user_id, ("user", "lives_in", "in Lisbon"))
    proxy.silence()
    plugin.accept(user_id, "I like tea.")
    plugin.drain(user_id)
    assert [kind for kind, _ in steps(sqlite_site.ledger)] == ["graph_change"]
    assert plugin.call("delete_all_memories", user_id=user_id, purge_history=True).status == "SUCCESS"
    wait_until(lambda: [kind for kind, _ in steps(sqlite_site.ledger)] == ["graph_delete_all"])
    assert not rows_about(sqlite_site.ledger, "Lisbon") and not rows_about(sqlite_site.ledger, "tea")
    proxy.speak()
    wait_until(lambda: not rows_about(sqlite_site.ledger, user_id))
    assert (graph.edges(user_id), graph.entities(user_id)) == ([], [])


def test_a_purge_under_credentials_without_a_graph_drops_what_was_meant_for_it(
    postgres_site: Site[PostgresLedger], user_id: str
) -> None:
    nobody = Graph("bolt://127.0.0.1:9", "neo4j", "secret")  # nobody listens there
    plugin = postgres_site.start(**with_graph({}, nobody))
    plugin.accept(user_id, "I live in Lisbon.")
    plugin.drain(user_id)
    assert steps(postgres_site.ledger)
    without = postgres_site.start()
    assert without.call("delete_all_memories", user_id=user_id, purge_history=True).status == "SUCCESS"
    wait_until(lambda: not rows_about(postgres_site.ledger, user_id))


class Life:
    """One user's adds, updates, deletes and forgettings, in a random order, with the plugin killed between them."""

    def __init__(self, site: Site[PostgresLedger], graph: GraphLedger, user_id: str, seed: int) -> None:
        self._site = site
        self._graph = graph
        self._chance = random.Random(seed)
        self.user_id = user_id
        self._plugin: Plugin = site.start()
        self._edited = 0

    def go_on(self, moves: int) -> None:
        choices = (self._add, self._update, self._delete, self._forget, self._delete_all, self._kill)
        for move in self._chance.choices(choices, weights=(10, 3, 3, 1, 1, 2), k=moves):
            move()

    def _add(self) -> None:
        text = self._chance.choice(SUBJECTS).format(self._chance.choice(WORDS))
        self._plugin.accept(self.user_id, text)

    def _memories(self) -> list[dict[str, Any]]:
        """All of them; a plugin that has just begun on a busy machine may need a moment to reach its database."""
        pages: list[Any] = []

        def read() -> bool:
            pages.append(self._plugin.call("get_all_memories", user_id=self.user_id, limit=1000))
            return bool(pages[-1].status == "SUCCESS")

        wait_until(read)
        return list(pages[-1].results)

    def _some_memory(self) -> dict[str, Any] | None:
        listed = self._memories()
        return self._chance.choice(listed) if listed else None

    def _update(self) -> None:
        if (memory := self._some_memory()) is not None:
            self._edited += 1
            text = f"Edited by hand {self._edited}"
            self._plugin.call("update_memory", memory_id=memory["id"], text=text)

    def _delete(self) -> None:
        if (memory := self._some_memory()) is not None:
            self._plugin.call("delete_memory", memory_id=memory["id"])

    def _forget(self) -> None:
        if (memory := self._some_memory()) is not None:
            with psycopg.connect(self._site.ledger.uri) as connection:
                connection.execute(
                    'UPDATE mem0 SET payload = payload || \'{"created_at": "2020-01-01T00:00:00"}\' WHERE id = %s',
                    [memory["id"]],
                )
            self._plugin.call("forget_memories", user_id=self.user_id)

    def _delete_all(self) -> None:
        self._plugin.call("delete_all_memories", user_id=self.user_id)

    def _kill(self) -> None:
        self._plugin.process.kill()
        self._plugin = self._site.start()

    def settled(self) -> None:
        """Return when every write and every step has been carried out."""
        self._plugin.drain(self.user_id)
        wait_until(lambda: not steps(self._site.ledger))

    def assert_edges_are_the_memories(self) -> None:
        """Each memory that the model wrote has its one edge, one edited by hand none; and there is no other."""
        written = [one for one in self._memories() if not one["memory"].startswith("Edited")]
        expected = sorted((" ".join(one["memory"].split()[-2:]), one["id"]) for one in written)
        edges = self._graph.edges(self.user_id)
        assert sorted((destination, memory_id) for _, _, destination, memory_id in edges) == expected
        ends = {end for edge in edges for end in (edge[0], edge[2])}
        assert sorted(ends) == self._graph.entities(self.user_id)


@pytest.mark.parametrize(
    ("seed", "moves"), [(1, 30), *(pytest.param(seed, 120, marks=pytest.mark.long) for seed in range(2, 8))]
)
def test_a_life_with_kills_leaves_exactly_the_edges_of_its_memories(
    postgres_site: Site[PostgresLedger], graph: GraphLedger, neo4j_graph: Graph, user_id: str, seed: int, moves: int
) -> None:
    postgres_site.credentials.update(with_graph({}, neo4j_graph))
    life = Life(postgres_site, graph, user_id, seed)
    life.go_on(moves)
    life.settled()
    life.assert_edges_are_the_memories()
