"""How an extraction stands, in the fields and words of the tools (SPEC 3.1). Pure: the time comes with the state."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any, Final

from utils.errors import PluginError, stored_sentence
from utils.extraction.checkpoint import ConversationCheckpoint, UserCheckpoint
from utils.extraction.request import ExtractionRequest
from utils.state.checkpoints import Checkpoint
from utils.state.tables import COMPLETED, DONE, FAILED, PENDING, QUEUED, RUNNING, SKIPPED
from utils.state.tasks import Counts, TaskState, UserPart
from utils.state.writes import WriteState

type Notes = list[tuple[str, Mapping[str, Any]]]

_BAR_CELLS: Final = 20
_MOST_BYTES: Final = 200_000  # of ``per_user``, which is sent four times (results and variable, each in two messages)
_MOST_NOTES: Final = 100  # errors, and warnings, of one user: some 100,000 bytes in any language
_MOST_CONVERSATIONS: Final = 1_000  # of a checkpoint, which is sent as often; some 230,000 bytes
_USER_STATUS: Final = {
    COMPLETED: "SUCCESS",
    FAILED: "FAILED",
    SKIPPED: "SKIPPED",
    QUEUED: "WAITING",
    RUNNING: "RUNNING",
}
_OUT_OF_TIME: Final = "time_budget_exceeded"


def local_time(epoch_s: float | None) -> str:
    """ISO 8601 with the offset of this place; empty where there is no time."""
    return "" if epoch_s is None else datetime.fromtimestamp(epoch_s).astimezone().isoformat(timespec="seconds")


def clock_display(seconds: float) -> str:
    """``mm:ss``, or ``hh:mm:ss`` from an hour on."""
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours:02}:{minute:02}:{second:02}" if hours else f"{minute:02}:{second:02}"


def progress_bar(share: float) -> str:
    """A bar of twenty cells."""
    full = int(share * _BAR_CELLS)
    return "█" * full + "░" * (_BAR_CELLS - full)


def start_fields(state: TaskState, mode: str) -> dict[str, Any]:
    """What ``extract_long_term_memory`` answers."""
    return {
        "task_id": state.id,
        "run_id": state.run_id,
        "user_count": state.users,
        "start_time": local_time(state.request["start"]),
        "end_time": local_time(state.request["end"]),
        "mode": mode,
    }


def task_fields(state: TaskState, parts: Sequence[UserPart], language: str) -> dict[str, Any]:
    """What ``check_extraction_status`` answers of an extraction.

    Args:
        state: the task.
        parts: of its users, failed ones first.
        language: of the sentences in it.
    """
    request = ExtractionRequest.from_json(state.request)
    start, end = local_time(request.start), local_time(request.end)
    ended = state.status in (COMPLETED, FAILED)
    return {
        "task_id": state.id,
        "run_id": state.run_id,
        "kind": state.kind,
        "task_status": state.status,
        "progress": progress(state),
        "started_at": local_time(state.started_at),
        "updated_at": local_time(state.updated_at),
        "range_start": start,
        "range_end": end,
        "time_range_display": f"{start[:10]} -> {end[:10]}",
        "duration_seconds": round(duration_s(state), 1),
        "duration_display": clock_display(duration_s(state)),
        "user_count": state.users,
        **_summary(state),
        "error": _error(state, language),
        "final_report": _final_report(state, parts, request, language) if ended else {},
    }


def write_fields(write_id: str, state: WriteState, in_work: bool, language: str) -> dict[str, Any]:
    """What ``check_extraction_status`` answers of an accepted write; ``final_report`` has the counts of its result."""
    status = {DONE: COMPLETED, PENDING: RUNNING if in_work else QUEUED}.get(state.status, state.status)
    return {
        "task_id": write_id,
        "kind": state.kind,
        "task_status": status,
        "attempts": state.attempts,
        "started_at": local_time(state.created_at),
        "updated_at": local_time(state.finished_at or state.created_at),
        "error": stored_sentence(state.error, language) if state.error else "",
        "final_report": {name: count for name, count in (state.result or {}).items() if isinstance(count, int)},
    }


def progress(state: TaskState) -> float:
    """The share of the users whose part has ended, 0 to 1."""
    if state.status == COMPLETED:
        return 1.0
    return round(_ended_users(state) / state.users, 2) if state.users else 0.0


def _ended_users(state: TaskState) -> int:
    return sum(state.users_by_status.get(status, 0) for status in (COMPLETED, FAILED, SKIPPED))


def duration_s(state: TaskState) -> float:
    """Seconds the task has taken so far, or took in all."""
    end = state.finished_at if state.finished_at is not None else state.now
    return max(0.0, end - (state.started_at or state.created_at))


def notes(state: TaskState) -> Notes:
    """What the text says below its first sentence: a bar, the counts, and while it runs the rate and the time left."""
    share = progress(state)
    said: Notes = [("extraction_bar", {"bar": progress_bar(share), "percent": f"{share:.0%}"})]
    said.append(("extraction_counts", {**_flat(state), "users": state.users}))
    ended, took_s = _ended_users(state), duration_s(state)
    if state.status == RUNNING and ended and took_s:
        rate = ended / took_s
        left = clock_display((state.users - ended) / rate)
        said.append(("extraction_rate", {"rate": f"{rate * 60:.1f}", "left": left}))
    return said


def _flat(state: TaskState) -> dict[str, Any]:
    counts = state.counts
    return {
        "ended": _ended_users(state),
        "messages": counts.processed_messages,
        "deferred": counts.deferred_messages,
        "memories": counts.semantic + counts.episodic + counts.procedural,
        "calls": counts.llm_calls,
    }


def _summary(state: TaskState) -> dict[str, Any]:
    by_status = state.users_by_status
    return {
        "processed_users": by_status.get(COMPLETED, 0),
        "skipped_users": by_status.get(SKIPPED, 0),
        "failed_users": by_status.get(FAILED, 0),
        **_counts(state.counts),
        "written_memories": _written(state.counts),
    }


def _counts(counts: Counts) -> dict[str, int]:
    return {name: number for name, number in asdict(counts).items() if name not in _written(counts)}


def _written(counts: Counts) -> dict[str, int]:
    return {"semantic": counts.semantic, "episodic": counts.episodic, "procedural": counts.procedural}


def _error(state: TaskState, language: str) -> str:
    if state.abandoned:
        return PluginError("error_task_abandoned").sentence(language)
    return stored_sentence(state.error, language) if state.error else ""


def _final_report(
    state: TaskState, parts: Sequence[UserPart], request: ExtractionRequest, language: str
) -> dict[str, Any]:
    return {
        "status": _report_status(state, parts),
        "run_id": state.run_id,
        "start_time": local_time(request.start),
        "end_time": local_time(request.end),
        "app_id": request.app_id,
        "user_count": state.users,
        "summary": _summary(state),
        "per_user": _fitting([_user(part, language) for part in parts]),
    }


def _report_status(state: TaskState, parts: Sequence[UserPart]) -> str:
    completed = state.users_by_status.get(COMPLETED, 0)
    if state.status == FAILED or (not completed and state.users_by_status.get(FAILED)):
        return "FAILED"
    whole = completed == state.users and not any(part.reason == _OUT_OF_TIME for part in parts)
    return "SUCCESS" if whole else "PARTIAL_SUCCESS"


def _user(part: UserPart, language: str) -> dict[str, Any]:
    said = part.notes or {}
    errors, warnings = said.get("errors", ())[:_MOST_NOTES], said.get("warnings", ())[:_MOST_NOTES]
    return {
        "user_id": part.user_id,
        "status": _USER_STATUS[part.status],
        "skipped": part.status == SKIPPED,
        "reason": part.reason,
        "lock_holder": part.lock_holder,
        "errors": [{**error, "message": stored_sentence(error["message"], language)} for error in errors],
        "warnings": [stored_sentence(warning, language) for warning in warnings],
        "counts": _counts(part.counts),
        "written_memories": _written(part.counts),
    }


def _fitting(users: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """As many of the users as an answer has room for; the counts beside them are those of all."""
    left = _MOST_BYTES
    for number, user in enumerate(users):
        left -= len(json.dumps(user, ensure_ascii=False).encode())
        if left < 0:
            return users[:number]
    return users


def checkpoint_fields(found: Checkpoint, checkpoint_id: str) -> dict[str, Any]:
    """What ``get_user_checkpoint`` answers; of a great many conversations those read for the latest days."""
    user = UserCheckpoint.from_json(found.state) if found.state else UserCheckpoint()
    conversations = {id_: ConversationCheckpoint.from_json(state) for id_, state in found.conversations.items()}
    latest = sorted(conversations, key=lambda id_: conversations[id_].last or (0, ""), reverse=True)
    resume = user.resume
    return {
        "user_id": found.user_id,
        "app_id": found.app_id,
        "checkpoint_id": checkpoint_id,
        "checkpoint": {
            "conversations": {id_: _conversation(conversations[id_]) for id_ in latest[:_MOST_CONVERSATIONS]},
            "resume_conversation_cursor": resume.conversation_id if resume else None,
            "resume_run_at": local_time(resume.run_at) if resume else None,
            "resume_start_time": local_time(resume.start_at) if resume else None,
        },
        "conversations_count": len(conversations),
        "updated_at": local_time(found.updated_at),
    }


def _conversation(one: ConversationCheckpoint) -> dict[str, Any]:
    return {
        "last_processed_message_id": one.last_processed_message_id,
        "processed_range_start": local_time(one.done.start) if one.done else "",
        "processed_range_end": local_time(one.done.end) if one.done else "",
        "deferred_messages": one.deferred_messages,
    }
