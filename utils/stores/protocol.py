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
from typing import TYPE_CHECKING, Any, Final, Protocol, runtime_checkable

if TYPE_CHECKING:
    from psycopg import Cursor, sql

    from utils.stores.filters import Condition

SCOPE_KEYS: Final = frozenset({"user_id", "agent_id", "run_id"})
# Keys of a payload that are not the caller's metadata: mem0's own (memory/main.py `core_and_promoted_keys`), and what
# the plugin's write sets itself.
RESERVED_KEYS: Final = SCOPE_KEYS | {
    "id", "data", "hash", "created_at", "updated_at", "observed_at", "text_lemmatized",
    "attributed_to", "actor_id", "role", "expiration_date",
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
        keyword_score: the share of the query's words it has, 0..1; None when nobody counted them.
    """

    id: str
    payload: Mapping[str, Any]
    score: float | None = None
    rerank_score: float | None = None
    keyword_score: float | None = None

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


@dataclass(frozen=True, slots=True)
class Patch:
    """What one update changes of a stored memory, without knowing the rest of it.

    Attributes:
        memory_id: which memory.
        payload: the keys that are set over what is there. ``created_at`` counts only where the memory has none, and a
            scope id never: no change gives a memory to somebody else.
        removed: the keys that are taken away first.
        vector: the embedding of the new text.
    """

    memory_id: str
    payload: Mapping[str, Any]
    removed: tuple[str, ...]
    vector: Sequence[float]


@dataclass(frozen=True, slots=True)
class RowChanges:
    """Changes of one owner's memories.

    Attributes:
        added: new memories, all of them the owner's.
        added_vectors: one for each of ``added``.
        patched: changes of memories that are there.
        deleted: ids of memories that go.
    """

    added: Sequence[Row] = ()
    added_vectors: Sequence[Sequence[float]] = ()
    patched: Sequence[Patch] = ()
    deleted: Sequence[str] = ()


def text_hash(text: str) -> str:
    """mem0's ``hash`` of a memory: the MD5 of its text (an identity mark in the stored format, not a safeguard)."""
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


@dataclass(slots=True)
class Question:
    """Something else the database knows, for the round trip of a read.

    Attributes:
        text: a SELECT of exactly one row, with named placeholders that no other statement has.
        params: what they stand for.
        answer: the row; None as long as nobody has answered.
    """

    text: str
    params: Mapping[str, Any]
    answer: tuple[Any, ...] | None = None


class Store(Protocol):
    """A vector store as the flow sees it. Constructors do no I/O; ``open`` and ``close`` are idempotent.

    Every method raises ``ServiceUnavailable``, ``ServiceRefused`` or ``ServiceRejected`` (part ``vector_store``) on
    failure.
    """

    @property
    def visible_after_s(self) -> float:
        """Seconds for which :meth:`scan` and :meth:`page` may still show what was deleted; 0 for most stores."""

    async def open(self) -> None:
        """Connect, and create the collection if it is not there."""

    async def close(self) -> None:
        """Give back every connection, file lock and thread."""

    async def check(self, dims: int | None) -> None:
        """One live round trip that changes no memory.

        Args:
            dims: the length of the embedder's vectors; None if it is not known, and then not compared.

        Raises:
            ServiceRejected: the collection holds vectors of another length than ``dims``; the sentence has both
                numbers.
        """

    async def collection_id(self, beside_state: bool) -> str | None:
        """What the collection is known by whatever its address is, 64 hex digits; None where the store cannot tell.

        Args:
            beside_state: the state lives in the same database: there the collection's name and schema are enough.
                Elsewhere it is a random id that is kept with the collection and goes where it goes, made by the first
                call.
        """

    async def get(self, memory_id: str, *, to_change: bool = False) -> Row | None:
        """The memory with exactly this id, whoever owns it; None for an unknown or malformed id.

        Args:
            memory_id: which.
            to_change: asked by an accepted write, which a flood of reads must not keep from being carried out.
        """

    async def get_many(self, memory_ids: Sequence[str], *, to_change: bool = False) -> list[Row]:
        """What :meth:`get` answers to each of these ids, without those that are not there; in one question where the
        store can.
        """

    async def search(
        self,
        vector: Sequence[float],
        owner: Owner,
        top_k: int,
        condition: Condition | None = None,
        *,
        enough: int | None = None,
        words: Sequence[str] = (),
        beside: Question | None = None,
    ) -> list[Row]:
        """The owner's ``top_k`` most similar memories that satisfy ``condition``, most similar first, with scores.

        Args:
            vector: what they are to be similar to.
            owner: whose.
            top_k: how many at most.
            condition: compiled filters.
            enough: with so many the store is not asked again for the rest of ``top_k``; None: it is.
            words: beginnings of words; a store that can adds some more rows, those that hold most of them.
            beside: asked in the same round trip; only a :class:`TransactionalStore` answers it.
        """

    async def page(
        self,
        owner: Owner,
        limit: int,
        offset: int = 0,
        condition: Condition | None = None,
        *,
        beside: Question | None = None,
    ) -> tuple[list[Row], int]:
        """One page of the owner's memories, newest first (``created_at``, then id), and how many there are in all.

        ``beside``: as for :meth:`search`.
        """

    async def search_batch(self, vectors: Sequence[Sequence[float]], owner: Owner, top_k: int) -> list[list[Row]]:
        """What :meth:`search` answers to each of ``vectors``, in their order; in one question where the store can."""

    async def scan(self, owner: Owner, after_id: str | None, limit: int) -> list[Row]:
        """The owner's next memories in the order of their ids; empty only when there are no more.

        For walking through all of them, however many: memories that come or go meanwhile move no other.

        Args:
            owner: whose.
            after_id: the last id of the page before; None: from the start.
            limit: most rows; a page may hold fewer and still not be the last.

        Raises:
            CannotList: this store cannot list an owner's memories reliably.
        """

    async def internal_rows(self, kinds: Sequence[str], after_id: str | None, limit: int) -> list[Row]:
        """Rows that earlier plugins kept among the memories, of everybody, in the order of their ids; no read of
        memories ever answers one.

        Args:
            kinds: values of ``internal_type``.
            after_id: the last id of the page before; None: from the start.
            limit: most rows.

        Returns:
            Empty only when there are no more, or where the store cannot be asked for them.
        """

    async def insert(self, rows: Sequence[Row], vectors: Sequence[Sequence[float]]) -> None:
        """Store new memories. A row whose id is already there is left as it is."""

    async def update(self, row: Row, vector: Sequence[float]) -> None:
        """Replace text, metadata and vector of the memory with ``row.id``; does nothing when it is gone."""

    async def delete(self, memory_ids: Sequence[str]) -> None:
        """Delete exactly these memories; unknown ids are no error."""


@runtime_checkable
class TransactionalStore(Store, Protocol):
    """A store whose changes can be part of somebody else's transaction: it is a PostgreSQL table.

    Where the queue's rows live in the same database, a plan is applied and its write finished in one transaction that
    locks the queue's row first: a worker that lost its lease changes nothing any more (true fencing).
    """

    @property
    def conninfo(self) -> str:
        """The libpq connection string of the database the memories are in; holds the password."""

    async def change_statements(
        self, owner: Owner, changes: RowChanges
    ) -> list[tuple[sql.Composed | sql.SQL, list[Any]]]:
        """The changes as statements with ``%s`` placeholders, to be sent in this order over any psycopg connection.

        Sent twice they have the effect of once: an id that is there is not added again, a memory that is gone is not
        updated. Each says itself whose memories it may touch. Parameters are plain texts, so no adapter is needed.

        Args:
            owner: whose memories may be changed; another's are left alone.
            changes: what is to be done.

        Raises:
            ServiceRejected: a row, vector or payload cannot be stored. The server would say so, too, but in the middle
                of the caller's transaction.
        """

    def send(self, cursor: Cursor[Any], statement: tuple[sql.Composed | sql.SQL, list[Any]]) -> int:
        """Send one of :meth:`change_statements` inside the caller's transaction; how many rows it changed. Blocks.

        Raises:
            ServiceError: of the vector store; the caller's transaction has failed.
        """
