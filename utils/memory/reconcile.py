"""The model's answer as a plan for real memories: which are added, replaced, deleted, or only said again. Pure.

A text that is stored already changes nothing but the time the memory was last said, and nothing changes a memory that
holds what was said later. So facts end with what was said last, in whatever order their writes come (SPEC 5).
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from utils.memory.observed import is_earlier, time_of_change
from utils.memory.plan import Change, Plan
from utils.memory.requests import MAX_MEMORY_CHARS, Add, Chunk, Update
from utils.stores.protocol import Row
from utils.text import normalized

if TYPE_CHECKING:
    from utils.memory.answers import ProposedChange

_log = logging.getLogger(__name__)

_IDS: Final = uuid.UUID("6f2c1a52-6f0e-4d52-9a37-5d1f3c0f7d10")  # namespace of memory ids derived from a write


@dataclass(frozen=True, slots=True)
class Candidate:
    """A stored memory that the model was shown.

    Attributes:
        row: the memory.
        cut: the model saw its beginning alone. A new text for it is added beside it: as a replacement it would drop
            what the model has not seen.
        unrelated: the text that the model would put in its place has nothing to do with it (``related``).
        repeated: the messages say it word for word.
    """

    row: Row
    cut: bool = False
    unrelated: bool = False
    repeated: bool = False


def reconcile(
    answered: Iterable[ProposedChange],
    offered: Mapping[str, Candidate],
    request: Add | Chunk,
    write_id: str,
    now: datetime,
) -> Plan:
    """The plan an answer stands for, still without vectors.

    Args:
        answered: cleaned and validated (``answers.read``), at most one change per memory.
        offered: what the model was shown, by the short id it saw.
        request: the write, for its time, metadata and agent.
        write_id: the write's id; the ids of added memories derive from it.
        now: aware; see ``time_of_change``.
    """
    changes: dict[str, Change] = {}  # by memory id
    newer: list[str] = []
    stored = {normalized(one.row.text): one.row for one in offered.values()}
    again = {one.row.id: one.row for one in offered.values() if one.repeated}
    for answer in answered:
        same = None if answer.event == "DELETE" else stored.get(normalized(answer.text))
        if same is not None:
            again[same.id] = same
            continue
        candidate = offered.get(answer.memory or "")
        if candidate is None and answer.event == "DELETE":
            continue
        change = _change(answer, candidate, request, write_id, now)
        if change is not None:
            relations = () if change.event == "DELETE" else answer.relations
            changes.setdefault(change.memory_id, replace(change, relations=relations))
        elif candidate is not None:
            newer.append(candidate.row.id)
    confirmed = [confirmation(row, request) for row in again.values() if row.id not in changes]
    return Plan((*changes.values(), *(one for one in confirmed if one is not None)), newer=tuple(newer))


def _change(
    answer: ProposedChange, candidate: Candidate | None, request: Add | Chunk, write_id: str, now: datetime
) -> Change | None:
    """What one entry of the answer does; None when its memory holds what was said later."""
    metadata = request.metadata_of(answer)
    if candidate is None:
        return addition(new_id(write_id, answer.text), answer.text, request, metadata)
    row = candidate.row
    if answer.event == "UPDATE" and candidate.unrelated:
        # Before the times are compared: what has nothing to do with a memory is no older version of it either.
        _log.warning("a new text has nothing to do with memory %s; it is added beside it", row.id)
        return addition(new_id(write_id, answer.text), answer.text, request, metadata)
    time = time_of_change(row, request.said_at, now)
    if time is None:
        return None
    if answer.event == "DELETE":
        return deletion(row, request.at, time)
    if candidate.cut:
        return addition(new_id(write_id, answer.text), answer.text, request, metadata)
    return replacement(row, answer.text, request, time, metadata)


def new_id(write_id: str, text: str) -> str:
    """The id of a memory that a write adds: whenever the write is planned anew the same for a text, and another for
    another. A plan that was applied in part may be followed by a new one, and an id that is there is not added again.
    """
    return str(uuid.uuid5(_IDS, f"{write_id}/{text}"))


def addition(memory_id: str, text: str, request: Add | Chunk, metadata: Mapping[str, Any]) -> Change:
    """The change that adds ``text``."""
    # An UPDATE that is added after all came without a type, and every memory of a conversation has one (SPEC 5).
    typed = {"memory_subtype": "semantic", **metadata} if isinstance(request, Chunk) else dict(metadata)
    return Change(
        "ADD",
        memory_id,
        text[:MAX_MEMORY_CHARS],
        None,
        typed,
        request.at,
        request.at,
        request.agent_id,
        observed_at=_unless_same(request.said_at, request.at),
    )


def replacement(
    row: Row, text: str, request: Add | Chunk | Update, said_at: str | None, metadata: Mapping[str, Any]
) -> Change:
    """The change that puts ``text``, said at the ISO 8601 time ``said_at``, in the place of what ``row`` says."""
    created_at = row.created_at or request.at
    return Change(
        "UPDATE",
        row.id,
        text[:MAX_MEMORY_CHARS],
        row.text,
        dict(metadata),
        created_at,
        request.at,
        row.agent_id,
        observed_at=_unless_same(said_at, request.at),
    )


def deletion(row: Row, at: str, said_at: str | None = None) -> Change:
    """The change that deletes ``row`` at the ISO 8601 time ``at``, for what was said at ``said_at`` if not then."""
    observed_at = _unless_same(said_at, at)
    return Change("DELETE", row.id, None, row.text, {}, row.created_at or at, at, row.agent_id, observed_at=observed_at)


def confirmation(row: Row, request: Add | Chunk) -> Change | None:
    """The change that keeps when ``row`` was said again, so that what was said in between and comes late does not
    replace it; None when it was said then, or later.
    """
    if not is_earlier(row, request.said_at):
        return None
    created_at, observed_at = row.created_at or request.at, _unless_same(request.said_at, request.at)
    return Change("NONE", row.id, row.text, row.text, {}, created_at, request.at, row.agent_id, observed_at=observed_at)


def _unless_same(said_at: str | None, changed_at: str) -> str | None:
    return None if said_at == changed_at else said_at
