"""What a tool answers: the envelope, its sentence, and the memories in the shape of SPEC 3.1."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from utils import messages
from utils.errors import NotFound
from utils.memory.recalled import text_for_llm
from utils.messages import Sentence

if TYPE_CHECKING:
    from utils.forgetting.assessment import Assessment
    from utils.forgetting.forget import Forgotten
    from utils.forgetting.preview import Preview
    from utils.graph.relations import Relations
    from utils.memory.recall import Page
    from utils.memory.requests import WriteResult
    from utils.state.history import Entry
    from utils.stores.protocol import Row


_MOST_LINES: Final = 10  # relations in the text of a search, forgotten memories in that of a dry run
_MOST_RELATION_CHARS: Final = 2_000


@dataclass(frozen=True, slots=True)
class File:
    """A file that goes with an answer; Dify's chat shows a picture."""

    content: bytes
    mime_type: str
    filename: str


# The sentence for each reason a change that a model asked for is refused (``answers.ModelAnswer``).
_REFUSED: Final = {
    "unknown_id": "result_refused_unknown_id",
    "placeholder": "result_refused_placeholder",
    "secret": "result_refused_secret",
    "role_label": "result_refused_role_label",
    "assistant_words": "result_refused_assistant_words",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """A tool's answer before it becomes messages.

    Attributes:
        results: the envelope's ``results``.
        key: name of the sentence that says what happened.
        params: the sentence's parameters.
        extra: further output variables by name (``total``, ``write_id`` ...).
        lines: what a person would want to read below the sentence: texts, or sentences in the caller's language.
        notes: further sentences at the end of the text, each a key and its parameters.
        offset: the place of the first result among all, where the tool pages through them.
        status: one of SUCCESS, ERROR, TIMEOUT, OVERLOAD, NOT_FOUND, ACCEPTED.
        long_list: the key of a list inside ``results`` that is cut from its end when the answer is too large.
        files: sent after the text.
    """

    results: Any
    key: str
    params: Mapping[str, Any] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)
    lines: Sequence[str | Sentence] = ()
    notes: Sequence[tuple[str, Mapping[str, Any]]] = ()
    offset: int | None = None
    status: str = "SUCCESS"
    long_list: str = ""
    files: Sequence[File] = ()


def memory(row: Row) -> dict[str, Any]:
    """One memory as the tools show it, without scores. Times are ISO 8601 in UTC, null where they cannot be read."""
    times = {"created_at": _moment(row.created_at), "updated_at": _moment(row.updated_at)}
    return {**_memory_fields(row), **{name: time and time.isoformat() for name, time in times.items()}}


def _memory_fields(row: Row) -> dict[str, Any]:
    """What every tool shows of a memory."""
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
        **_memory_fields(row),
        "score": score,
        "vector_distance": 1.0 - score,
        "rerank_score": row.rerank_score,
        "keyword_score": row.keyword_score,
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


def event(name: str, memory_id: str = "", text: str = "") -> dict[str, str]:
    """One of the ``results`` of an add."""
    return {"id": memory_id, "memory": text, "event": name}


def add_answer(result: WriteResult, texts: Mapping[str, str]) -> Answer:
    """The answer to ``add_memory``; ``texts`` are those that were to be remembered, by role."""
    extra: dict[str, Any] = {"write_id": result.write_id}
    if result.entries is None:
        return Answer([event("ACCEPT")], "result_accepted", extra=extra)
    extra |= relations(result.relations, {entry.memory_id: entry.new_memory for entry in result.entries})
    changes = [
        event(entry.event, entry.memory_id, entry.new_memory or entry.old_memory or "") for entry in result.entries
    ]
    kept = [event("NONE", memory_id, texts[role]) for role, memory_id in result.stored_already.items()]
    lines = [f"{shown['event']}: {shown['memory']}" for shown in (*changes, *kept)]
    stored = ("result_stored_already", {"memory_ids": ", ".join(result.stored_already.values())})
    notes = relation_notes(result.relations, "result_relations_later")
    if result.newer:
        notes.append(("result_newer", {"memory_ids": ", ".join(result.newer)}))
    notes += [(key, {"count": result.refused[reason]}) for reason, key in _REFUSED.items() if reason in result.refused]
    if changes:
        count = {"count": len(changes)}
        return Answer([*changes, *kept], "result_add_done", count, extra, lines, [*([stored] if kept else []), *notes])
    if kept:
        return Answer(kept, *stored, extra, lines, notes)
    return Answer([event("NONE")], "result_add_none", extra=extra, notes=notes)


