"""The one door to the model: a question, an answer that is read and checked, and one more try when it is unusable."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from utils.aio.blocking import run_blocking, run_in_executor
from utils.errors import UnusableAnswer
from utils.memory.answers import ModelAnswer, ShapeError, read
from utils.memory.prompts import Offered, Turn, corrected
from utils.memory.refusals import checked

if TYPE_CHECKING:
    from utils.models.chat import ChatModel

_log = logging.getLogger(__name__)


async def ask(
    model: ChatModel,
    messages: list[dict[str, str]],
    turns: Sequence[Turn],
    offered: Sequence[Offered],
    *,
    with_types: bool = False,
    with_relations: bool = False,
) -> ModelAnswer:
    """Ask the model what to change, and once more with what was wrong when its answer cannot be used in full.

    An answer that breaks off is not asked for again when a part of it can be used: it has reached the most the model
    may write, and the next would, too. Of two answers with faults the one that holds more counts.

    Args:
        model: whom to ask.
        messages: from ``prompts``, made of ``turns`` and ``offered``.
        turns: what was said.
        offered: the memories shown.
        with_types: the answer carries types, dates and steps (a conversation's does).
        with_relations: it carries relations, for a graph.

    Returns:
        The changes, none when nothing is worth keeping; and how many were refused, by reason.

    Raises:
        UnusableAnswer: neither answer was usable. An empty list never stands for that.
        ServiceError: the model could not be asked.
    """
    ids = {memory.short_id for memory in offered}

    def understood(raw: str) -> ModelAnswer | ShapeError:
        try:
            answer = read(raw, ids, with_types, with_relations)
        except ShapeError as exc:
            return exc
        changes, refused = checked(answer.changes, turns, offered)
        return replace(answer, changes=changes, refused=Counter(answer.refused) + Counter(refused))

    raw = await run_in_executor(model.generate, messages)
    # Off the loop: repairing a hostile answer takes seconds, and every other user would wait for them.
    first = await run_blocking(understood, raw)
    problem = _problem(first)
    if isinstance(first, ShapeError) or problem:
        _log.warning("the model's answer could not be used (%s); asking once more", problem)
        again = await run_in_executor(model.generate, corrected(messages, raw, problem))
        answer = replace(_better(first, await run_blocking(understood, again)), calls=2)
    else:
        answer = first
    _log_what_is_missing(answer)
    return answer


def _problem(first: ModelAnswer | ShapeError) -> str:
    """Why the model is asked again; empty when it is not."""
    if isinstance(first, ShapeError):
        return str(first)
    return "" if first.cut and first.changes else first.left_out


def _better(first: ModelAnswer | ShapeError, second: ModelAnswer | ShapeError) -> ModelAnswer:
    """The answer that counts. A whole one does; of others that with more changes, the later one of equals.

    Raises:
        UnusableAnswer: neither can be used.
    """
    if isinstance(second, ShapeError):
        _log.warning("the model's second answer could not be used either (%s)", second)
        if isinstance(first, ShapeError) or not first.changes:
            raise UnusableAnswer("service_unusable", part="llm", reason=type(second).__name__) from second
        return first
    if second.left_out and isinstance(first, ModelAnswer) and len(first.changes) > len(second.changes):
        return first
    return second


def _log_what_is_missing(answer: ModelAnswer) -> None:
    """Say what of an answer is not taken, by reasons and counts: its texts are nobody's business."""
    if answer.left_out:
        kept = len(answer.changes)
        _log.warning("a part of the model's answer was left out (%s); %d changes are taken", answer.left_out, kept)
    if answer.refused:
        counts = ", ".join(f"{reason}: {count}" for reason, count in sorted(answer.refused.items()))
        _log.warning("changes the model asked for, refused by reason: %s", counts)
