"""Parts that several credential sets use at once: opened once, closed by the last one that lets go.

Changing one credential makes a new set beside the old one; both then reach the same database, and an embedded store
admits only one client per folder. So stores and state stores are handed out by what they point at, and a successor
waits until its predecessor has closed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from typing import Protocol


class Closable(Protocol):
    """Anything with an asynchronous, idempotent ``close``."""

    async def close(self) -> None:
        """Give everything back."""


class Shared[T: Closable]:
    """A registry of open parts, counted by their holders. Used on one loop only."""

    def __init__(self) -> None:
        self._held: dict[Hashable, tuple[T, int]] = {}
        self._closing: dict[Hashable, asyncio.Task[None]] = {}

    def __len__(self) -> int:
        """How many parts are open, those that are being closed among them."""
        return len(self._held) + len(self._closing)

    async def acquire(self, key: Hashable, build: Callable[[], T]) -> T:
        """The part ``key`` stands for; ``build`` makes it when nobody holds one. Each needs one :meth:`release`."""
        while key in self._closing:
            await asyncio.wait([self._closing[key]])
        part, holders = self._held.get(key, (None, 0))
        if part is None:
            part = build()
        self._held[key] = (part, holders + 1)
        return part

    async def release(self, key: Hashable) -> None:
        """Let go of the part; the last holder closes it."""
        part, holders = self._held[key]
        if holders > 1:
            self._held[key] = (part, holders - 1)
            return
        del self._held[key]
        self._closing[key] = closing = asyncio.ensure_future(part.close())
        try:
            await asyncio.shield(closing)
        finally:
            del self._closing[key]