def change_answer(result: WriteResult, memory_id: str, key: str) -> Answer:
    """The answer to ``update_memory`` and ``delete_memory``; ``key`` names the sentence for a change that was made.

    Raises:
        NotFound: the memory was gone by the time it was its turn.
    """
    if result.entries is None:
        return _message_answer("result_accepted", result)
    if result.newer:
        return _message_answer("result_newer", result, memory_ids=memory_id)
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


def search_answer(page: Page, max_tokens: int | None) -> Answer:
    """The answer to ``search_memory``; ``max_tokens`` bounds its block for a prompt."""
    found = [{**scored_memory(row), **_retention(page, row)} for row in page.rows]
    key = "result_search" if found else "result_search_none"
    answer = _page_answer(page, found, key, {"count": len(found)})
    related = relations(page.relations, {row.id: row.text for row in page.rows})
    return replace(
        answer,
        extra={**answer.extra, **related, "text_for_llm": text_for_llm(page.rows, max_tokens)},
        notes=[*relation_notes(page.relations, "result_relations_failed"), *answer.notes],
    )


def relations(found: Relations, texts: Mapping[str, str | None]) -> dict[str, list[dict[str, Any]]]:
    """The output variable ``relations``; ``texts`` are those of the memories shown, by id."""
    shown = [
        {
            "source": one.source,
            "relation": one.relation,
            "destination": one.destination,
            "memory_id": one.memory_id,
            "memory": texts.get(one.memory_id),
        }
        for one in found.found
    ]
    return {"relations": shown}


def relation_notes(found: Relations, failed_key: str) -> list[tuple[str, Mapping[str, Any]]]:
    """The first relations as a person reads them; ``failed_key`` names the sentence for a graph that failed."""
    if found.failed:
        return [(failed_key, {})]
    lines = [f"{one.source} \u2013 {one.relation} \u2013 {one.destination}" for one in found.found[:_MOST_LINES]]
    return [("result_relations", {"relations": "; ".join(lines)[:_MOST_RELATION_CHARS]})] if lines else []


def _retention(page: Page, row: Row) -> dict[str, float]:
    """What is left of a memory, where that was asked for."""
    if page.recalls is None:
        return {}
    from utils.forgetting.assessment import assess  # here, as for everything that no plugin needs to start

    return {"retention": assess(row, page.recalls.get(row.id), time.time(), None).to_json()["retention"]}


def list_answer(page: Page, offset: int) -> Answer:
    """The answer to ``get_all_memories``, whose first memory has the place ``offset`` among all."""
    listed = [memory(row) for row in page.rows]
    counts = {"count": len(listed), "total": page.total}
    answer = _page_answer(page, listed, "result_list", counts)
    return _paged(answer, offset, page.total)


def _paged(answer: Answer, offset: int, total: int) -> Answer:
    """``answer`` with the offset that goes on where it ends; 0 when nothing is left."""
    after = offset + len(answer.results)
    extra = {**answer.extra, "next_offset": after if answer.results and after < total else 0}
    return replace(answer, extra=extra, offset=offset)


