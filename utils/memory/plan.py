"""The plan: everything one write will do, decided once and then applied any number of times with the same end.

A plan names which memory is added under which id (chosen when planning), replaced or deleted, with its text,
metadata, times and vector. It is committed to the state store before the first change, so that a crash never doubles
anything and a retry never asks a model again. Applying it twice equals applying it once: an id that is there already
is not added again, a replacement replaces with the same, a deleted memory stays deleted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, Literal, Self

from utils.graph.relations import Relation, entity_names
from utils.memory.requests import VERSION
from utils.state.history import Entry
from utils.stores.protocol import SCOPE_KEYS, Owner, Patch, Row, RowChanges, Store, TransactionalStore, text_hash
from utils.stores.vectors import packed, unpacked
from utils.text import clean

if TYPE_CHECKING:
    from psycopg import Cursor
    from psycopg.sql import SQL, Composed

# NONE: the memory stays as it is, but was said again. It is no change to tell anybody of.
Event = Literal["ADD", "UPDATE", "DELETE", "NONE"]
# mem0's keyword index text is of the old wording after an update, and rebuilt by nobody here.
_OUTDATED: Final = ("text_lemmatized",)


@dataclass(frozen=True, slots=True)
class Change:
    """One memory's change.

    Attributes:
        event: what happens to it.
        memory_id: its real id.
        text: the new text, of NONE the one it has; None when it is deleted.
        old_text: the text before; None when it is added.
        metadata: for ADD the caller's metadata, for UPDATE the keys that are set over the existing ones.
        created_at: ISO 8601 time the memory was created.
        changed_at: ISO 8601 time of this change.
        agent_id: the agent the memory belongs to, if any.
        vector: the new text's embedding, float32; None when it is deleted.
        observed_at: ISO 8601 time of the message it stems from, where that is another than ``changed_at``.
        relations: what the new text says of how things are related, for the graph.
    """

    event: Event
    memory_id: str
    text: str | None
    old_text: str | None
    metadata: Mapping[str, Any]
    created_at: str
    changed_at: str
    agent_id: str | None = None
    vector: tuple[float, ...] | None = None
    observed_at: str | None = None
    relations: tuple[Relation, ...] = ()

    @property
    def said_at(self) -> str:
        """ISO 8601 time of what the change stems from."""
        return self.observed_at or self.changed_at

    def entry(self, reason: str | None = None) -> Entry:
        """The change as the history keeps it: a memory that others wrote may hold what no state store takes.

        Args:
            reason: see ``history.Entry``.
        """
        return Entry(
            memory_id=self.memory_id,
            event=self.event,
            old_memory=_storable(self.old_text),
            new_memory=_storable(self.text),
            created_at=str(_storable(self.created_at)),
            updated_at=self.changed_at,
            is_deleted=self.event == "DELETE",
            agent_id=_storable(self.agent_id),
            reason=reason,
        )

    def to_json(self) -> dict[str, Any]:
        """The change as JSON, without its relations (:meth:`Plan.to_json`); the vector as base64 of its float32 values
        (a third of their decimal digits).
        """
        plain = {
            "event": self.event,
            "memory_id": self.memory_id,
            "text": self.text,
            "old_text": self.old_text,
            "metadata": dict(self.metadata),
            "created_at": self.created_at,
            "changed_at": self.changed_at,
            "agent_id": self.agent_id,
        }
        if self.vector is not None:
            plain["vector"] = packed(self.vector)
        if self.observed_at is not None:  # older processes read plans, too, and know no such key
            plain["observed_at"] = self.observed_at
        return plain

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Self:
        """The inverse of :meth:`to_json`, to float32 precision, which is what stores keep."""
        stored = plain.get("vector")
        vector = None if stored is None else unpacked(stored)
        return cls(**{**plain, "vector": vector})


@dataclass(frozen=True, slots=True)
class Plan:
    """What one write does to one user's memories.

    Attributes:
        changes: in the order they are made; none when there is nothing to do.
        stored_already: ids of memories that hold a text of the write as it is, by the text's role.
        newer: ids of memories that would have been replaced or deleted, but hold what was said later.
        model_calls: how often the model was asked for it.
        refused: how many changes the model asked for were dropped, by reason (``answers.ModelAnswer``).
        entities: the embedding of each entity of the changes' relations, by its name.
    """

    changes: tuple[Change, ...] = ()
    stored_already: Mapping[str, str] = field(default_factory=dict)
    newer: tuple[str, ...] = ()
    model_calls: int = 0
    refused: Mapping[str, int] = field(default_factory=dict)
    entities: Mapping[str, Sequence[float]] = field(default_factory=dict)

    @property
    def entity_names(self) -> list[str]:
        """The entities of the changes' relations, each once."""
        return entity_names(relation for change in self.changes for relation in change.relations)

    def to_json(self) -> dict[str, Any]:
        """The plan as the state store keeps it."""
        plain = {
            "v": VERSION,
            "changes": [change.to_json() for change in self.changes],
            "stored_already": dict(self.stored_already),
            "newer": list(self.newer),
            "model_calls": self.model_calls,
            "refused": dict(self.refused),
        }
        if self.entities:  # beside the changes: older processes read plans, too, and know no such key of a change
            plain["relations"] = {one.memory_id: list(one.relations) for one in self.changes if one.relations}
            plain["entities"] = {name: packed(vector) for name, vector in self.entities.items()}
        return plain

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Self:
        """The inverse of :meth:`to_json`."""
        related = {
            memory_id: tuple(Relation(*said) for said in given)
            for memory_id, given in plain.get("relations", {}).items()
        }
        changes = (Change.from_json(change) for change in plain["changes"])
        return cls(
            tuple(replace(one, relations=related.get(one.memory_id, ())) for one in changes),
            plain.get("stored_already", {}),
            tuple(plain.get("newer", ())),
            plain.get("model_calls", 0),
            plain.get("refused", {}),
            {name: unpacked(vector) for name, vector in plain.get("entities", {}).items()},
        )


