"""Whatever happens in whatever order, the graph holds the edges that a dictionary says, and no entity without one."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from neo4j import GraphDatabase

from playground.neo4j_server import Graph
from tests.integration.graph.changes import DIMENSIONS, Triple, edge, make, setting, text_of, triples, vector_of
from utils.graph import store as store_module
from utils.graph.handlers import repair
from utils.graph.store import GraphChange, GraphStore
from utils.stores.protocol import Owner, Row
from utils.text import normalized

MEMORY_IDS = ("m0", "m1", "m2", "m3")
AGENTS = (None, "a", "b")
SPELLINGS = ("Ada", "ADA.", "tea", "Tea", "Lisbon", "\u6771\u4eac")
SAID = ("knows", "likes")


@dataclass
class Model:
    """The edges there must be: of each memory, its agent and what it says; and which memories stand in the store."""

    edges: dict[str, tuple[str | None, frozenset[Triple]]] = field(default_factory=dict)
    seqs: dict[str, int] = field(default_factory=dict)

    def put(self, memory_id: str, agent_id: str | None, said: Sequence[Triple], seq: int) -> None:
        same = frozenset((normalized(a), name, normalized(b)) for a, name, b in said)
        self.edges[memory_id], self.seqs[memory_id] = (agent_id, same), seq

    def delete_all(self, agent_id: str | None, before_seq: int) -> None:
        for memory_id, (agent, _) in list(self.edges.items()):
            if agent_id in (None, agent) and self.seqs[memory_id] < before_seq:
                del self.edges[memory_id]

    def expected(self) -> tuple[set[tuple[str, Triple]], int]:
        """What the edges say, and how many entities there are."""
        edges = {(memory_id, one) for memory_id, (_, said) in self.edges.items() for one in said}
        ends = {(agent, end) for agent, said in self.edges.values() for one in said for end in (one[0], one[2])}
        return edges, len(ends)


@dataclass
class Memories:
    """As much of a vector store as a repair asks."""

    standing: Mapping[str, Row]
    visible_after_s: float = 0.0

    async def open(self) -> None:
        """It is open."""

    async def get_many(self, ids: Sequence[str], *, to_change: bool = False) -> list[Row]:
        return [self.standing[each] for each in ids if each in self.standing]


said = st.lists(st.tuples(st.sampled_from(SPELLINGS), st.sampled_from(SAID), st.sampled_from(SPELLINGS)), max_size=3)
one_memory = st.tuples(st.sampled_from(MEMORY_IDS), st.sampled_from(AGENTS), said)
operation = st.one_of(
    st.tuples(st.just("set"), one_memory),
    st.tuples(st.just("race"), one_memory, one_memory),
    st.tuples(st.just("delete"), st.sets(st.sampled_from(MEMORY_IDS), min_size=1)),
    st.tuples(st.just("delete_all"), st.sampled_from(AGENTS), st.integers(0, 3)),
    st.tuples(st.just("repair"), st.sets(st.sampled_from(MEMORY_IDS))),
)
histories = st.lists(operation, min_size=1, max_size=12)


class History:
    """Carries operations out on a store and on the model, each as often as a crash might have it repeated."""

    def __init__(self, store: GraphStore, times: int) -> None:
        self.owner = Owner(uuid.uuid4().hex)
        self.model = Model()
        self._store = store
        self._times = times
        self._seq = 10

    async def carry_out(self, name: str, *arguments: Any) -> None:
        self._seq += 1
        for _ in range(self._times):
            await getattr(self, f"_{name}")(*arguments)

    def _change(self, memory_id: str, agent_id: str | None, triples_: Sequence[Triple]) -> GraphChange:
        edges = [edge(memory_id, one, agent_id) for one in triples_]
        return setting(edges, gone=[memory_id], seq=self._seq)

    async def _set(self, memory: tuple[str, str | None, Sequence[Triple]]) -> None:
        await make(self._store, self.owner, self._change(*memory))
        self.model.put(*memory, self._seq)

    async def _race(self, *memories: tuple[str, str | None, Sequence[Triple]]) -> None:
        """Two writers that saw the same: the second is refused, looks again and then writes what it still has to."""
        since = await self._store.version(self.owner)
        changes = [self._change(*memory) for memory in memories]
        made = await asyncio.gather(*(self._store.change(self.owner, change, since) for change in changes))
        assert sorted(made) == [False, True]
        last = made.index(False)
        await make(self._store, self.owner, changes[last])
        for place in (1 - last, last):
            self.model.put(*memories[place], self._seq)

    async def _delete(self, memory_ids: set[str]) -> None:
        await make(self._store, self.owner, setting([], gone=memory_ids, seq=self._seq))
        for memory_id in memory_ids:
            self.model.edges.pop(memory_id, None)

    async def _delete_all(self, agent_id: str | None, back: int) -> None:
        before_seq = self._seq - back  # a late one spares what came after it was accepted
        await self._store.remove_before(Owner(self.owner.user_id, agent_id), before_seq, "")
        self.model.delete_all(agent_id, before_seq)

    async def _repair(self, standing: set[str]) -> None:
        rows = {each: Row(each, {"user_id": self.owner.user_id, "data": text_of(each)}) for each in standing}
        await repair(self._store, Memories(rows), self.owner.user_id, "")  # type: ignore[arg-type]
        self.model.edges = {each: kept for each, kept in self.model.edges.items() if each in standing}


async def the_graph_is_as_the_model_says(store: GraphStore, history: Sequence[tuple[Any, ...]], times: int) -> None:
    life = History(store, times)
    for name, *arguments in history:
        await life.carry_out(name, *arguments)
    edges, entities = life.model.expected()
    found = await triples(store, life.owner)
    assert {(each, (normalized(a), name, normalized(b))) for each, (a, name, b) in found} == edges
    assert await store.counts(life.owner) == (entities, len(edges))
    await store.remove_before(life.owner, 10**9, "")
    assert await store.counts(life.owner) == (0, 0)


def drawn(cases: int) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    return settings(max_examples=cases, deadline=None, database=None, suppress_health_check=list(HealthCheck))


@drawn(12)
@given(histories, st.sampled_from([1, 2]))
async def test_any_history(graph_store: GraphStore, history: Sequence[tuple[Any, ...]], times: int) -> None:
    await the_graph_is_as_the_model_says(graph_store, history, times)


@pytest.mark.long
@drawn(1_000)
@given(histories, st.sampled_from([1, 2]))
async def test_any_history_long(graph_store: GraphStore, history: Sequence[tuple[Any, ...]], times: int) -> None:
    await the_graph_is_as_the_model_says(graph_store, history, times)


async def test_many_writers_of_one_user_come_one_after_the_other(
    graph_store: GraphStore, new_graph_store: Callable[..., GraphStore]
) -> None:
    """Two processes, eight writers each, all about the same two entities."""
    stores, owner = (graph_store, new_graph_store()), Owner("ada")
    changes = [setting([edge(f"m{i}", ("Ada", f"says {i}", "tea"))]) for i in range(16)]
    await asyncio.gather(*(make(stores[i % 2], owner, change) for i, change in enumerate(changes)))
    assert await graph_store.counts(owner) == (2, 16)
    await asyncio.gather(*(make(stores[i % 2], owner, setting([], gone=[f"m{i}"])) for i in range(16)))
    assert await graph_store.counts(owner) == (0, 0)


async def test_an_entity_without_direction_fails_no_search(graph_store: GraphStore) -> None:
    owner = Owner("ada")
    zeros = GraphChange("w", 1, "", [edge("m", ("Ada", "likes", "tea"))], {"Ada": [0.0] * 4, "tea": [0.0] * 4}, ["m"])
    await make(graph_store, owner, zeros)
    assert [one.source for one in await graph_store.search(owner, [0.0] * 4, 5)] == ["Ada"]


async def test_vectors_of_another_length_are_not_compared(graph_store: GraphStore) -> None:
    """The embedder was changed: what it made before is not near anything, and fails nothing."""
    owner = Owner("ada")
    await make(graph_store, owner, setting([edge("m", ("Ada", "likes", "tea"))]))
    assert await graph_store.search(owner, [1.0] * (DIMENSIONS + 1), 5) == []
    assert len(await graph_store.search(owner, vector_of("tea"), 5)) == 1


async def test_a_user_who_becomes_large_is_found_by_the_vector_index(
    graph_store: GraphStore, neo4j_graph: Graph, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All entities enter the index with the change that makes the user large, later ones at once; and it finds what
    an exact search finds.
    """
    owner = Owner(uuid.uuid4().hex)
    await make(graph_store, owner, setting([edge(f"m{i}", (f"source {i}", "knows", f"end {i}")) for i in range(30)]))
    exact = await graph_store.search(owner, vector_of("source 7"), 10)
    assert _indexed(neo4j_graph, owner) == 0
    monkeypatch.setattr(store_module, "_EXACT_ENTITIES", 60)
    await make(graph_store, owner, setting([edge("m0", ("source 0", "knows", "one more"))]))
    await make(graph_store, owner, setting([edge("m0", ("source 0", "knows", "end 0"))]))
    assert _indexed(neo4j_graph, owner) == 0  # sixty, not more
    await make(graph_store, owner, setting([edge("m30", ("source 30", "knows", "end 30"))]))
    assert _indexed(neo4j_graph, owner) == 62
    await make(graph_store, owner, setting([edge("m31", ("source 31", "knows", "end 31"))]))
    assert _indexed(neo4j_graph, owner) == 64
    await make(graph_store, owner, setting([], gone=["m30", "m31"]))
    assert await graph_store.search(owner, vector_of("source 7"), 10) == exact


def _indexed(graph: Graph, owner: Owner) -> int:
    query = "MATCH (e:Mem0Indexed {user_id: $user_id}) RETURN count(e)"
    with GraphDatabase.driver(graph.url, auth=(graph.username, graph.password)) as driver:
        return int(driver.execute_query(query, user_id=owner.user_id).records[0][0])