def _page_answer(page: Page, shown: list[dict[str, Any]], key: str, counts: Mapping[str, int]) -> Answer:
    """Memories with their counts, and what a reader should know about writes that are not in the store."""
    lines = [f"- {one['memory']}" for one in shown]
    waiting = {"pending_writes": page.pending_writes, "failed_writes": page.failed_writes}
    notes: list[tuple[str, Mapping[str, Any]]] = []
    if page.rerank_failure:
        notes.append((page.rerank_failure.key, page.rerank_failure.params))
    if page.pending_writes:
        notes.append(("result_search_pending", {"pending": page.pending_writes}))
    if page.failed_writes:
        notes.append(("result_failed_writes", {"failed": page.failed_writes}))
    return Answer(shown, key, counts, {**counts, **waiting}, lines, notes)


def history_answer(entries: Sequence[Entry], total: int, offset: int) -> Answer:
    """The answer to ``get_memory_history``: one page of ``total`` changes, whose first has the place ``offset``."""
    shown = [
        {
            "memory_id": entry.memory_id,
            "event": entry.event,
            "old_memory": entry.old_memory,
            "new_memory": entry.new_memory,
            "created_at": entry.created_at,
            "updated_at": entry.updated_at,
            "is_deleted": entry.is_deleted,
            "reason": entry.reason,
        }
        for entry in entries
    ]
    lines = [f"{one['updated_at']} {one['event']}: {one['new_memory'] or one['old_memory']}" for one in shown]
    answer = Answer(shown, "result_history", {"count": total}, {"total": total}, lines)
    return _paged(answer, offset, total)


_LONGEST_LINE = 120  # characters of a memory in it
_NOT_YET: Mapping[str, None] = dict.fromkeys(
    ("deleted_count", "retained_count", "checkpoints_cleaned", "locks_cleaned")
)


def forget_answer(forgotten: Forgotten) -> Answer:
    """The answer to ``forget_memories``: what was done, or that it goes on in the background."""
    counts, extra = forgotten.counts, {"task_id": forgotten.task_id}
    if counts is None:
        still = {**_NOT_YET, "dry_run": False}
        return Answer(still, "result_forget_accepted", {"task_id": forgotten.task_id}, extra, status="ACCEPTED")
    return Answer({**counts, "dry_run": False}, "result_forgotten", counts, extra)


def would_forget_answer(found: Preview, png: bytes) -> Answer:
    """The answer to a dry run of ``forget_memories``; ``png`` is the picture of it."""
    counts = {
        "deleted_count": found.deleted_count,
        "retained_count": found.retained_count,
        "checkpoints_cleaned": found.checkpoints,
        "locks_cleaned": found.leases,
    }
    would = [{"id": row.id, "memory": row.text, "retention_info": judged.to_json()} for row, judged in found.forgotten]
    return Answer(
        {**counts, "dry_run": True, "would_delete": would},
        "result_would_forget",
        counts,
        lines=_table_of_forgotten(found),
        long_list="would_delete",
        files=[File(png, "image/png", "memory-retention.png")],
    )


def _table_of_forgotten(found: Preview) -> list[str | Sentence]:
    """The first memories a dry run would delete, and why, as a Markdown table."""
    if not found.forgotten:
        return []
    rows = [_forgotten_line(row, judged) for row, judged in found.forgotten[:_MOST_LINES]]
    left = found.deleted_count - len(rows)
    more = [Sentence("result_forget_more", {"count": left})] if left else []
    return ["", Sentence("result_forget_table", {}), "|---:|---:|---:|---|---|", *rows, *more]


def _forgotten_line(row: Row, judged: Assessment) -> str:
    text = " ".join(row.text.split()).replace("|", "\\|")
    shown = text if len(text) <= _LONGEST_LINE else f"{text[:_LONGEST_LINE]}\u2026"
    age_days = judged.age_since_created_days if judged.ttl_expired else judged.age_days
    numbers = f"| {judged.retention:.1%} | {age_days:.0f} | {judged.recall_count} "
    return f"{numbers}| {judged.memory_subtype or '\u2013'}{' (TTL)' if judged.ttl_expired else ''} | {shown} |"
