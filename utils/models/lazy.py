"""A part that is built by the first call that needs it and kept for all that follow.

Building takes what it takes: a reranker loads a model, Ollama's embedder asks its server. The caller may be gone by
then, so the build belongs to no caller: everybody waits for one task, shielded, and whoever gives up leaves it running.
It runs on a thread of its own, because a lane's pool is closed with the lane and a hung build would keep its place.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, Protocol

from utils.aio.blocking import ThreadPool
from utils.errors import ServiceUnavailable, ShuttingDown
from utils.models.clients import mapping_errors

_MAX_BUILD_S: Final = 900.0  # a local model is downloaded at first; a constructor's request may have no time-out


class Closable(Protocol):
    """What can be built lazily: something with a ``close``."""

    def close(self) -> None:
        """Close its connections. Idempotent."""


class Lazy[T: Closable]:
    """A part, built once.

    Args:
        part: its name in errors: ``llm``, ``embedder``, ``reranker``.
        build: makes it; blocks.
    """

    def __init__(self, part: str, build: Callable[[], T]) -> None:
        self._part = part
        self._build = build
        self._building: asyncio.Task[T] | None = None  # the build under way, or the one that succeeded
        self._closed = False

    @property
    def built(self) -> T | None:
        """The part, if it is there already."""
        building = self._building
        return building.result() if building is not None and building.done() and not self._closed else None

    async def get(self) -> T:
        """The part. A build that failed is forgotten: the next call tries again.

        Raises:
            CredentialError: its configuration is refused, or a package is missing.
            ServiceError: what it asks while it is built failed.
        """
        if self._closed:
            raise ShuttingDown("error_shutting_down")
        if self._building is None:
            self._building = asyncio.create_task(self._built())
            self._building.add_done_callback(self._on_built)
        # Shielded: a caller that gives up cancels its wait and not the build that others wait for.
        return await asyncio.shield(self._building)

    def close(self) -> None:
        """Close the part. One that is still being built is closed as soon as it is there. Idempotent."""
        self._closed = True
        if self._building is not None and self._building.done():
            self._on_built(self._building)

    async def _built(self) -> T:
        thread = ThreadPool(f"mem0-build-{self._part}", 1)
        try:
            async with asyncio.timeout(_MAX_BUILD_S):
                return await thread.run(self._build_mapped)
        except TimeoutError as exc:
            raise ServiceUnavailable("service_unavailable", part=self._part, reason=type(exc).__name__) from exc
        finally:
            thread.close()

    def _build_mapped(self) -> T:
        with mapping_errors(self._part):
            return self._build()

    def _on_built(self, build: asyncio.Task[T]) -> None:
        # Asking for the exception also keeps asyncio from reporting one that every caller has given up waiting for.
        if build.cancelled() or build.exception() is not None:
            self._building = None
        elif self._closed:
            build.result().close()
