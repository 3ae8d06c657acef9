"""Recalled memories as text: the block a prompt is given, and how it is taken out again.

A workflow puts recalled memories before the user's message, and hands both to ``add_memory``, or finds both in the
conversation's history. They are no news: read as a message they would be stored once more, as if they had been said
just now, and replace what is newer. So they stand between two marks, and whatever stands between these is taken out
before a model sees it (SPEC 3.1). Pure, and linear in the length of the text.
"""

from __future__ import annotations

import re
import sys
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from utils.memory.observed import observed
from utils.text import clean, cost

if TYPE_CHECKING:
    from utils.stores.protocol import Row

OPENING: Final = "<recalled_memories>"
CLOSING: Final = "</recalled_memories>"

# Usually lines of their own; a template may put words before the one, or behind the other. Blanks around a mark are no
# part of it: a pattern that begins with them takes quadratic time for a text of blanks.
_MARK: Final = re.compile(r"<[^\S\n]?(/?)[^\S\n]?recalled_memories[^\S\n]?>", re.IGNORECASE)
_REST_OF_BLANK_LINE: Final = re.compile(r"[^\S\n]*(?:\n|\Z)")
_BLANKS: Final = " \t\r\v\f\xa0\u3000"

_TYPES: Final = ("semantic", "episodic", "procedural")
_MAX_BYTES: Final = 256 * 2**10  # some 64,000 tokens: the block is sent twice in an answer of 2 MiB (SPEC 3.1)
_UNDATED: Final = datetime.min.replace(tzinfo=UTC)
_COST_PER_TOKEN: Final = 4  # see ``utils.text.cost``


def text_for_llm(rows: Sequence[Row], max_tokens: int | None) -> str:
    """Recalled memories as a block ready for a prompt; empty when there is none, or none fits.

    Memories without a type come first, then those of each type under its name; within these the newest first, with the
    date it was said. No memory can end the block or begin a line of its own. What :func:`without_recalled` takes out is
    exactly this.

    Args:
        rows: the memories, best first: where not all fit, the best do. None is cut.
        max_tokens: the most the block may have; None: no limit but that of an answer. Counted as ``utils.text.cost``
            estimates them.
    """
    cost_left = sys.maxsize if max_tokens is None else max_tokens * _COST_PER_TOKEN
    left = [cost_left - cost(OPENING + CLOSING) - 1, _MAX_BYTES]
    lines: dict[str | None, list[tuple[datetime, str]]] = {}
    for row in rows:
        kind, time = _type(row), observed(row)
        line = _fact(row.text, time)
        added = line if kind is None or kind in lines else f"{kind}:\n{line}"
        remaining = [left[0] - cost(added) - 1, left[1] - len(added.encode()) - 1]
        if min(remaining) >= 0:
            left = remaining
            lines.setdefault(kind, []).append((time or _UNDATED, line))
    if not lines:
        return ""
    groups = [_group(kind, lines[kind]) for kind in (None, *_TYPES) if kind in lines]
    return "\n".join([OPENING, *groups, CLOSING])


def _type(row: Row) -> str | None:
    kind = row.payload.get("memory_subtype")
    return kind if kind in _TYPES else None


def _fact(text: str, time: datetime | None) -> str:
    shown = _MARK.sub(lambda mark: f"‹{mark[0][1:-1]}›", clean(text))
    indented = "\n  ".join(line for line in shown.splitlines() if line.strip())
    return f"- {indented}" if time is None else f"- [{time.date().isoformat()}] {indented}"


def _group(kind: str | None, lines: Iterable[tuple[datetime, str]]) -> str:
    facts = [line for _, line in sorted(lines, key=lambda dated: dated[0], reverse=True)]
    return "\n".join(facts if kind is None else [f"{kind}:", *facts])


def without_recalled(text: str) -> str:
    """A message without the blocks of recalled memories in it; empty when only blanks are left.

    A block within a block is a part of it. A block whose end is missing, because the text was cut, goes to the next
    block or the end of the text, if its opening mark ends a line; in a line it is taken for the user's own word. A
    closing mark without an opening one goes alone.
    """
    spans = _spans(text)
    if not spans:
        return text
    edges = [0, *(edge for span in spans for edge in span), len(text)]
    left = _joined([text[begin:end] for begin, end in zip(edges[::2], edges[1::2], strict=True)])
    return left if left.strip() else ""


def _spans(text: str) -> list[tuple[int, int]]:
    """Where the blocks stand, in order, none within another."""
    spans: list[tuple[int, int]] = []
    open_marks: list[re.Match[str]] = []
    for mark in _MARK.finditer(text):
        if not mark[1]:
            open_marks.append(mark)
        else:
            spans.append((open_marks.pop().start() if open_marks else mark.start(), mark.end()))
    closed = _outermost(spans)
    begins = [begin for begin, _ in closed]
    for mark in open_marks:
        if _REST_OF_BLANK_LINE.match(text, mark.end()):
            following = bisect_right(begins, mark.start())
            spans.append((mark.start(), begins[following] if following < len(begins) else len(text)))
    return _outermost(spans)


def _outermost(spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """The spans that are in no other. Two either lie apart or one within the other."""
    kept: list[tuple[int, int]] = []
    for begin, end in sorted(spans, key=lambda span: (span[0], -span[1])):
        if not kept or begin >= kept[-1][1]:
            kept.append((begin, end))
    return kept


def _joined(pieces: Sequence[str]) -> str:
    """What is left, without the lines that the marks stood in where nothing else did."""
    joined = [pieces[0]]
    for piece in pieces[1:]:
        before = joined[-1].rstrip(_BLANKS)
        rest = _REST_OF_BLANK_LINE.match(piece)
        if rest and (before.endswith("\n") or (not before and len(joined) == 1)):
            joined[-1] = before
            piece = piece[rest.end() :]
        if piece:
            joined.append(piece)
    return "".join(joined)
