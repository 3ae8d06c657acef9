"""Forgetting as a caller sees it: for real, through the user's queue, or as a dry run with a picture (``preview``)."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from utils import log
from utils.aio.blocking import run_blocking
from utils.forgetting.handler import Forget
from utils.forgetting.preview import Preview
from utils.stores.protocol import Owner

if TYPE_CHECKING:
    from utils.memory.memory import Memory

SYNCHRONOUS_WAIT_S: Final = 240.0  # SPEC 4: Dify ends a call after 300 to 600 s
# Of a waiting call's time, for the answer to get out in time.
_TO_ANSWER_S: Final = 1.0
_TO_ANSWER_SHARE: Final = 0.2


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What a real run has come to.

    Attributes:
        task_id: by which its state can be asked for.
        counts: ``deleted_count``, ``retained_count``, ``checkpoints_cleaned``, ``locks_cleaned``; None when it goes on
            in the background.
    """

    task_id: str
    counts: Mapping[str, int] | None


async def forget(memory: Memory, owner: Owner, timeout_s: float) -> Forgotten:
    """Delete what is forgotten. It takes its turn behind the user's accepted writes, and goes on in the background when
    it takes longer than the caller waits.

    Args:
        memory: whose operation it is.
        owner: whose memories.
        timeout_s: how long the caller waits in asynchronous mode.

    Raises:
        WriteFailed: it failed for good.
    """
    settings = memory.settings
    request = Forget(
        at=datetime.now(UTC).isoformat(),
        trace=log.trace.get(),
        agent_id=owner.agent_id,
        memory_ttl_days=settings.memory_ttl_days,
        checkpoint_ttl_days=settings.checkpoint_ttl_days,
    )
    to_answer_s = min(_TO_ANSWER_S, timeout_s * _TO_ANSWER_SHARE)
    wait_s = timeout_s - to_answer_s if settings.async_mode else SYNCHRONOUS_WAIT_S
    task_id = f"forget_{secrets.token_hex(6)}"
    return Forgotten(task_id, await memory.submit_task(owner.user_id, request, task_id, wait_s))


async def picture_of(found: Preview) -> bytes:
    """A dry run as a picture (PNG)."""
    from utils.forgetting import picture  # Pillow is loaded by the first dry run, not by every process

    return await run_blocking(picture.draw, found.kinds, datetime.now(UTC).date().isoformat())
