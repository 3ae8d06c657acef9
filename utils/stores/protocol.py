"""What the flow asks of a vector store, and the rows that go in and out.

A :class:`Store` keeps mem0's own payload (``data``, ``hash``, ``created_at``, ``updated_at``, the scope ids and the
caller's metadata side by side), so collections written by mem0 or by earlier plugins are read and written unchanged.
Every implementation promises the same, whatever its engine does: nothing of another owner ever comes back, scores are
similarities, ``top_k`` counts matching rows, an outage is an error and never an empty answer.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

if TYPE_CHECKING:
    from utils.stores.filters import Condition

SCOPE_KEYS: Final = frozenset({"user_id", "agent_id", "run_id"})
# Keys of a payload that are not the caller's metadata: mem0's own (memory/main.py `core_and_promoted_keys`), and what
# the plugin's write sets itself.
RESERVED_KEYS: Final = SCOPE_KEYS | {
    "id", "data", "hash", "created_at", "updated_at", "text_lemmatized", "attributed_to", "actor_id", "role",
    "expiration_date",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose memories an operation may touch: always one user, optionally narrowed to one agent."""

    user_id: str
    agent_id: str | None = None

    def owns(self, payload: Mapping[str, Any]) -> bool:
        """Whether a stored payload belongs to this owner, compared exactly."""
        return payload.get("user_id") == self.user_id and (
            self.agent_id is None or payload.get("agent_id") == self.agent_id
        )


@dataclass(frozen=True, slots=True)
class Row:
    """One stored memory.

    Attributes:
        id: its id, a UUID in text form.
        payload: mem0's payload; treat as read-only.
        score: similarity to the query in 0..1, higher is better; None when the row was not searched for.
        rerank_score: the reranker's score in 0..1; None when no reranker judged the row.
    """

    id: str
    payload: Mapping[str, Any]
    score: float | None = None
    rerank_score: float | None = None

    @property
    def text(self) -> str:
        """The memory itself; empty when the payload has none."""
        data = self.payload.get("data")
        return data if isinstance(data, str) else ""

    @property
    def user_id(self) -> str | None:
        """The owner's user id as stored."""
        return self.payload.get("user_id")

    @property
    def agent_id(self) -> str | None:
        """The owner's agent id as stored."""
        return self.payload.get("agent_id")

    @property
    def created_at(self) -> str | None:
        """ISO 8601 time of creation as stored."""
        return self.payload.get("created_at")

    @property
    def updated_at(self) -> str | None:
        """ISO 8601 time of the last change as stored."""
        return self.payload.get("updated_at")

    @property
    def metadata(self) -> dict[str, Any]:
        """The caller's own metadata: the payload without reserved keys."""
        return {key: value for key, value in self.payload.items() if key not in RESERVED_KEYS}


def text_hash(text: str) -> str:
    """mem0's ``hash`` of a memory: the MD5 of its text (an identity mark in the stored format, not a safeguard)."""
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


class Store(Protocol):
    """A vector store as the flow sees it. Constructors do no I/O; ``open`` and ``close`` are idempotent.

    Every method raises ``ServiceUnavailable``, ``ServiceRefused`` or ``ServiceRejected`` (part ``vector_store``) on
    failure.
    """

    async def open(self) -> None:
        """Connect, and create the collection if it is not there."""

    async def close(self) -> None:
        """Give back every connection, file lock and thread."""

    async def check(self, dims: int) -> None:
        """One live round trip that changes no memory.

        Raises:
            ServiceRejected: the collection holds vectors of another length than ``dims``; the sentence has both
                numbers.
        """

    async def get(self, memory_id: str) -> Row | None:
        """The memory with exactly this id, whoever owns it; None for an unknown or malformed id."""

    async def search(
        self, vector: Sequence[float], owner: Owner, top_k: int, condition: Condition | None = None
    ) -> list[Row]:
        """The owner's ``top_k`` most similar memories that satisfy ``condition``, best first, with scores."""

    async def page(
        self, owner: Owner, limit: int, offset: int = 0, condition: Condition | None = None
    ) -> tuple[list[Row], int]:
        """One page of the owner's memories, newest first (``created_at``, then id), and how many there are in all."""

    async def batch(self, owner: Owner, limit: int) -> list[Row]:
        """Any ``limit`` of the owner's memories, in no order; empty only when none are left.

        Raises:
            ServiceRejected: this store cannot list an owner's memories reliably.
        """

    async def insert(self, rows: Sequence[Row], vectors: Sequence[Sequence[float]]) -> None:
        """Store new memories. A row whose id is already there is left as it is."""

    async def update(self, row: Row, vector: Sequence[float]) -> None:
        """Replace text, metadata and vector of the memory with ``row.id``; does nothing when it is gone."""

    async def delete(self, memory_ids: Sequence[str]) -> None:
        """Delete exactly these memories; unknown ids are no error."""
