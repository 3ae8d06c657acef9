"""The graph store: relations of users' memories in Neo4j or Memgraph, over the official driver and the Bolt protocol.

Promises: nothing of another owner ever comes back (bounded in the statement, and compared again here). A change is one
transaction and has the effect of once however often it is made. Two changes of one owner come one after the other, and
one that was decided on outdated knowledge is refused (:meth:`GraphStore.change`), so that a worker that was stopped in
between cannot bring an old state back. Constructors do no I/O; connections are opened at first use.
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from utils.graph import statements
from utils.graph.connection import GraphConnection, fetch
from utils.graph.relations import Edge, FoundRelation, entity_key, owner_key
from utils.stores.protocol import Owner
from utils.text import normalized

if TYPE_CHECKING:
    from neo4j import AsyncManagedTransaction

_BATCH: Final = 1_000  # edges removed in one transaction when everything of an owner goes
_NEAR_ENTITIES: Final = 10  # entities whose relations a search answers with
# Exact search costs 11 us of the server's time for each of the owner's entities, the vector index 45 ms for these
# candidates, whosever they are (384 dimensions). Those who have fewer are searched exactly, and stay out of the index.
_EXACT_ENTITIES: Final = 5_000
_CANDIDATES: Final = 1_000


class _Outdated(Exception):
    """The owner's edges have been changed since: raised to roll the transaction back."""


@dataclass(frozen=True, slots=True)
class GraphChange:
    """What one write does to an owner's edges.

    Attributes:
        write_id: the write.
        seq: its place among all writes; an edge keeps it.
        at: ISO 8601 time of the change.
        edges: the edges there are from now on for the memories they stem from.
        vectors: the embedding of each entity of ``edges``, by its name; any spelling of it.
        memory_ids: the memories whose edges before this change go, those of ``edges`` included.
    """

    write_id: str
    seq: int
    at: str
    edges: Sequence[Edge] = ()
    vectors: Mapping[str, Sequence[float]] = field(default_factory=dict)
    memory_ids: Sequence[str] = ()


