"""Reads what the plugin asks: the stored memories, the messages and their time, wherever they stand in the prompt.

Only the shapes that the plugin promises are relied on: a JSON array of ``{"id", "text"}``, lines that begin with
``user: `` or ``assistant: `` (a ``[time] `` may stand before), the word ``episodic`` in a conversation's request.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Final

_MESSAGE: Final = re.compile(r"^(?:\[(?P<time>[^\]\n]*)\][ \t]*)?(?P<role>user|assistant):[ \t]?(?P<text>.*)$")
_END_OF_MESSAGE: Final = re.compile(r"^(?:$|<|#|```|\[|\{)")
_DATE: Final = re.compile(r"(?<!\d)\d{4}-\d{2}-\d{2}(?!\d)")
_TIME_LINE: Final = re.compile(r"^[^\n\[{]*\b(?:time|date|today|now)\b.*$", re.IGNORECASE | re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Memory:
    """A stored memory as the prompt shows it, under its short id."""

    id: str
    text: str


@dataclass(frozen=True, slots=True)
class Message:
    """One message of the user, with the day it was written."""

    text: str
    day: date


@dataclass(frozen=True, slots=True)
class Prompt:
    """What one request is about.

    Attributes:
        conversation: a chunk of a conversation, not one added message: the answer gives types.
        relations: the request has a graph to fill.
    """

    memories: tuple[Memory, ...]
    messages: tuple[Message, ...]
    conversation: bool
    relations: bool


def read(messages: Sequence[object]) -> Prompt:
    """Read the ``messages`` of a chat completion request; whatever cannot be made out is taken as not there."""
    everything = "\n".join(_text_of(message) for message in messages)
    data = "\n".join(_text_of(message) for message in messages if _role_of(message) == "user") or everything
    return Prompt(
        memories=_memories(data) or _memories(everything),
        messages=tuple(_user_messages(data)),
        conversation="episodic" in everything,
        relations='"relations"' in everything,
    )


def _role_of(message: object) -> object:
    return message.get("role") if isinstance(message, dict) else None


def _text_of(message: object) -> str:
    content = message.get("content") if isinstance(message, dict) else None
    if isinstance(content, list):
        return "\n".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else ""


def _memories(text: str) -> tuple[Memory, ...]:
    """The first JSON array of objects with ``id`` and ``text``; with an ``event`` too it is an example of an answer."""
    decoder = json.JSONDecoder()
    start = text.find("[")
    while start >= 0:
        try:
            found, _ = decoder.raw_decode(text, start)
        except ValueError:
            found = None
        if isinstance(found, list) and found and all(_is_memory(item) for item in found):
            return tuple(Memory(str(item["id"]), str(item["text"])) for item in found)
        start = text.find("[", start + 1)
    return ()


def _is_memory(item: object) -> bool:
    return isinstance(item, dict) and "id" in item and "text" in item and "event" not in item


def _user_messages(text: str) -> list[Message]:
    """The user's messages; one of several lines goes on, indented or not, until an empty line or markup."""
    labelled = "\n".join(_TIME_LINE.findall(text))
    default_day = _day_in(labelled) or _day_in(text) or datetime.now(UTC).date()
    found: list[tuple[str, list[str], date]] = []
    inside = False
    for line in text.splitlines():
        if match := _MESSAGE.match(line):
            found.append((match["role"], [match["text"]], _day_in(match["time"] or "") or default_day))
            inside = True
        elif _END_OF_MESSAGE.match(line):
            inside = False
        elif inside:
            found[-1][1].append(line.removeprefix("  "))
    return [Message("\n".join(lines).strip(), day) for role, lines, day in found if role == "user"]


def _day_in(text: str) -> date | None:
    for match in _DATE.finditer(text):
        with contextlib.suppress(ValueError):
            return date.fromisoformat(match.group())
    return None
