"""Reads and writes in lanes of their own, so that neither waits for the other.

A lane bounds how many operations run at once (its width), refuses new ones when too many are waiting already (the
overload guard), and owns the pool its blocking calls run on. Two lanes share nothing but the loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from utils.aio import congestion
from utils.aio.blocking import ThreadPool, use_pool
from utils.errors import Overloaded

OVERLOAD_MULTIPLIER: Final = 2  # operations a lane accepts, as a multiple of those that run (SPEC 4)


class Lane:
    """Operations of one kind.

    Args:
        name: shows in thread names.
        width: operations that run at once, and blocking calls that run at once.
    """

    def __init__(self, name: str, width: int) -> None:
        self.width = width
        self.most_pending = width * OVERLOAD_MULTIPLIER
        self.pending = 0
        self._running = asyncio.Semaphore(width)
        self._empty = asyncio.Event()
        self._empty.set()
        self._pool = ThreadPool(f"mem0-{name}", width)

    @asynccontextmanager
    async def enter(self) -> AsyncIterator[None]:
        """Count as pending, wait for a place, run; leave both on the way out, however that is.

        Raises:
            Overloaded: as many operations as the guard allows are pending already. Nothing has been started.
        """
        if self.pending >= self.most_pending:
            raise Overloaded("error_overload", limit=self.most_pending)
        self.pending += 1
        self._empty.clear()
        try:
            async with self._running:
                use_pool(self._pool)
                yield
        finally:
            congestion.leave_place()
            self.pending -= 1
            if self.pending == 0:
                self._empty.set()

    async def drain(self, timeout_s: float) -> None:
        """Return when no operation is pending, or after ``timeout_s`` seconds."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._empty.wait()
        except TimeoutError:
            return

    def use_pool(self) -> None:
        """Run the current task's blocking calls on this lane's pool; for background work, which does not enter."""
        use_pool(self._pool)

    def close(self) -> None:
        """Close the pool. Idempotent."""
        self._pool.close()
