"""The one door to the model: a question, an answer that is read and checked, and one more try when it is unusable."""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import replace
from typing import TYPE_CHECKING

from utils.aio.blocking import run_blocking, run_in_executor
from utils.errors import UnusableAnswer
from utils.memory.answers import ModelAnswer, ShapeError, read
from utils.memory.prompts import corrected

if TYPE_CHECKING:
    from utils.models.chat import ChatModel

_log = logging.getLogger(__name__)


async def ask(
    model: ChatModel, messages: list[dict[str, str]], offered_ids: Collection[str], with_types: bool = False
) -> ModelAnswer:
    """Ask the model what to change, and once more with what was wrong when its answer cannot be used in full.

    Args:
        model: whom to ask.
        messages: from ``prompts``.
        offered_ids: short ids of the memories shown in ``messages``.
        with_types: the answer carries types, dates and steps (a conversation's does).

    Returns:
        What it asks for; no changes when nothing is worth keeping.

    Raises:
        UnusableAnswer: neither answer was usable. An empty list never stands for that.
        ServiceError: the model could not be asked.
    """
    first = await run_in_executor(model.generate, messages)
    try:
        # Off the loop: repairing a hostile answer takes seconds, and every other user would wait for them.
        answer = await run_blocking(read, first, offered_ids, with_types)
        problem = answer.left_out
    except ShapeError as exc:
        problem = str(exc)
    if problem:
        _log.warning("the model's answer could not be used (%s); asking once more", problem)
        second = await run_in_executor(model.generate, corrected(messages, first, problem))
        answer = replace(await run_blocking(_read_last, second, offered_ids, with_types), calls=2)
        if answer.left_out:
            kept = len(answer.changes)
            _log.warning("a part of the model's answer was left out (%s); %d changes are taken", answer.left_out, kept)
    if answer.dropped:
        _log.warning("changes of memories that were not offered to the model, dropped: %d", answer.dropped)
    return answer


def _read_last(raw: str, offered_ids: Collection[str], with_types: bool) -> ModelAnswer:
    """What an answer asks for after which there is no other.

    Raises:
        UnusableAnswer: nothing of it can be used.
    """
    try:
        return read(raw, offered_ids, with_types)
    except ShapeError as exc:
        _log.warning("the model's second answer could not be used either (%s)", exc)
        raise UnusableAnswer("service_unusable", part="llm", reason=type(exc).__name__) from exc