class GraphStore:
    """Relations in a graph database.

    Args:
        provider: ``neo4j`` or ``memgraph``.
        config: of the graph's block: ``url``, and ``username``, ``password``, ``database`` where given.
        scope: of the vector store whose memories the edges stem from; of no other in the world.
        timeout_s: longest time of one operation in seconds, connecting included.
    """

    def __init__(self, provider: str, config: Mapping[str, Any], scope: str, timeout_s: float) -> None:
        self._connection = GraphConnection(provider, config, timeout_s)
        self._dialect = self._connection.dialect
        self._scope = scope

    @property
    def failing(self) -> bool:
        """Whether the latest operation failed."""
        return self._connection.failing

    async def close(self) -> None:
        """Give back every connection. Idempotent; the next operation opens anew."""
        await self._connection.close()

    async def check(self) -> None:
        """See :meth:`GraphConnection.check`."""
        await self._connection.check()

    async def search(self, owner: Owner, vector: Sequence[float], limit: int) -> list[FoundRelation]:
        """The relations of the owner's entities that are nearest to a query, one hop, nearest first.

        Args:
            owner: whose; with an agent, that agent's entities only.
            vector: the query's embedding.
            limit: how many relations at most.

        Raises:
            ServiceError: part ``graph_store``.
        """
        key = owner_key(self._scope, owner)
        unit = _unit(vector)
        parameters = {
            "owner": key,
            "agent_id": owner.agent_id,
            "vector": unit,
            "dims": len(unit),
            "last": len(unit) - 1,
            "entities": _NEAR_ENTITIES,
            "limit": limit,
        }
        async with self._connection.bounded():
            records = await self._nearest(parameters)
        return [FoundRelation.from_record(record) for record in records if _owned(record, key)]

    async def _nearest(self, parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
        """By the vector index where it pays and finds enough of the owner's own; exactly otherwise."""
        if self._dialect.vector_index is not None and await self._is_indexed(parameters["owner"]):
            found = await self._index_search(parameters)
            if found and found[0]["near"] == _NEAR_ENTITIES:
                return found
        return await self._connection.read(self._dialect.search, parameters)

    async def _is_indexed(self, key: str) -> bool:
        records = await self._connection.read(statements.IS_INDEXED, {"owner": key})
        return bool(records and records[0]["indexed"])

    async def _index_search(self, parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Nothing where there is no index, or it is still being filled."""
        from neo4j.exceptions import ClientError

        try:
            return await self._connection.read(self._dialect.index_search, {**parameters, "candidates": _CANDIDATES})
        except ClientError:
            return []

    async def edges_of(self, owner: Owner, memory_ids: Sequence[str], limit: int) -> list[FoundRelation]:
        """The owner's relations that stem from these memories.

        Raises:
            ServiceError: part ``graph_store``.
        """
        key = owner_key(self._scope, owner)
        async with self._connection.bounded():
            records = await self._connection.read(
                statements.EDGES_OF, {"owner": key, "memory_ids": list(memory_ids), "limit": limit}
            )
        return [FoundRelation.from_record(record) for record in records if _owned(record, key)]

    async def version(self, owner: Owner) -> str | None:
        """What the owner's edges are known by until they change; None when there have never been any.

        Raises:
            ServiceError: part ``graph_store``.
        """
        async with self._connection.bounded():
            records = await self._connection.read(statements.VERSION, {"owner": owner_key(self._scope, owner)})
        return records[0]["version"] if records else None

    async def change(self, owner: Owner, change: GraphChange, since: str | None) -> bool:
        """Make a change in one transaction, unless the owner's edges have been changed since ``since``.

        Args:
            owner: whose edges; its agent does not matter, each edge has one.
            change: what to do.
            since: the :meth:`version` on which the change was decided.

        Returns:
            Whether it was made.

        Raises:
            ServiceError: part ``graph_store``. The change may have been made; making it again is harmless.
        """
        async with self._connection.bounded():
            try:
                await self._connection.write(lambda tx: self._changed(tx, owner, change, since))
            except _Outdated:
                return False
        return True

    async def remove_before(self, owner: Owner, seq: int, at: str) -> int:
        """Remove the owner's edges that writes before ``seq`` made, and entities left alone; in batches.

        Args:
            owner: whose; with an agent, that agent's only.
            seq: place among all writes; edges of later ones stay.
            at: ISO 8601 time of the removal.

        Returns:
            How many edges were removed.

        Raises:
            ServiceError: part ``graph_store``; what was removed stays removed.
        """
        removed = 0
        while True:
            async with self._connection.bounded():
                batch = await self._connection.write(lambda tx: self._removed_before(tx, owner, seq, at))
            removed += batch
            if batch < _BATCH:
                return removed

    async def memories(self, owner: Owner, after_id: str, limit: int) -> dict[str, list[str]]:
        """The memories that the owner's edges stem from, of all agents: by id, from the one after ``after_id`` on, the
        hashes of what each said when it got its edges.

        Raises:
            ServiceError: part ``graph_store``.
        """
        parameters = {"owner": owner_key(self._scope, owner), "after": after_id, "limit": limit}
        async with self._connection.bounded():
            records = await self._connection.read(statements.MEMORIES, parameters)
        return {str(record["memory_id"]): list(record["text_hashes"]) for record in records}

    async def counts(self, owner: Owner) -> tuple[int, int]:
        """How many entities and edges the owner has.

        Raises:
            ServiceError: part ``graph_store``.
        """
        async with self._connection.bounded():
            records = await self._connection.read(statements.COUNTS, {"owner": owner_key(self._scope, owner)})
        return int(records[0]["entities"]), int(records[0]["edges"])

    async def _changed(self, tx: AsyncManagedTransaction, owner: Owner, change: GraphChange, since: str | None) -> None:
        key = owner_key(self._scope, owner)
        before, is_indexed = await _lock(tx, key, change.at)
        if before != since:
            raise _Outdated
        parameters = {"owner": key, "at": change.at}
        left = await fetch(tx, statements.REMOVE_EDGES, {**parameters, "memory_ids": list(change.memory_ids)})
        if change.edges:
            entities = {**self._entities(owner, change), "indexed": is_indexed}
            await fetch(tx, self._dialect.merge_entities, {**parameters, **entities})
            await fetch(tx, statements.MERGE_EDGES, {**parameters, **self._edges(owner, change)})
        await self._remove_left_alone(tx, key, left)
        if change.edges and self._dialect.vector_index is not None and not is_indexed:
            await self._index_if_large(tx, key)

    async def _index_if_large(self, tx: AsyncManagedTransaction, key: str) -> None:
        limit = _EXACT_ENTITIES + 1
        [counted] = await fetch(tx, statements.COUNT_ENTITIES, {"owner": key, "limit": limit})
        if counted["entities"] == limit:
            await fetch(tx, statements.INDEX_ENTITIES, {"owner": key})

    async def _removed_before(self, tx: AsyncManagedTransaction, owner: Owner, seq: int, at: str) -> int:
        key = owner_key(self._scope, owner)
        await _lock(tx, key, at)  # another version: what was decided while these edges were there is refused
        parameters = {"owner": key, "before_seq": seq, "agent_id": owner.agent_id, "limit": _BATCH}
        left = await fetch(tx, statements.REMOVE_OWNERS_EDGES, parameters)
        await self._remove_left_alone(tx, key, left)
        return len(left)

    async def _remove_left_alone(
        self, tx: AsyncManagedTransaction, key: str, removed: Sequence[Mapping[str, Any]]
    ) -> None:
        ids = sorted({record[end] for record in removed for end in ("source", "destination")})
        if ids:
            await fetch(tx, statements.REMOVE_ENTITIES_LEFT_ALONE, {"owner": key, "ids": ids})

    def _entities(self, owner: Owner, change: GraphChange) -> dict[str, Any]:
        vectors = {normalized(entity): _unit(vector) for entity, vector in change.vectors.items()}
        by_key: dict[str, dict[str, Any]] = {}
        for edge in change.edges:
            for entity in (edge.source, edge.destination):
                key = self._key(owner, edge, entity)
                embedding = vectors[normalized(entity)]
                by_key[key] = {"id": key, "name": entity, "agent_id": edge.agent_id or "", "embedding": embedding}
        return {"entities": list(by_key.values()), "user_id": owner.user_id}

    def _edges(self, owner: Owner, change: GraphChange) -> dict[str, Any]:
        edges = [
            {
                "source": self._key(owner, edge, edge.source),
                "relation": edge.relation,
                "destination": self._key(owner, edge, edge.destination),
                "memory_id": edge.memory_id,
                "text_hash": edge.text_hash,
            }
            for edge in change.edges
        ]
        return {"edges": edges, "write_id": change.write_id, "seq": change.seq}

    def _key(self, owner: Owner, edge: Edge, entity: str) -> str:
        return entity_key(self._scope, Owner(owner.user_id, edge.agent_id), entity)


async def _lock(tx: AsyncManagedTransaction, key: str, at: str) -> tuple[str | None, bool]:
    """Give the owner's edges another version, with which nobody else changes them until the transaction ends; the
    version before, and whether the owner's entities are in the vector index.
    """
    parameters = {"owner": key, "at": at, "version": uuid.uuid4().hex}
    [locked] = await fetch(tx, statements.LOCK_OWNER, parameters)
    return locked["before"], bool(locked["indexed"])


def _owned(record: Mapping[str, Any], key: str) -> bool:
    return {record["owner"], record["source_owner"], record["destination_owner"]} == {key}


def _unit(vector: Sequence[float]) -> list[float]:
    """The vector with length 1, so that a dot product is the cosine. One of zeros points everywhere alike: Neo4j knows
    no cosine of zeros, and one such entity would fail every search of its owner.
    """
    length = math.sqrt(math.fsum(value * value for value in vector))
    return [value / length for value in vector] if length else [1.0 / math.sqrt(len(vector))] * len(vector)
