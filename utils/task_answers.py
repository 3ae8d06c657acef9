"""What the tools of extraction answer. Their fields stand beside ``status`` and ``messages``, as earlier plugins had
them, and ``results`` repeats them as one object.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from utils.errors import NotFound
from utils.extraction import report
from utils.results import Answer
from utils.state.tables import COMPLETED, FAILED, QUEUED, RUNNING

if TYPE_CHECKING:
    from utils.state.checkpoints import Checkpoint
    from utils.state.tasks import TaskState, UserPart
    from utils.state.writes import WriteState

_CHECKPOINT_IDS: Final = uuid.UUID(
    "3d0f7c36-0d0a-4b53-8c4c-6a4de4f2a3f1"
)  # namespace; a checkpoint has no id of its own
# By the answer's status: the sentence, and the one for a call whose parameters were cut.
_STARTED: Final = {
    "ACCEPTED": ("result_extraction_accepted", "result_extraction_accepted_cut"),
    "SUCCESS": ("result_extraction_done", "result_extraction_done_cut"),
    "ERROR": ("result_extraction_failed", "result_extraction_failed_cut"),
}
_STATE: Final = {
    QUEUED: "result_task_queued",
    RUNNING: "result_task_running",
    COMPLETED: "result_task_completed",
    FAILED: "result_task_failed",
}
STATUS_OUTPUTS: Final[Mapping[str, Any]] = {
    "message": "",
    "task_id": "",
    "run_id": "",
    "kind": "",
    "task_status": "",
    "progress": 0.0,
    "attempts": 0,
    "started_at": "",
    "updated_at": "",
    "range_start": "",
    "range_end": "",
    "time_range_display": "",
    "duration_seconds": 0.0,
    "duration_display": "",
    "user_count": 0,
    "processed_users": 0,
    "skipped_users": 0,
    "failed_users": 0,
    "scanned_conversations": 0,
    "scanned_messages": 0,
    "processed_conversations": 0,
    "processed_messages": 0,
    "deferred_messages": 0,
    "written_memories": {},
    "llm_calls": 0,
    "error": "",
    "final_report": {},
}


def started_answer(state: TaskState, async_mode: bool, cut: Sequence[str]) -> Answer:
    """The answer to ``extract_long_term_memory``.

    Args:
        state: the task, just begun, or as it stood when the call had waited long enough.
        async_mode: the call has not waited.
        cut: the parameters that were cut to their range, each with what it became.
    """
    fields = report.start_fields(state, "async" if async_mode else "sync")
    params = {"task_id": state.id, "users": state.users, "cut": "; ".join(cut)}
    status = {COMPLETED: "SUCCESS", FAILED: "ERROR"}.get(state.status, "ACCEPTED")
    key = _STARTED[status][1 if cut else 0]
    return Answer(fields, key, params, fields, notes=report.notes(state), status=status)


def task_answer(state: TaskState, parts: Sequence[UserPart], language: str) -> Answer:
    """The answer to ``check_extraction_status`` for a task."""
    fields = report.task_fields(state, parts, language)
    params = {"task_id": state.id, "duration": fields["duration_display"], "reason": fields["error"]}
    return Answer(fields, _STATE[state.status], params, fields, notes=report.notes(state))


def write_answer(write_id: str, found: tuple[WriteState, bool] | None, language: str) -> Answer:
    """The answer to ``check_extraction_status`` for an accepted write.

    Raises:
        NotFound: there is neither a task nor a write of that id.
    """
    if found is None:
        raise NotFound("error_task_not_found", task_id=write_id)
    fields = report.write_fields(write_id, *found, language)
    key = "result_write_state_reason" if fields["error"] else "result_write_state"
    params = {"task_id": write_id, "state": fields["task_status"], "reason": fields["error"]}
    counts = fields["final_report"]
    notes = [("result_forgotten", counts)] if "deleted_count" in counts else []
    return Answer(fields, key, params, fields, notes=notes)


def checkpoint_answer(found: Checkpoint) -> Answer:
    """The answer to ``get_user_checkpoint``."""
    checkpoint_id = str(uuid.uuid5(_CHECKPOINT_IDS, f"{found.user_id}/{found.app_id}"))
    fields = report.checkpoint_fields(found, checkpoint_id)
    params = {name: fields[name] for name in ("user_id", "app_id", "conversations_count", "updated_at")}
    return Answer(fields, "result_checkpoint", params, fields)
