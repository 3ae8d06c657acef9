"""The JSON in what a model wrote: found under code fences, thoughts and prose, and repaired where it is faulty.

Which value is the answer is decided by where it stands and by its shape (an object that has ``memory``, ``facts``,
``event`` or ``text``, or a list of such): nothing is taken from a block of thoughts, nor a draft when a later answer
follows, nor a bracket in prose. Of JSON that breaks off only the entries before the break are taken.

Pure, and quick for any input: lengths, bracket depth and attempts are bounded, because repairing hostile text takes
quadratic time (measured: 18 s for 100,000 opening braces).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import json_repair

LIST_KEYS: Final = ("memory", "memories", "facts")
TEXT_KEYS: Final = ("text", "memory", "fact")

_MOST_CHARS: Final = 100_000  # far above any model's output limit for this request
_MOST_REPAIRED_CHARS: Final = 30_000
_DEEPEST: Final = 20  # brackets within brackets; a real answer has four
_CLOSING: Final = {"{": "}", "[": "]"}
_MOST_STARTS: Final = 10  # openings tried that lead nowhere

_THINK_TAG: Final = re.compile(r"[<\[◁](/?)(?:\w+:)?(?:think|thinking|thoughts?|reasoning)[>\]▷]", re.IGNORECASE)
_FENCE: Final = re.compile(r"```[^\S\n]*\w*\s*(.*?)(?:```|\Z)", re.DOTALL)
_START: Final = re.compile(r"\{(?=\s*[\"'}“\w])|\[(?=\s*[\"'{\]])")  # where JSON may begin in prose
_TOKEN: Final = re.compile(r'\\.|["{}\[\],]', re.DOTALL)


class ShapeError(ValueError):
    """The answer has no usable shape. The message says why, for the model and the log, in words of ours alone."""


@dataclass(frozen=True, slots=True)
class Found:
    """The answer's JSON values (several when the model wrote one per memory), and whether their end is missing."""

    values: tuple[Any, ...]
    cut: bool = False


def find(raw: str | None) -> Found:
    """The JSON of an answer.

    Raises:
        ShapeError: there is none of the known shape.
    """
    if raw is None or not raw.strip():
        raise ShapeError("the answer is empty")
    if len(raw) > _MOST_CHARS:
        raise ShapeError("the answer is too long")
    text = raw.strip().removeprefix("\ufeff")
    found = _whole(text)
    if found is None:
        spoken, thought = _without_thoughts(text)
        found = _in_text(spoken) or _after_thought(thought)
    if found is None:
        raise ShapeError("the answer holds no complete JSON object of the shape asked for")
    return found


def has_shape(value: Any) -> bool:
    """Whether a JSON value looks like a change, a list of changes, or an object that holds one."""
    if isinstance(value, list):
        return any(has_shape(entry) for entry in value if isinstance(entry, dict))
    return isinstance(value, dict) and any(key in value for key in (*LIST_KEYS, *TEXT_KEYS, "event"))


def _whole(text: str) -> Found | None:
    """The value when ``text``, or the one fence it consists of, is JSON from end to end."""
    text = text.strip()
    fence = _FENCE.fullmatch(text)
    value = _strict(fence[1] if fence else text)
    if isinstance(value, str):  # JSON within a JSON string
        value = _strict(value)
    return Found((value,)) if isinstance(value, dict | list) else None


def _strict(text: str) -> Any:
    try:
        return json.loads(text, strict=False)
    except (ValueError, RecursionError):
        return None


def _without_thoughts(text: str) -> tuple[str, str]:
    """What is said outside of thinking blocks, and what follows a thinking tag that is never closed.

    A closing tag without an opening one ends thoughts that began before the answer did: everything before it goes.
    """
    spoken: list[str] = []
    depth = position = 0
    for tag in _THINK_TAG.finditer(text):
        if not tag[1]:
            if depth == 0:
                spoken.append(text[position : tag.start()])
            depth += 1
        elif depth == 0:
            spoken.clear()
        else:
            depth -= 1
        position = tag.end()
    rest = text[position:]
    return ("\n".join(spoken), rest) if depth else ("\n".join([*spoken, rest]), "")


def _after_thought(thought: str) -> Found | None:
    """An answer behind thoughts that were never closed.

    Only the first JSON in them, and only if it is sound and ends the text: anything else may be a draft.
    """
    start = _START.search(thought)
    found = _whole(thought[start.start() :].rstrip().removesuffix("```")) if start else None
    return found if found and has_shape(found.values[0]) else None


def _in_text(text: str) -> Found | None:
    """The answer in a text with fences, prose, drafts or faulty JSON: in the last fence that has one, else the last."""
    fences = [fence[1].strip() for fence in _FENCE.finditer(text)]
    for part in (*reversed(fences), text.strip()):
        found = _whole(part) or _last_answer(part)
        if found is not None:
            return found
    return None


@dataclass(frozen=True, slots=True)
class _Piece:
    """A JSON value of the known shape, where it stands in its text, and whether its end is missing."""

    value: Any
    begin: int
    end: int
    cut: bool


def _last_answer(text: str) -> Found | None:
    """The last JSON of the known shape; values that follow one another without words between are one answer."""
    run: list[_Piece] = []
    for piece in _pieces(text):
        if run and text[run[-1].end : piece.begin].strip(" \t\r\n,;"):
            run.clear()
        run.append(piece)
    return Found(tuple(piece.value for piece in run), any(piece.cut for piece in run)) if run else None


def _pieces(text: str) -> Iterator[_Piece]:
    """Every JSON value of the known shape, repaired where needed; one that breaks off up to its last sound entry."""
    position = failures = 0
    while failures < _MOST_STARTS and (start := _START.search(text, position)):
        begin = start.start()
        end, missing = _extent(text, begin)
        value = _repaired(text[begin:end] + missing)
        alone = begin == 0 and (bool(missing) or end == len(text))
        if has_shape(value) or (alone and isinstance(value, list)):
            yield _Piece(value, begin, end, cut=bool(missing and text[end:].strip()))
            position = len(text) if missing else end
        elif missing:
            position, failures = begin + 1, failures + 1
        else:
            position = end


def _extent(text: str, begin: int) -> tuple[int, str]:
    """Where the bracket at ``begin`` is closed; if it never is, the end of the last sound list entry in it.

    Returns:
        That end, and the closing brackets that are missing there.

    Raises:
        ShapeError: brackets deeper than any answer has.
    """
    last = len(text.rstrip())
    open_brackets = ""
    in_string = False
    sound, missing = begin, "}"
    for token in _TOKEN.finditer(text, begin):
        mark = token[0]
        if mark == '"':
            in_string = not in_string
        elif in_string or mark[0] == "\\":
            continue
        elif mark in _CLOSING:
            open_brackets += mark
            if len(open_brackets) > _DEEPEST:
                raise ShapeError("the answer's brackets are nested too deeply")
        elif mark == ",":
            if open_brackets[-1] == "[":
                sound, missing = token.start(), _closed(open_brackets)
        else:
            open_brackets = open_brackets[:-1]
            if not open_brackets:
                return token.end(), ""
            if open_brackets[-1] == "[" or token.end() == last:
                sound, missing = token.end(), _closed(open_brackets)
    return sound, missing


def _closed(open_brackets: str) -> str:
    return "".join(_CLOSING[bracket] for bracket in reversed(open_brackets))


def _repaired(text: str) -> Any:
    value = _strict(text)
    if value is not None or len(text) > _MOST_REPAIRED_CHARS:
        return value
    try:
        return json_repair.loads(text, skip_json_loads=True)
    except (ValueError, RecursionError):
        return None
