"""Relations between the things a user talks about, as values: cleaned, bounded, and named so that they merge.

Pure. A *relation* is what the model found beside a memory (source, relation, destination). An *edge* is a relation that
is stored: it carries the id of the memory it stems from, and the hash of what that memory said. An *entity* is one end
of an edge; two spellings that mean the same text (case, blanks, letter width, final punctuation) are one entity.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import Any, Final, NamedTuple, Self

from utils.stores.protocol import Owner
from utils.text import clean, normalized

MAX_NAME_CHARS: Final = 200  # a longer "name" is a sentence, or an attack; it is left out
MAX_RELATIONS: Final = 100  # of one answer, so that a model that runs away fills no graph


class Relation(NamedTuple):
    """What a model says of two entities, in the user's words."""

    source: str
    relation: str
    destination: str


@dataclass(frozen=True, slots=True)
class Edge:
    """One relation as it is stored.

    Attributes:
        source: the entity it starts from, as it was spelled last.
        relation: what the source is or does to the destination, in the user's words.
        destination: the entity it leads to.
        memory_id: the memory it stems from; the edge goes when that memory goes.
        agent_id: the agent of that memory, if any; entities of two agents are never one.
        text_hash: of the text of that memory (mem0's ``hash``): when it says something else, the edge is outdated.
    """

    source: str
    relation: str
    destination: str
    memory_id: str
    agent_id: str | None = None
    text_hash: str = ""

    def to_json(self) -> list[str | None]:
        """The edge as JSON, for an accepted step."""
        return list(astuple(self))

    @classmethod
    def from_json(cls, plain: Sequence[Any]) -> Self:
        """The inverse of :meth:`to_json`."""
        return cls(*plain)


def relation(source: object, said: object, destination: object) -> Relation | None:
    """A model's relation, cleaned; None when a part of it is no name (blank, too long, no text)."""
    parts = [_name(part) for part in (source, said, destination)]
    return None if None in parts else Relation(*map(str, parts))


def _name(raw: object) -> str | None:
    if not isinstance(raw, str) or len(raw) > 4 * MAX_NAME_CHARS:
        return None
    cleaned = " ".join(clean(raw).split())
    return cleaned if cleaned and len(cleaned) <= MAX_NAME_CHARS and normalized(cleaned) else None


def entity_names(relations: Iterable[Relation | Edge]) -> list[str]:
    """The entities of ``relations``, each once, in the spelling used last."""
    spelled: dict[str, str] = {}
    for one in relations:
        for end in (one.source, one.destination):
            spelled[normalized(end)] = end
    return list(spelled.values())


def owner_key(scope: str, owner: Owner) -> str:
    """What bounds every statement: one user of one vector store, as 64 hex digits.

    A digest, since a user id may have 512 characters and a graph's index keys must stay small.

    Args:
        scope: of the vector store the memories are in, and of no other in the world; many stores may share one graph.
        owner: whose; its agent does not matter.
    """
    return _digest(scope, owner.user_id)


def entity_key(scope: str, owner: Owner, entity: str) -> str:
    """The identity of an entity: the same for all spellings within one user (and agent, where one is given)."""
    return _digest(scope, owner.user_id, owner.agent_id or "", normalized(entity))


def _digest(*parts: str) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class FoundRelation:
    """A relation as it was found in the graph.

    Attributes:
        source: name of the entity it starts from.
        relation: what it says.
        destination: name of the entity it leads to.
        memory_id: the memory it stems from.
        text_hash: of what that memory said then.
        similarity: of the nearer of its two entities to the query, in 0..1; 0 where there was no query.
    """

    source: str
    relation: str
    destination: str
    memory_id: str
    text_hash: str
    similarity: float = 0.0

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Self:
        """What a statement returned."""
        return cls(
            str(record["source"]),
            str(record["relation"]),
            str(record["destination"]),
            str(record["memory_id"]),
            str(record["text_hash"]),
            min(max(float(record.get("similarity", 0.0)), 0.0), 1.0),
        )


@dataclass(frozen=True, slots=True)
class Relations:
    """What was found in the graph.

    Attributes:
        found: relations whose memories exist and say what they said, nearest to the query first.
        failed: the graph could not be asked, or has not learned of the write yet.
    """

    found: Sequence[FoundRelation] = ()
    failed: bool = False
