"""What one answer may weigh: Dify's daemon kills a plugin that prints a line of 5 MiB.

An answer goes out several times: results in the JSON message and in their variable, texts also in the text message.
:func:`fit` keeps all of it together below :data:`BUDGET_BYTES`. Results are left out from the end, and that is said;
counts are never cut.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import zip_longest
from typing import Any, Final

from pydantic import TypeAdapter

from utils.memory.requests import MAX_MEMORY_CHARS
from utils.messages import Sentence
from utils.results import Answer

BUDGET_BYTES: Final = 2 * 2**20  # SPEC 3.1; the daemon's limit is 5 MiB for one line
_ANYTHING: Final = TypeAdapter(Any)
_RESERVED_BYTES: Final = 32 * 2**10  # the sentence, the counts, and what the SDK puts around each message
_TIMES_SENT: Final = 2  # in the JSON message and in a variable
_BASE64: Final = 2  # bytes sent for one of a file: base64's 4/3, and what the SDK puts around each piece of it
_LARGEST_RELATIONS_BYTES: Final = 256 * 2**10  # so that they leave most of the answer to the memories
_LARGEST_FIELD_BYTES: Final = 128 * 2**10  # of a single result that is cut; the texts of ours are smaller


def fit(answer: Answer) -> Answer:
    """``answer`` if it is within the budget, else the beginning of it that is, marked as truncated.

    A first result that is alone too large is shown with its texts cut to the length of a memory, so that whoever pages
    through a user's memories gets past it.
    """
    if answer.long_list:
        return _fit_long_list(answer)
    answer = _with_fewer_relations(answer)
    results = answer.results if isinstance(answer.results, list) else [answer.results]
    left, kept = BUDGET_BYTES - _RESERVED_BYTES - _TIMES_SENT * _size(answer.extra), 0
    for result, line in zip_longest(results, answer.lines[: len(results)], fillvalue=""):
        left -= _TIMES_SENT * _size(result) + _size(str(line))
        if left < 0:  # the rest is not even looked at: it may be a hundred times the budget
            break
        kept += 1
    else:
        return answer
    if kept == 0:
        return _truncated(answer, [_cut(results[0])], [str(line)[:MAX_MEMORY_CHARS] for line in answer.lines[:1]])
    return _truncated(answer, results[:kept], answer.lines[:kept])


def _with_fewer_relations(answer: Answer) -> Answer:
    """``answer`` with as many of its relations as have room beside the memories; the last ones go."""
    relations, left = answer.extra.get("relations", ()), _LARGEST_RELATIONS_BYTES
    for kept, relation in enumerate(relations):
        left -= _size(relation)
        if left < 0:
            return replace(answer, extra={**answer.extra, "relations": relations[:kept], "truncated": True})
    return answer


def _fit_long_list(answer: Answer) -> Answer:
    """``answer`` with as much of the list inside its results as there is room for beside everything else."""
    items = answer.results[answer.long_list]
    others = {name: value for name, value in answer.results.items() if name != answer.long_list}
    left = BUDGET_BYTES - _RESERVED_BYTES - _TIMES_SENT * (_size(answer.extra) + _size(others))
    left -= sum(_size(str(line)) for line in answer.lines)
    left -= sum(_BASE64 * len(file.content) for file in answer.files)
    for kept, item in enumerate(items):
        left -= _TIMES_SENT * _size(item)
        if left < 0:
            extra = {**answer.extra, "truncated": True}
            notes = [*answer.notes, ("result_truncated", {"left_out": len(items) - kept})]
            return replace(answer, results={**others, answer.long_list: items[:kept]}, notes=notes, extra=extra)
    return answer


def _truncated(answer: Answer, results: list[Any], lines: Sequence[str | Sentence]) -> Answer:
    extra = {**answer.extra, "truncated": True}
    left_out = 0
    if isinstance(answer.results, list):
        left_out = len(answer.results) - len(results)
    if left_out and answer.offset is not None:
        extra["next_offset"] = answer.offset + len(results)
    notes = [*answer.notes, ("result_truncated", {"left_out": left_out})]
    shown = results if isinstance(answer.results, list) else results[0]
    return replace(answer, results=shown, lines=lines, notes=notes, extra=extra)


def _cut(result: Mapping[str, Any]) -> dict[str, Any]:
    """``result`` with its texts cut to the length of a memory, and emptied of what is too large besides."""
    cut: dict[str, Any] = {}
    for name, value in result.items():
        shorter = value[:MAX_MEMORY_CHARS] if isinstance(value, str) else value
        cut[name] = type(shorter)() if _size(shorter) > _LARGEST_FIELD_BYTES else shorter
    return cut


def _size(value: Any) -> int:
    """Bytes of ``value`` as the SDK writes it, which is by pydantic.

    Raises:
        PydanticSerializationError: the SDK could not write it either (half of a surrogate pair).
    """
    return len(_ANYTHING.dump_json(value))
