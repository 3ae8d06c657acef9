"""How steps change the graph. Each has the effect of once however often, however late it is carried out.

A step does not trust its own age. It compares what its write stored with what is stored now, and gives edges only to
memories that still say the same; and its change is refused when somebody else changed the owner's edges since it looked
(``GraphStore.change``). So steps that come late, twice or out of order leave the edges of the memories that exist.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from utils.errors import ServiceUnavailable
from utils.graph.connection import PART
from utils.graph.steps import VERSION, ChangeEdges, DeleteAllEdges, RepairEdges
from utils.graph.store import GraphChange
from utils.queue.handler import Handler, Outcome, QueueLease
from utils.state import erasure
from utils.stores.protocol import Owner, text_hash

if TYPE_CHECKING:
    from utils.graph.store import GraphStore
    from utils.state.writes import Write
    from utils.stores.protocol import Store

_LOOKS: Final = 5  # at the memories again, when the owner's edges changed meanwhile; then the queue tries later
_PAGE: Final = 200  # memories looked up at once by a repair


def handlers(graph: GraphStore, store: Store) -> Mapping[str, Handler]:
    """The handlers of steps, by kind.

    Args:
        graph: where relations are.
        store: where the memories are that they stem from.
    """
    return {
        ChangeEdges.kind: ChangeEdgesHandler(graph, store),
        DeleteAllEdges.kind: DeleteAllEdgesHandler(graph),
        RepairEdges.kind: RepairEdgesHandler(graph, store),
    }


class ChangeEdgesHandler:
    """Gives edges to what a write stored, and takes those of what it replaced or deleted."""

    version = VERSION

    def __init__(self, graph: GraphStore, store: Store) -> None:
        self._graph = graph
        self._store = store

    async def __call__(self, write: Write, lease: QueueLease) -> Outcome:
        """See ``Handler``. A lost lease needs no asking: what is outdated is refused by the graph itself."""
        step, owner = ChangeEdges.from_json(write.payload), Owner(write.user_id)
        await _until_visible(self._store)
        for _ in range(_LOOKS):
            since = await self._graph.version(owner)
            change = await self._change(write, step)
            if await self._graph.change(owner, change, since):
                return Outcome({"edges": len(change.edges)})
        raise ServiceUnavailable("service_unavailable", part=PART, reason="ConcurrentChange")

    async def _change(self, write: Write, step: ChangeEdges) -> GraphChange:
        """The step as far as it agrees with the memories as they are now."""
        now = await _texts_now(self._store, write.user_id, list(step.stored))
        same = {memory_id for memory_id, said in step.stored.items() if now.get(memory_id) == said}
        gone = step.stored.keys() - now.keys()
        edges = [edge for edge in step.edges if edge.memory_id in same]
        return GraphChange(step.write_id, write.seq, step.at, edges, step.vectors, [*same, *gone, *step.removed])


class DeleteAllEdgesHandler:
    """Removes the edges that earlier writes made."""

    version = VERSION

    def __init__(self, graph: GraphStore) -> None:
        self._graph = graph

    async def __call__(self, write: Write, lease: QueueLease) -> Outcome:
        """See ``Handler``."""
        step = DeleteAllEdges.from_json(write.payload)
        removed = await self._graph.remove_before(Owner(write.user_id, step.agent_id), write.seq, step.at)
        if not step.purge:
            return Outcome({"removed": removed})
        return Outcome(also=(lambda conn: erasure.forget_user(conn, lease.claim, write.id),), forget_queue=True)


class RepairEdgesHandler:
    """Removes the edges of memories that are gone or say something else, after a forgetting."""

    version = VERSION

    def __init__(self, graph: GraphStore, store: Store) -> None:
        self._graph = graph
        self._store = store

    async def __call__(self, write: Write, lease: QueueLease) -> Outcome:
        """See ``Handler``."""
        await _until_visible(self._store)
        repaired = await repair(self._graph, self._store, write.user_id, RepairEdges.from_json(write.payload).at)
        return Outcome({"repaired": repaired})


async def repair(graph: GraphStore, store: Store, user_id: str, at: str) -> int:
    """Remove the edges of memories that no longer exist, or no longer say what they said: a store may be changed
    behind our back.

    Args:
        graph: where relations are.
        store: where the memories are.
        user_id: whose; of all agents.
        at: ISO 8601 time of the repair.

    Returns:
        Of how many memories edges were removed.

    Raises:
        ServiceError: graph or store failed; what was removed stays removed.
    """
    owner, after_id, repaired = Owner(user_id), "", 0
    while True:
        since = await graph.version(owner)
        memories = await graph.memories(owner, after_id, _PAGE)
        if not memories:
            return repaired
        now = await _texts_now(store, user_id, list(memories))
        outdated = [memory_id for memory_id, said in memories.items() if said != [now.get(memory_id)]]
        if outdated and not await graph.change(owner, GraphChange("repair", 0, at, memory_ids=outdated), since):
            continue  # somebody else changed the owner's edges: look at this page again
        repaired += len(outdated)
        after_id = list(memories)[-1]


async def _until_visible(store: Store) -> None:
    """Some stores show late what was stored or deleted just now."""
    if store.visible_after_s:
        await asyncio.sleep(store.visible_after_s)


async def _texts_now(store: Store, user_id: str, memory_ids: Sequence[str]) -> dict[str, str]:
    """The hash of the text of each memory that exists and is the user's, by its id."""
    await store.open()
    rows = await store.get_many(memory_ids, to_change=True)
    return {row.id: text_hash(row.text) for row in rows if row.user_id == user_id}
