"""The JSON in what a model wrote: found under code fences, thoughts and prose, and repaired where it is faulty.

The strict decoder of the standard library reads what is sound. Only what it cannot read goes to ``json_repair``, and
only up to the last entry that is complete: of an answer that breaks off no half sentence is taken. The last JSON of
the known shape counts (an object that has ``memory``, ``facts``, ``event`` or ``text``, or a list of such), since
models write drafts before they answer. Nothing is taken from thoughts, nor from brackets in prose.

Pure. The time is bounded for any input, because lengths are: ``json_repair`` takes quadratic time for hostile text.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, Final

import json_repair

LIST_KEYS: Final = ("memory", "memories", "facts")
TEXT_KEYS: Final = ("text", "memory", "fact")

_MAX_CHARS: Final = 100_000  # far above any model's output limit for this request
# What json_repair is given. Its time grows with the square of the length, and with the depth: within these bounds
# hostile text takes it 3 s (measured; 18 s for 100,000 opening braces). 8,000 characters are 2,000 tokens, mem0's limit
# of an answer; of a longer one the entries within them are taken. A real answer has four brackets within one another.
_MAX_REPAIRED_CHARS: Final = 8_000
_MAX_REPAIRED_DEPTH: Final = 20

_THINK_TAG: Final = re.compile(r"[<\[◁](/?)(?:\w{1,20}:)?(?:think|thinking|thoughts?|reasoning)[>\]▷]", re.IGNORECASE)
_FENCE: Final = re.compile(r"```[^\S\n]*\w*\s*(.*?)(?:```|\Z)", re.DOTALL)
# Where an object or a list of objects begins: brackets, a key, a colon. Each part is bounded, so that searching stays
# linear; an unbounded run of brackets would be tried again from every bracket in it.
_OPENING: Final = re.compile(r"""(?:\[\s*){0,2}\{\s*(?:"[^"\n]{1,30}"|'[^'\n]{1,30}'|“[^”\n]{1,30}”|\w{1,30})\s*:""")
# Up to the last comma or closing bracket outside of double quotes: what stands behind it may be half an entry.
_COMPLETE: Final = re.compile(r'(?:(?:[^"\]},]|"(?:[^"\\]|\\.)*+")*+[\]},])*+', re.DOTALL)

_ADJACENT: Final = re.compile(r"\}\s*\{")


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
    if len(raw) > _MAX_CHARS:
        raise ShapeError("the answer is too long")
    text = raw.strip().removeprefix("\ufeff").strip()
    found = _whole(text) or _in_text(text)
    if found is None:
        raise ShapeError("the answer holds no complete JSON object of the shape asked for")
    return found


def has_shape(value: Any) -> bool:
    """Whether a JSON value looks like a change, a list of changes, or an object that holds one."""
    listed = value if isinstance(value, list) else [value]
    entries = [entry for part in listed for entry in (part if isinstance(part, list) else [part])]
    known = (*LIST_KEYS, *TEXT_KEYS, "event")
    return any(entry.get(key) not in (None, "") for entry in entries if isinstance(entry, dict) for key in known)


def _objects(pairs: list[tuple[str, Any]]) -> dict[str, Any] | list[dict[str, Any]]:
    """A JSON object; where a key is given twice a list of several, since ``json`` would keep the last value alone.

    Models run two memories together (``{"event": "ADD", "text": "a", "text": "b"}``) and write two ``memory`` lists.
    """
    objects: list[dict[str, Any]] = [{}]
    for key, value in pairs:
        if key in objects[-1]:
            objects.append({"event": objects[-1]["event"]} if key != "event" and "event" in objects[-1] else {})
        objects[-1][key] = value
    return objects if len(objects) > 1 else objects[0]


_DECODER: Final = json.JSONDecoder(object_pairs_hook=_objects, strict=False)  # models break lines inside of strings


def _whole(text: str) -> Found | None:
    """The value when ``text`` is JSON from end to end, or a JSON string that is."""
    try:
        value = _DECODER.decode(text)
        if isinstance(value, str):
            value = _DECODER.decode(value)
    except (ValueError, RecursionError):
        return None
    return Found((value,)) if isinstance(value, dict | list) else None


def _in_text(text: str) -> Found | None:
    """The answer among thoughts, fences and prose: in the last fence if that holds one, else anywhere."""
    spoken, unclosed_thought = _without_thoughts(text)
    for part in (*_FENCE.findall(spoken)[-1:], spoken):
        found = _whole(part.strip()) or _last_answer(part.strip())
        if found is not None:
            return found
    return _after_thought(unclosed_thought)


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
    opening = _OPENING.search(thought)
    found = _whole(thought[opening.start() :].rstrip("` \t\r\n")) if opening else None
    return found if found and has_shape(found.values[0]) else None


def _last_answer(text: str) -> Found | None:
    """The last JSON of the known shape; values that follow one another without words between are one answer."""
    answer: list[Any] = []
    end = 0
    while opening := _OPENING.search(text, end):
        begin = opening.start()
        if text[end:begin].strip(" \t\r\n,;"):
            answer.clear()
        try:
            value, end = _DECODER.raw_decode(text, begin)
        except (ValueError, RecursionError):
            return _repaired(text[begin:], answer)
        if has_shape(value):
            answer.append(value)
    if not answer and text.startswith(('["', "['")):  # a list of bare texts
        return _repaired(text, [])
    return Found(tuple(answer)) if answer else None


def _repaired(text: str, before: list[Any]) -> Found | None:
    """The values ``before``, which are sound, and the JSON that ``text`` begins with, which is faulty or breaks off."""
    match = _COMPLETE.match(text, 0, _MAX_REPAIRED_CHARS)
    complete = match[0] if match else ""
    if _is_deep(complete):
        return None
    rest = text[len(complete) :]
    in_list = text.startswith("[")
    one_per_line = not in_list and _ADJACENT.search(complete) is not None
    try:
        # Outside of a list json_repair takes objects that follow one another for drafts, and keeps only the last.
        value = json_repair.loads(f"[{complete}]" if one_per_line else complete, skip_json_loads=True)
    except (ValueError, RecursionError):
        return None
    cut = complete.endswith(",") or '"' in rest
    if in_list and isinstance(value, list) and (cut or not rest.strip()):
        return Found((*before, value), cut)  # of bare texts, too: nothing but the list was said
    values = [part for part in (value if isinstance(value, list) else [value]) if has_shape(part)]
    if one_per_line:
        return Found((*before, *values), cut) if values else None
    # Of several the last is taken for the answer, the others for drafts. It may also be one answer that fell apart.
    return Found((*before, values[-1]), cut or len(values) > 1) if values else None


def _is_deep(text: str) -> bool:
    """Whether more brackets are open at once than any answer has; those inside of strings are counted, too."""
    depth = 0
    for bracket in re.findall(r"[{}\[\]]", text):
        depth = depth + 1 if bracket in "{[" else max(depth - 1, 0)
        if depth > _MAX_REPAIRED_DEPTH:
            return True
    return False