def _storable(foreign: object) -> str | None:
    return None if foreign is None else clean(str(foreign))


def with_vectors(plan: Plan, vectors: Sequence[Sequence[float]]) -> Plan:
    """``plan`` with ``vectors``: in order those of its new texts, then those of its entities."""
    remaining = iter(vectors)
    changes = tuple(
        change if change.text is None else replace(change, vector=tuple(next(remaining))) for change in plan.changes
    )
    return replace(plan, changes=changes, entities=dict(zip(plan.entity_names, remaining, strict=True)))


def to_embed(plan: Plan) -> list[str]:
    """What :func:`with_vectors` wants the vectors of."""
    return [change.text for change in plan.changes if change.text is not None] + plan.entity_names


async def apply(plan: Plan, store: Store, owner: Owner, must_be_held: Callable[[], None]) -> list[Change]:
    """Make the store what the plan says. May be cut off anywhere and called again.

    Args:
        plan: a committed plan.
        store: where the memories are.
        owner: whose they are; a memory that turns out to be another's is left alone.
        must_be_held: called right before each change; raises when the change must not be made any more.

    Returns:
        The changes that were made, in the plan's order; one that found no memory to replace, or another user's, was
        not. Of a memory that was only said again there is nothing to tell.

    Raises:
        ServiceError: the store failed; some changes may have been made.
    """
    added = [change for change in plan.changes if change.event == "ADD"]
    if added:
        must_be_held()
        await store.insert([_added_row(change, owner) for change in added], [_vector(change) for change in added])
    made = [
        change
        for change in plan.changes
        if change.event == "ADD" or await _apply_to_existing(change, store, owner, must_be_held)
    ]
    return [change for change in made if change.event != "NONE"]


async def _apply_to_existing(change: Change, store: Store, owner: Owner, must_be_held: Callable[[], None]) -> bool:
    """Replace or delete one memory; whether that is done now, or was by an earlier call."""
    current = await store.get(change.memory_id, to_change=True)
    if current is not None and current.user_id != owner.user_id:
        return False
    if current is None:
        return change.event == "DELETE"
    if change.event == "NONE" and current.text != change.text:
        return False  # its vector is not that of what the memory says by now
    must_be_held()
    if change.event == "DELETE":
        await store.delete([change.memory_id])
    else:
        await store.update(_updated_row(change, current), _vector(change))
    return True


async def transaction(plan: Plan, store: TransactionalStore, owner: Owner) -> Callable[[Cursor[Any]], list[Change]]:
    """The plan as one part of a transaction: what to call with a cursor inside of it, once. It blocks.

    Arguments, result and errors as for :func:`apply`; nothing guards the changes but the transaction itself.
    """
    added = [change for change in plan.changes if change.event == "ADD"]
    rows, vectors = [_added_row(change, owner) for change in added], [_vector(change) for change in added]
    inserts = await store.change_statements(owner, RowChanges(rows, vectors))
    others = [(change, await _statements(change, store, owner)) for change in plan.changes if change.event != "ADD"]

    def send(cursor: Cursor[Any]) -> list[Change]:
        for insert in inserts:
            store.send(cursor, insert)
        made = [change for change, sent in others if sum(store.send(cursor, each) for each in sent)]
        return added + [change for change in made if change.event != "NONE"]

    return send


async def _statements(
    change: Change, store: TransactionalStore, owner: Owner
) -> list[tuple[Composed | SQL, list[Any]]]:
    """What replaces or deletes a memory."""
    if change.event == "DELETE":
        return await store.change_statements(owner, RowChanges(deleted=(change.memory_id,)))
    patch = Patch(change.memory_id, _updated_keys(change), _outdated_keys(change), _vector(change))
    return await store.change_statements(owner, RowChanges(patched=(patch,)))


def _vector(change: Change) -> tuple[float, ...]:
    if change.vector is None:
        raise ValueError("a change that stores text was planned without a vector")
    return change.vector


def _added_row(change: Change, owner: Owner) -> Row:
    text = change.text or ""
    payload: dict[str, Any] = {**change.metadata, "data": text, "hash": text_hash(text), "user_id": owner.user_id}
    if change.agent_id is not None:
        payload["agent_id"] = change.agent_id
    payload |= {"created_at": change.created_at, "updated_at": change.changed_at, "observed_at": change.said_at}
    return Row(change.memory_id, payload)


def _updated_row(change: Change, current: Row) -> Row:
    """The stored payload with the new text; everything the change does not name stays, whoever wrote it."""
    payload = {key: value for key, value in current.payload.items() if key not in _outdated_keys(change)}
    return Row(
        change.memory_id,
        {**payload, **_updated_keys(change), "created_at": current.created_at or change.created_at},
    )


def _outdated_keys(change: Change) -> tuple[str, ...]:
    return () if change.event == "NONE" else _OUTDATED


def _updated_keys(change: Change) -> dict[str, Any]:
    """The keys of a payload that an UPDATE sets, or that of a memory that was said again."""
    if change.event == "NONE":
        return {"observed_at": change.said_at}
    text = change.text or ""
    metadata = {key: value for key, value in change.metadata.items() if key not in SCOPE_KEYS}
    times = {"created_at": change.created_at, "updated_at": change.changed_at, "observed_at": change.said_at}
    return {**metadata, "data": text, "hash": text_hash(text), **times}
