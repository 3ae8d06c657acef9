"""Running coroutines side by side so that none outlives the others' failure.

``asyncio.gather`` leaves the rest running when one fails. What is left then waits for a connection that nobody needs
any more, in the way of those who do.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any


async def gather(*work: Coroutine[Any, Any, Any]) -> list[Any]:
    """The results of ``work``, in its order.

    Raises:
        Exception: what the first to fail raised; the others have been cancelled by then.
    """
    if len(work) == 1:  # no task for what nothing runs beside
        return [await work[0]]
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(each) for each in work]
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from None
    return [task.result() for task in tasks]
