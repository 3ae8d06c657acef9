"""What a write asks for, in the form it is accepted and stored in: one small class per kind, to JSON and back; and
what the caller of a write gets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self

from utils.graph.relations import Relations

if TYPE_CHECKING:
    from utils.memory.answers import ProposedChange
    from utils.state.history import Entry

# Of the form of requests and plans. A process carries out older ones, too, and leaves newer ones to newer processes.
VERSION: Final = 1
MAX_MEMORY_CHARS: Final = 20_000  # SPEC 3.1, whichever way a memory comes in; embedders take some 8,000 tokens


@dataclass(frozen=True, slots=True)
class WriteResult:
    """What the caller of a write gets.

    Attributes:
        write_id: the accepted write.
        entries: what it changed, when the caller waited for it; None when it goes on in the background.
        count: how many memories it changed.
        stored_already: memories that hold a text of the write as it is, by the text's role (``user``, ``assistant``).
        newer: memories that it would have changed, but that hold what was said after it.
        refused: how many changes that a model asked for were dropped, by reason (``answers.ModelAnswer``).
        relations: of the memories it added or replaced, where there is a graph.
    """

    write_id: str
    entries: list[Entry] | None = None
    count: int = 0
    stored_already: Mapping[str, str] = field(default_factory=dict)
    newer: Sequence[str] = ()
    refused: Mapping[str, int] = field(default_factory=dict)
    relations: Relations = field(default_factory=Relations)


@dataclass(frozen=True, slots=True)
class WriteRequest:
    """Base of the kinds; ``at`` is the ISO 8601 time of the call, ``trace`` its run id for the log."""

    kind: ClassVar[str]

    at: str
    trace: str = ""

    @property
    def said_at(self) -> str:
        """ISO 8601 time of what the write stems from."""
        return self.at

    def to_json(self) -> dict[str, Any]:
        """The request as the state store keeps it."""
        return {"v": VERSION, **asdict(self)}

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Self:
        """The inverse of :meth:`to_json`."""
        return cls(**{name: value for name, value in plain.items() if name != "v"})


@dataclass(frozen=True, slots=True)
class Add(WriteRequest):
    """Remember a message pair.

    Attributes:
        user: what the user said; may be blank when ``assistant`` is not.
        assistant: what the assistant answered.
        agent_id: the agent the memories belong to.
        metadata: stored with every memory.
        infer: let the model decide what to keep; else the texts are stored as they are.
        instructions: the caller's own words on what to keep (``custom_fact_extraction_prompt``).
    """

    kind: ClassVar[str] = "add"

    user: str = ""
    assistant: str = ""
    agent_id: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    infer: bool = True
    instructions: str | None = None

    def metadata_of(self, _answer: ProposedChange) -> Mapping[str, Any]:
        """What is stored with a memory the model asks for."""
        return self.metadata


@dataclass(frozen=True, slots=True)
class Said:
    """One turn of a conversation: ``at`` is its epoch second; a text is blank where there is none."""

    id: str
    at: int
    user: str
    assistant: str


@dataclass(frozen=True, slots=True)
class Chunk(WriteRequest):
    """Remember a part of a conversation.

    Attributes:
        agent_id: the app; the memories belong to it.
        conversation_id: whose part it is.
        said: the turns, oldest first; at least one.
        task_id: the extraction that took it, and counts what becomes of it.
    """

    kind: ClassVar[str] = "chunk"

    agent_id: str = ""
    conversation_id: str = ""
    said: Sequence[Said] = ()
    task_id: str = ""

    @property
    def said_at(self) -> str:
        """See the base: the time of the last turn."""
        return datetime.fromtimestamp(self.said[-1].at, UTC).isoformat()

    def metadata_of(self, answer: ProposedChange) -> Mapping[str, Any]:
        """What is stored with a memory the model asks for: what it is, and where it comes from."""
        source = {
            "conversation_id": self.conversation_id,
            "first_message_id": self.said[0].id,
            "last_message_id": self.said[-1].id,
        }
        metadata: dict[str, Any] = {"memory_origin": "implicit", "source": source}
        if answer.type:
            metadata["memory_subtype"] = answer.type
        if answer.date:
            metadata["date"] = answer.date
        if answer.steps:
            metadata["steps"] = list(answer.steps)
        return metadata

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Self:
        """See the base."""
        fields = {name: value for name, value in plain.items() if name not in ("v", "said")}
        return cls(**fields, said=tuple(Said(**one) for one in plain["said"]))


@dataclass(frozen=True, slots=True)
class Update(WriteRequest):
    """Replace the text of one memory; ``metadata`` is set over what it has."""

    kind: ClassVar[str] = "update"

    memory_id: str = ""
    text: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Delete(WriteRequest):
    """Delete one memory."""

    kind: ClassVar[str] = "delete"

    memory_id: str = ""


@dataclass(frozen=True, slots=True)
class DeleteAll(WriteRequest):
    """Delete all memories of the user, or of one agent's; ``purge_history`` erases their history, too."""

    kind: ClassVar[str] = "delete_all"

    agent_id: str | None = None
    purge_history: bool = False


_KINDS: dict[str, type[WriteRequest]] = {kind.kind: kind for kind in (Add, Chunk, Update, Delete, DeleteAll)}


def read(kind: str, payload: Mapping[str, Any]) -> WriteRequest:
    """The request a stored write stands for."""
    return _KINDS[kind].from_json(payload)
