"""What relations cost: searches and adds with a graph beside the same without, on a real Neo4j.

``python -m benchmarks.graph`` starts an embedded PostgreSQL, a Neo4j (a JDK and Maven are needed), a stand-in for the
models and the plugin's process. One user's graph is filled to each of the sizes; then rounds of searches with relations
take turns with rounds without, through the same process. Edges stem from memories that exist, as others are not shown.
``--short`` is for a hundredth of it, ``--million`` for a million edges of ten users.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import statistics
import sys
import time
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from benchmarks import memories, timing
from benchmarks.report import Figure, Report, run_from_command_line
from benchmarks.setting import Plugin, Setting, setting
from playground.neo4j_server import Graph, Neo4jServer
from playground.stand_in_model.embeddings import DEFAULT_DIMENSIONS
from utils.graph.relations import Edge
from utils.graph.store import GraphChange, GraphStore
from utils.state import scopes
from utils.stores.protocol import Owner, text_hash

_MEMORIES: Final = 50
_EDGES_PER_ENTITY: Final = 4
_AT_ONCE: Final = 500  # edges in one change
_IN_FLIGHT: Final = 20
_GRAPH: Final = "local_graph_db_json_secret"
_SCOPES: Final = b"SELECT address, scope FROM mem0_dify.scopes"
_PATIENCE_S: Final = 600.0

type Row = dict[str, Any]


class Size(NamedTuple):
    """How much is measured."""

    edges: tuple[int, ...] = (1_000, 100_000)
    users: int = 1
    searches: int = 200
    adds: int = 100
    rounds: int = 5


_SHORT: Final = Size(edges=(100, 1_000), searches=40, adds=20, rounds=3)
_MILLION: Final = Size(edges=(1_000_000,), users=10)


def measure(size: Size) -> Report:
    """The whole benchmark; everything it starts has ended when it returns."""
    report = Report("Relations", reference="without")
    logging.getLogger("neo4j").setLevel(logging.ERROR)  # an empty graph is told to have no such labels
    with setting() as parts, Neo4jServer(parts.folder / "neo4j") as server, parts.plugin() as plain:
        related = Plugin(plain.process, {**parts.credentials, _GRAPH: json.dumps(server.graph.block)}, parts.state)
        memories.store(related, _MEMORIES)
        filling = _Filling(parts, server.graph, related)
        for edges in size.edges:
            took_s = asyncio.run(filling.to(edges, size.users))
            report.notes.append(f"{edges} edges: filled at {edges / took_s:.0f} edges a second")
            report.figures += _searches(related, plain, size, edges)
        report.figures += _adds(parts, related, plain, size)
    return report


class _Filling:
    """Fills the graph past the plugin, with edges of memories that exist."""

    def __init__(self, parts: Setting, graph: Graph, plugin: Plugin) -> None:
        settled = {str(address): str(scope) for address, scope in parts.state.execute(_SCOPES)}
        names = [scopes.named_after(f"edges of {scope}") for scope in settled.values()]
        [self._scope] = [settled[name] for name in names if name in settled]
        self._config = graph.block["config"]
        self._rows: list[Row] = plugin.call("get_all_memories", user_id=memories.SEARCHER, timeout=60).results
        self._filled = 0
        self._rng = random.Random(17)

    async def to(self, edges: int, users: int) -> float:
        """Until there are so many edges, of so many users; the seconds that it took."""
        store = GraphStore("neo4j", self._config, self._scope, _PATIENCE_S)
        owners = [Owner(memories.SEARCHER), *(Owner(f"crowd-{number}") for number in range(1, users))]
        started = time.monotonic()
        for first in range(self._filled, edges, _AT_ONCE):
            owner = owners[first // _AT_ONCE % users]
            change = self._change(range(first, min(first + _AT_ONCE, edges)), edges // users)
            assert await store.change(owner, change, await store.version(owner))
        self._filled = edges
        await store.close()
        return time.monotonic() - started

    def _change(self, numbers: range, per_user: int) -> GraphChange:
        made = [self._edge(number, per_user // _EDGES_PER_ENTITY) for number in numbers]
        names = {name for edge in made for name in (edge.source, edge.destination)}
        vectors = {name: _vector(name) for name in names}
        return GraphChange(f"fill-{numbers.start}", 1, "2026-01-01T00:00:00+00:00", made, vectors)

    def _edge(self, number: int, entities: int) -> Edge:
        row = self._rows[number % len(self._rows)]
        source, destination = (f"entity {self._rng.randrange(max(entities, 2))}" for _ in range(2))
        return Edge(source, f"relation {number}", destination, row["id"], None, text_hash(row["memory"]))


def _vector(name: str) -> list[float]:
    rng = random.Random(name)
    return [rng.gauss(0.0, 1.0) for _ in range(DEFAULT_DIMENSIONS)]


def _searches(related: Plugin, plain: Plugin, size: Size, edges: int) -> list[Figure]:
    def round_of(plugin: Plugin, number: int) -> timing.Timing:
        asked = memories.queries(size.searches, number * size.searches)
        return plugin.timed("search_memory", [_search(query) for query in asked])

    give_up_at = time.monotonic() + _PATIENCE_S
    while not _relations(related, memories.queries(1)[0]):  # a cold server is late, and then left alone for seconds
        assert time.monotonic() < give_up_at
        time.sleep(1.0)
    for plugin in (related, plain):
        round_of(plugin, 0)  # the server compiles what it does often
    ours, theirs = timing.alternate(
        size.rounds, lambda number: round_of(related, number), lambda number: round_of(plain, number)
    )
    figures = []
    for name, of_round in (("p50", timing.p50_ms), ("p95", timing.p95_ms)):
        values = timing.median(ours, of_round), timing.median(theirs, of_round)
        ratio = timing.ratio(ours, theirs, of_round)
        figures.append(Figure(f"search, {edges:,} edges, {name}", "ms", *values, ratio))
    found = statistics.mean(_relations(related, query) for query in memories.queries(20))
    figures.append(Figure(f"relations of a search, {edges:,} edges", "x", found))
    return figures


def _relations(plugin: Plugin, query: str) -> int:
    return len((plugin.call("search_memory", **_search(query)).envelope or {})["relations"])


def _search(query: str) -> Row:
    return {"user_id": memories.SEARCHER, "query": query, "timeout": 60}


def _adds(parts: Setting, related: Plugin, plain: Plugin, size: Size) -> list[Figure]:
    """Adds to their end, what the graph learns of them included; every user adds once, and every answer has two
    relations.
    """
    asked: dict[bool, list[float]] = {True: [], False: []}

    def round_of(is_related: bool, number: int) -> timing.Timing:
        parts.model.control(reset=True, script=[_answer(f"{is_related}-{number}-{each}") for each in range(size.adds)])
        taken = _carried_out(related if is_related else plain, size.adds, f"{is_related}-{number}")
        asked[is_related].append(parts.model.control()["counts"]["chat"] / size.adds)
        return taken

    ours, theirs = timing.alternate(
        size.rounds, lambda number: round_of(True, number), lambda number: round_of(False, number)
    )
    parts.model.control(reset=True)
    rates = timing.median(ours, timing.per_s), timing.median(theirs, timing.per_s)
    ratio = timing.ratio(ours, theirs, timing.per_s)
    calls = statistics.mean(asked[True]), statistics.mean(asked[False])
    return [
        Figure("adds carried out, relations included", "/s", *rates, ratio),
        Figure("model calls an add", "calls", *calls),
    ]


def _answer(name: str) -> Row:
    related = [(f"source {name}", "likes", "tea"), (f"source {name}", "lives in", f"place {name}")]
    relations = [{"source": a, "relation": said, "destination": b, "memory": 0} for a, said, b in related]
    return {"memory": [{"event": "ADD", "text": f"Fact {name}"}], "relations": relations}


def _carried_out(plugin: Plugin, count: int, name: str) -> timing.Timing:
    calls = [{"user_id": f"adder-{name}-{each}", "user": f"A message {each} of {name}."} for each in range(count)]
    started, times_s = time.perf_counter(), []
    for batch in _batches(calls):
        times_s += plugin.timed("add_memory", batch, in_flight=_IN_FLIGHT).times_s
        plugin.drain()
    return timing.Timing(times_s, time.perf_counter() - started)


def _batches(calls: list[Row]) -> Iterator[list[Row]]:
    for first in range(0, len(calls), _IN_FLIGHT):
        yield calls[first : first + _IN_FLIGHT]


if __name__ == "__main__":
    million = "--million" in sys.argv
    sys.argv = [word for word in sys.argv if word != "--million"]
    run_from_command_line("benchmarks.graph", __doc__ or "", measure, _MILLION if million else Size(), _SHORT)
