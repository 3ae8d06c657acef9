"""What Dify's API says of a history, as values: conversations, turns, and pages of them. Reading its JSON is pure.

One row of messages is one turn: what the user said and what was answered. A turn that still runs looks finished, with
an empty answer; only its age tells. Times are whole seconds. Fields that are not needed are ignored, as each version
of Dify adds some; a row that lacks its id or its time makes the whole page unusable, since skipping it would lose it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from utils.errors import UnusableAnswer
from utils.extraction.checkpoint import Place
from utils.memory.recalled import without_recalled
from utils.messages import Sentence
from utils.text import clean

PAGE_ROWS: Final = 100  # the most Dify gives; a smaller page would miss messages where a second holds more than it
LONGEST_TURN_S: Final = 1_200  # Dify's APP_MAX_EXECUTION_TIME
PART: Final = "dify_api"
_LATEST: Final = 253_402_300_799  # the end of the year 9999
_THOUGHTS: Final = re.compile(r"(?:\s*+<think>.*?(?:</think>|\Z))*+", re.DOTALL)  # reasoning models begin with them


@dataclass(frozen=True, slots=True)
class Conversation:
    """A row of ``GET /conversations``; times are epoch seconds.

    ``updated_at`` moves when a turn starts and at a rename, not when a turn ends.
    """

    id: str
    created_at: int
    updated_at: int


@dataclass(frozen=True, slots=True)
class Turn:
    """A row of ``GET /messages``.

    Attributes:
        id: the message's.
        at: epoch second it was created.
        user: what the user said; blank for a turn that only brought a file.
        assistant: what was answered, without what the model thought; blank after an error or a stop.
        running: it had no answer yet; one that stays without is an old turn at some time (:meth:`may_still_run`).
    """

    id: str
    at: int
    user: str
    assistant: str
    running: bool = False

    @property
    def place(self) -> Place:
        """Where it stands in its conversation."""
        return self.at, self.id

    def may_still_run(self, now: float) -> bool:
        """Whether its answer may still come, at the epoch second ``now``."""
        return self.running and now - self.at < LONGEST_TURN_S


@dataclass(frozen=True, slots=True)
class Page[T]:
    """One answer: the rows in Dify's order.

    Attributes:
        rows: newest first for conversations; for messages oldest first, in any order inside a second.
        may_go_on: there can be rows behind these. ``has_more`` alone says "no" too early where messages share a second.
    """

    rows: tuple[T, ...]
    may_go_on: bool


def read_conversations(body: Any) -> Page[Conversation]:
    """The page in an answer to ``GET /conversations``.

    Raises:
        UnusableAnswer: it is no such page.
    """
    return _page(body, _conversation)


def read_turns(body: Any) -> Page[Turn]:
    """The page in an answer to ``GET /messages``.

    Raises:
        UnusableAnswer: it is no such page.
    """
    return _page(body, _turn)


def unusable(reason: str | Sentence) -> UnusableAnswer:
    """The error for an answer that is none of Dify's."""
    return UnusableAnswer("service_unusable", part=PART, reason=reason)


def _page[T](body: Any, read_row: Callable[[Mapping[str, Any]], T]) -> Page[T]:
    rows = body.get("data") if isinstance(body, Mapping) else None
    if not isinstance(rows, list) or not all(isinstance(row, Mapping) for row in rows):
        raise unusable(Sentence("reason_no_page", {}))
    limit = body.get("limit")
    full = len(rows) >= (limit if isinstance(limit, int) else PAGE_ROWS)
    return Page(tuple(read_row(row) for row in rows), may_go_on=bool(rows) and (full or body.get("has_more") is True))


def _conversation(row: Mapping[str, Any]) -> Conversation:
    created_at = epoch_second(row.get("created_at"))
    updated_at = created_at if row.get("updated_at") is None else epoch_second(row["updated_at"])
    return Conversation(_id(row), created_at, updated_at)


def _turn(row: Mapping[str, Any]) -> Turn:
    status, answered = row.get("status") or "normal", row.get("answer")
    answer = _text(answered)
    return Turn(
        id=_id(row),
        at=epoch_second(row.get("created_at")),
        user=_text(row.get("query")),
        assistant=clean(answer[_thoughts_end(answer) :]) if status == "normal" else "",
        running=not (isinstance(answered, str) and answered.strip()) and status != "error",
    )


def epoch_second(value: Any) -> int:
    """A time of the API in epoch seconds: as a number, or in ISO 8601 (without an offset: UTC).

    Raises:
        UnusableAnswer: it is neither.
    """
    try:
        seconds = _seconds(value)
    except (ValueError, OverflowError) as exc:
        raise unusable(Sentence("reason_no_time", {})) from exc
    if not (math.isfinite(seconds) and 0 <= seconds <= _LATEST):
        raise unusable(Sentence("reason_no_time", {}))
    return int(seconds)


def _seconds(value: Any) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, str):
        return math.nan
    if value.strip().replace(".", "", 1).isdecimal():
        return float(value)
    moment = datetime.fromisoformat(value.strip())
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _id(row: Mapping[str, Any]) -> str:
    found = row.get("id")
    if not isinstance(found, str) or not found.strip():
        raise unusable(Sentence("reason_no_id", {}))
    return found


def _thoughts_end(answer: str) -> int:
    match = _THOUGHTS.match(answer)
    return match.end() if match else 0


def _text(value: Any) -> str:
    """What was said, without what was recalled into it: that is no news (SPEC 3.1)."""
    return clean(without_recalled(value)) if isinstance(value, str) else ""
