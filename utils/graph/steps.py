"""What a carried-out write leaves to be done in the graph: steps, which are accepted writes of their own.

The graph is another database: it may be away while memories are stored. So what it has to learn is accepted in the
transaction that finishes the memories' write, in a queue of its own (another scope, the same queue engine), in the
order of the plans. A step that fails is tried again by itself and holds up no memory; when the graph is back, the steps
catch up. What they hold of a person goes when they are done, and when the user's memories are deleted.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, Final, Self

from sqlalchemy import Connection

from utils.graph.relations import Edge
from utils.state import erasure, writes
from utils.stores.vectors import packed, unpacked

VERSION: Final = 1
_IDS: Final = uuid.UUID("0d5a9f0e-9b0e-4f0c-8f43-6a0cf1d5d1a7")  # namespace of steps' ids, derived from a write's


@dataclass(frozen=True, slots=True)
class ChangeEdges:
    """What the graph has to learn of a write that added, replaced or deleted memories.

    Attributes:
        write_id: the memories' write.
        at: ISO 8601 time of it.
        agent_id: the agent the write was made for, if any.
        stored: the hash of the text of each memory that was added or replaced, by its id.
        removed: ids of memories that are gone.
        edges: the relations that stem from ``stored``.
        vectors: the embedding of each entity of ``edges``, by its name.
    """

    kind: ClassVar[str] = "graph_change"

    write_id: str
    at: str
    agent_id: str | None = None
    stored: Mapping[str, str] = field(default_factory=dict)
    removed: Sequence[str] = ()
    edges: Sequence[Edge] = ()
    vectors: Mapping[str, Sequence[float]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The step as the state store keeps it until it is done."""
        return {
            "write_id": self.write_id,
            "at": self.at,
            "agent_id": self.agent_id,
            "stored": dict(self.stored),
            "removed": list(self.removed),
            "edges": [edge.to_json() for edge in self.edges],
            "vectors": {name: packed(vector) for name, vector in self.vectors.items()},
        }

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Self:
        """The inverse of :meth:`to_json`, to float32 precision."""
        edges = tuple(Edge.from_json(edge) for edge in plain["edges"])
        vectors = {name: unpacked(vector) for name, vector in plain["vectors"].items()}
        return cls(**{**plain, "edges": edges, "vectors": vectors})


@dataclass(frozen=True, slots=True)
class DeleteAllEdges:
    """Every memory of the user that was there is gone, or every one of an agent's.

    Attributes:
        write_id: the ``delete_all``.
        at: ISO 8601 time of it.
        agent_id: the agent, if any.
        purge: nothing is to be kept of the user.
    """

    kind: ClassVar[str] = "graph_delete_all"

    write_id: str
    at: str
    agent_id: str | None = None
    purge: bool = False

    def to_json(self) -> dict[str, Any]:
        """The step as the state store keeps it until it is done."""
        return asdict(self)

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Self:
        """The inverse of :meth:`to_json`."""
        return cls(**plain)


@dataclass(frozen=True, slots=True)
class RepairEdges:
    """Edges of the user's memories that are gone, or say something else, go: others may change the store, too.

    Attributes:
        write_id: the write that found some gone, or a forgetting.
        at: ISO 8601 time of it.
    """

    kind: ClassVar[str] = "graph_repair"

    write_id: str
    at: str

    def to_json(self) -> dict[str, Any]:
        """The step as the state store keeps it until it is done."""
        return asdict(self)

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Self:
        """The inverse of :meth:`to_json`."""
        return cls(**plain)


type GraphStep = ChangeEdges | DeleteAllEdges | RepairEdges


def steps_scope(scope: str) -> str:
    """The scope of the graph's queues beside the memories' ``scope``: they wait for nobody else's."""
    return hashlib.sha256(f"{scope}/graph".encode()).hexdigest()


def step_id(write_id: str) -> str:
    """The id of the step of a write; the same whenever the write is finished again."""
    return str(uuid.uuid5(_IDS, write_id))


def accept(conn: Connection, scope: str, user_id: str, fingerprint: str, step: GraphStep) -> None:
    """Record a step, in the transaction that finishes its write.

    Args:
        conn: that transaction.
        scope: the memories'.
        user_id: whose edges.
        fingerprint: of the credentials that name the graph.
        step: what to do.
    """
    write = writes.NewWrite(
        id=step_id(step.write_id),
        scope=steps_scope(scope),
        user_id=user_id,
        kind=step.kind,
        version=VERSION,
        payload=step.to_json(),
        fingerprint=fingerprint,
        accepted_by=step_id(step.write_id),  # no overload guard counts steps: their writes have been counted
    )
    writes.accept(conn, write, most_pending=1)


def drop(conn: Connection, scope: str, user_id: str, agent_id: str | None) -> None:
    """Drop the steps that a ``delete_all`` makes pointless, with what they hold of the user; in its transaction, before
    its own step is accepted.

    Args:
        conn: that transaction.
        scope: the memories'.
        user_id: whose memories are gone.
        agent_id: of one agent only.
    """
    if agent_id is not None:
        writes.supersede(conn, steps_scope(scope), user_id, (ChangeEdges.kind,), agent_id)
    erasure.drop_queue(conn, steps_scope(scope), user_id, agent_id)
