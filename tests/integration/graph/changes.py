"""What the tests of the graph store write and read, in a word."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence

from utils.graph.relations import Edge
from utils.graph.store import GraphChange, GraphStore
from utils.stores.protocol import Owner, text_hash

DIMENSIONS = 16
type Triple = tuple[str, str, str]


def vector_of(name: str) -> list[float]:
    """A vector of length 1 that is the same for the same name, and nearly at right angles to others'."""
    digest = hashlib.shake_256(name.encode()).digest(2 * DIMENSIONS)
    values = [digest[2 * i] * 256 + digest[2 * i + 1] - 32_768 for i in range(DIMENSIONS)]
    length = math.sqrt(sum(value * value for value in values)) or 1.0
    return [value / length for value in values]


def text_of(memory_id: str) -> str:
    """What a memory says, as far as its edges know."""
    return f"text of {memory_id}"


def edge(memory_id: str, triple: Triple, agent_id: str | None = None) -> Edge:
    """An edge of a memory."""
    return Edge(*triple, memory_id, agent_id, text_hash(text_of(memory_id)))


def setting(edges: Sequence[Edge], *, gone: Iterable[str] = (), write_id: str = "w", seq: int = 1) -> GraphChange:
    """The change after which these are the edges of their memories, and the memories ``gone`` have none."""
    vectors = {name: vector_of(name) for one in edges for name in (one.source, one.destination)}
    memory_ids = [*{one.memory_id for one in edges}, *gone]
    return GraphChange(write_id, seq, "2026-01-01T00:00:00+00:00", edges, vectors, memory_ids)


async def make(store: GraphStore, owner: Owner, change: GraphChange) -> None:
    """Make a change as a step does: again, when the owner's edges changed meanwhile."""
    while not await store.change(owner, change, await store.version(owner)):
        pass


async def triples(store: GraphStore, owner: Owner) -> set[tuple[str, Triple]]:
    """All of the owner's edges: the memory's id, and what it says."""
    memory_ids = list(await store.memories(owner, "", 10_000))
    found = await store.edges_of(owner, memory_ids, 10_000)
    return {(one.memory_id, (one.source, one.relation, one.destination)) for one in found}
