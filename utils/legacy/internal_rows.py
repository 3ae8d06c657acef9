"""What the rows say that earlier plugins kept among the memories (``stores.visibility``): checkpoints of extractions,
and logs of recalls. Pure.

Each is a JSON text under ``data``, one row for a user and an app (``agent_id``). What cannot be read counts as nothing
kept: those plugins began anew then, too.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

from utils.extraction.checkpoint import ConversationCheckpoint, Resume, UserCheckpoint
from utils.extraction.intervals import NOTHING, Intervals
from utils.state.recalls import MOST_COUNTED, Recall
from utils.stores.protocol import Row
from utils.stores.values import instant, is_memory_id, is_number

CHECKPOINT: Final = "checkpoint"
ACCESS_LOG: Final = "access_log"


def kind_of(row: Row) -> str:
    """Which of the two it is, as the row says."""
    return str(row.payload.get("internal_type"))


def conversations(row: Row) -> dict[str, ConversationCheckpoint]:
    """How far each conversation was read, by its id; of a checkpoint's row.

    The range that was read ends before its end. Some versions wrote the last message's second there instead, so that
    message is named: neither it nor another of that second is read twice or left out.
    """
    kept = _mapping(_content(row).get("conversations"))
    return {str(id_): one for id_, plain in kept.items() if (one := _conversation(_mapping(plain))) is not None}


def _conversation(plain: Mapping[str, Any]) -> ConversationCheckpoint | None:
    start, end = (_second(plain.get(f"processed_range_{bound}")) for bound in ("start", "end"))
    if end is None:
        return None
    message_id = plain.get("last_processed_message_id")
    last = (end, message_id) if isinstance(message_id, str) and message_id else None
    done = NOTHING if start is None else Intervals.between(start, end)
    return ConversationCheckpoint(last=last, done=done, seen=frozenset([last] if last else []))


def user_checkpoint(row: Row) -> UserCheckpoint:
    """What a limit had left to the next run; of a checkpoint's row."""
    content = _content(row)
    cursor = content.get("resume_conversation_cursor")
    run_at, start_at = (_second(content.get(name)) for name in ("resume_run_at", "resume_start_time"))
    if not (isinstance(cursor, str) and cursor) or run_at is None or start_at is None:
        return UserCheckpoint()
    return UserCheckpoint(Intervals.between(start_at, run_at), Resume(cursor, 1, run_at, start_at))


def recalls(row: Row) -> dict[str, Recall]:
    """How often and how well each memory was found again, by its id; of an access log's row."""
    kept = {memory_id: _recall(_mapping(plain)) for memory_id, plain in _content(row).items()}
    return {memory_id: one for memory_id, one in kept.items() if one is not None and is_memory_id(memory_id)}


def _recall(plain: Mapping[str, Any]) -> Recall | None:
    count, quality, at = plain.get("recall_count"), plain.get("quality_ema"), instant(plain.get("last_recalled_at"))
    if not isinstance(count, int) or count < 1 or not isinstance(quality, int | float) or at is None:
        return None
    return Recall(
        min(max(float(quality), 0.0), 1.0) if is_number(quality) else 0.0, min(count, MOST_COUNTED), at.total_seconds()
    )


def _content(row: Row) -> Mapping[str, Any]:
    try:
        return _mapping(json.loads(row.text))
    except (ValueError, RecursionError):
        return {}


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _second(value: object) -> int | None:
    """The whole second of an ISO 8601 time."""
    moment: timedelta | None = instant(value)
    return None if moment is None else math.floor(moment.total_seconds())
