"""What a tool answers: the envelope, its sentence, and the memories in the shape of SPEC 3.1."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from utils import messages
from utils.errors import NotFound
from utils.memory.outcomes import Accepted, Done
from utils.stores.protocol import Row

if TYPE_CHECKING:
    from utils.memory.outcomes import Backlog, Found, Page
    from utils.state.history import Entry


@dataclass(frozen=True, slots=True)
class Answer:
    """A tool's answer before it becomes messages.

    Attributes:
        results: the envelope's ``results``.
        key: name of the sentence that says what happened.
        params: the sentence's parameters.
        extra: further output variables by name (``total``, ``write_id`` ...).
        lines: what a person would want to read below the sentence.
        notes: further sentences at the end of the text, each a key and its parameters.
        status: one of SUCCESS, ERROR, TIMEOUT, OVERLOAD, NOT_FOUND.
    """

    results: Any
    key: str
    params: Mapping[str, Any] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)
    lines: Sequence[str] = ()
    notes: Sequence[tuple[str, Mapping[str, Any]]] = ()
    status: str = "SUCCESS"


def memory(row: Row) -> dict[str, Any]:
    """One memory as the tools show it, without scores."""
    return {
        "id": row.id,
        "memory": row.text,
        "metadata": row.metadata,
        "timestamp": timestamp(row),
        "user_id": row.user_id,
        "agent_id": row.agent_id,
    }


def hit(row: Row, rerank_score: float | None) -> dict[str, Any]:
    """One search result: the memory, its similarity and distance, and the reranker's score if there is one."""
    score = row.score or 0.0
    shown = {**memory(row), "score": score, "vector_distance": 1.0 - score}
    if rerank_score is not None:
        shown["rerank_score"] = rerank_score
    return shown


def timestamp(row: Row) -> str | None:
    """The later of a memory's two times, ISO 8601 in UTC; None when neither can be read."""
    times = [moment for moment in (_moment(row.created_at), _moment(row.updated_at)) if moment is not None]
    return max(times).isoformat() if times else None


def _moment(stored: str | None) -> datetime | None:
    """A stored time as an instant. mem0 wrote offsets of its own choosing over the years; a naive time is UTC."""
    if not isinstance(stored, str):
        return None
    try:
        moment = datetime.fromisoformat(stored)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def event(name: str, entry: Entry | None = None) -> list[dict[str, str]]:
    """The ``results`` of an add that changed one memory, or none."""
    if entry is None:
        return [{"id": "", "memory": "", "event": name}]
    return [{"id": entry.memory_id, "memory": entry.new_memory or entry.old_memory or "", "event": name}]


def added(outcome: Accepted | Done) -> Answer:
    """The answer to ``add_memory``."""
    extra = {"write_id": outcome.write_id}
    if isinstance(outcome, Accepted):
        return Answer(event("ACCEPT"), "result_accepted", extra=extra)
    if not outcome.entries:
        return Answer(event("NONE"), "result_add_none", extra=extra)
    changed_memories = [shown for entry in outcome.entries for shown in event(entry.event, entry)]
    lines = [f"{shown['event']}: {shown['memory']}" for shown in changed_memories]
    return Answer(changed_memories, "result_add_done", {"count": len(outcome.entries)}, extra, lines)


def changed(outcome: Accepted | Done, memory_id: str, key: str) -> Answer:
    """The answer to ``update_memory`` and ``delete_memory``; ``key`` names the sentence for the done deed.

    Raises:
        NotFound: the memory was gone by the time it was its turn.
    """
    extra = {"write_id": outcome.write_id}
    if isinstance(outcome, Accepted):
        return _told("result_accepted", extra)
    if outcome.count == 0:
        raise NotFound("error_not_found", memory_id=memory_id)
    return _told(key, extra)


def wiped(outcome: Accepted | Done) -> Answer:
    """The answer to ``delete_all_memories``; in synchronous mode with the count."""
    extra = {"write_id": outcome.write_id}
    if isinstance(outcome, Accepted):
        return _told("result_accepted", extra)
    return _told("result_deleted_all", extra, count=outcome.count)


def _told(key: str, extra: Mapping[str, Any], **params: Any) -> Answer:
    """An answer whose ``results`` hold the sentence, in English so that workflows can compare it."""
    return Answer({"message": messages.render(key, messages.DEFAULT_LANGUAGE, **params), **params}, key, params, extra)


def searched(found: Found) -> Answer:
    """The answer to ``search_memory``."""
    hits = [hit(one.row, one.rerank_score) for one in found.hits]
    lines = [f"- {shown['memory']}" for shown in hits]
    key = "result_search" if hits else "result_search_none"
    return Answer(hits, key, {"count": len(hits)}, _extra(found.backlog), lines, _notes(found.backlog))


def listed(page: Page) -> Answer:
    """The answer to ``get_all_memories``."""
    memories = [memory(row) for row in page.rows]
    lines = [f"- {shown['memory']}" for shown in memories]
    extra = {"total": page.total, **_extra(page.backlog)}
    counts = {"count": len(memories), "total": page.total}
    return Answer(memories, "result_list", counts, extra, lines, _notes(page.backlog))


def told(entries: Sequence[Entry]) -> Answer:
    """The answer to ``get_memory_history``."""
    shown = [
        {
            "event": entry.event,
            "old_memory": entry.old_memory,
            "new_memory": entry.new_memory,
            "created_at": entry.created_at,
            "updated_at": entry.updated_at,
            "is_deleted": entry.is_deleted,
        }
        for entry in entries
    ]
    lines = [f"{one['updated_at']} {one['event']}: {one['new_memory'] or one['old_memory']}" for one in shown]
    return Answer(shown, "result_history", {"count": len(shown)}, lines=lines)


def _extra(backlog: Backlog) -> dict[str, int]:
    return {"pending_writes": backlog.pending, "failed_writes": backlog.failed}


def _notes(backlog: Backlog) -> list[tuple[str, Mapping[str, Any]]]:
    """What a reader should know about writes that are not in the store."""
    notes: list[tuple[str, Mapping[str, Any]]] = []
    if backlog.pending:
        notes.append(("result_search_pending", {"pending": backlog.pending}))
    if backlog.failed:
        notes.append(("result_failed_writes", {"failed": backlog.failed}))
    return notes
