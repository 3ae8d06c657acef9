"""What a tool answers: the envelope, its sentence, and the memories in the shape of SPEC 3.1."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from utils import messages
from utils.errors import NotFound

if TYPE_CHECKING:
    from utils.memory.recall import Page
    from utils.memory.requests import WriteResult
    from utils.state.history import Entry
    from utils.stores.protocol import Row


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


def scored_memory(row: Row) -> dict[str, Any]:
    """One search result: the memory with its scores, each from 0 to 1; null where nobody gave one."""
    score = row.score or 0.0
    return {
        **memory(row),
        "score": score,
        "vector_distance": 1.0 - score,
        "rerank_score": row.rerank_score,
        "keyword_score": None,
    }


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


def add_answer(result: WriteResult) -> Answer:
    """The answer to ``add_memory``."""
    extra = {"write_id": result.write_id}
    if result.entries is None:
        return Answer(event("ACCEPT"), "result_accepted", extra=extra)
    if not result.entries:
        return Answer(event("NONE"), "result_add_none", extra=extra)
    changes = [shown for entry in result.entries for shown in event(entry.event, entry)]
    lines = [f"{shown['event']}: {shown['memory']}" for shown in changes]
    return Answer(changes, "result_add_done", {"count": len(changes)}, extra, lines)


def change_answer(result: WriteResult, memory_id: str, key: str) -> Answer:
    """The answer to ``update_memory`` and ``delete_memory``; ``key`` names the sentence for a change that was made.

    Raises:
        NotFound: the memory was gone by the time it was its turn.
    """
    if result.entries is None:
        return _message_answer("result_accepted", result)
    if result.count == 0:
        raise NotFound("error_not_found", memory_id=memory_id, write_id=result.write_id)
    return _message_answer(key, result)


def delete_all_answer(result: WriteResult) -> Answer:
    """The answer to ``delete_all_memories``; with the count when the caller waited for it."""
    if result.entries is None:
        return _message_answer("result_accepted", result)
    return _message_answer("result_deleted_all", result, count=result.count)


def _message_answer(key: str, result: WriteResult, **params: Any) -> Answer:
    """An answer whose ``results`` hold the sentence, in English so that workflows can compare it."""
    sentence = messages.render(key, messages.DEFAULT_LANGUAGE, **params)
    return Answer({"message": sentence, **params}, key, params, {"write_id": result.write_id})


def search_answer(page: Page) -> Answer:
    """The answer to ``search_memory``."""
    found = [scored_memory(row) for row in page.rows]
    key = "result_search" if found else "result_search_none"
    return _page_answer(page, found, key, {"count": len(found)})


def list_answer(page: Page) -> Answer:
    """The answer to ``get_all_memories``."""
    listed = [memory(row) for row in page.rows]
    return _page_answer(page, listed, "result_list", {"count": len(listed), "total": page.total})


def _page_answer(page: Page, shown: list[dict[str, Any]], key: str, counts: Mapping[str, int]) -> Answer:
    """Memories with their counts, and what a reader should know about writes that are not in the store."""
    lines = [f"- {one['memory']}" for one in shown]
    waiting = {"pending_writes": page.pending_writes, "failed_writes": page.failed_writes}
    notes: list[tuple[str, Mapping[str, Any]]] = []
    if page.pending_writes:
        notes.append(("result_search_pending", {"pending": page.pending_writes}))
    if page.failed_writes:
        notes.append(("result_failed_writes", {"failed": page.failed_writes}))
    return Answer(shown, key, counts, {**counts, **waiting}, lines, notes)


def history_answer(entries: Sequence[Entry]) -> Answer:
    """The answer to ``get_memory_history``."""
    shown = [
        {
            "memory_id": entry.memory_id,
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
