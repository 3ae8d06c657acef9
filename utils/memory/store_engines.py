"""mem0's store objects: built once, called on the right thread, shared where the engine allows only one, closed in the
end.

An embedded engine (a folder or file) belongs to one object per process: Qdrant refuses a second one, and with FAISS the
last writer wins. When credentials change, the old client is still draining while the new one opens, so both get the
same engine; it is closed when the last of them lets go. Such engines also block inside C or lose rows when called
concurrently: each has one OS thread, and construction, every call and the close happen there, in order. Clients of
servers yield by themselves and are called on the workers of the lane.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

from utils.memory.store_errors import engine_errors
from utils.runtime.blocking import NativeThread, Workers, hop


class Engine:
    """One store object of mem0; made by the first call.

    Args:
        build: makes the object, blocking.
        native: whether it needs an OS thread to itself.
    """

    def __init__(self, build: Callable[[], Any], *, native: bool) -> None:
        self._build = build
        self._thread = NativeThread("vector-store") if native else None
        self._building = threading.Lock()
        self._store: Any = None
        self.users = 0

    async def run[T](self, call: Callable[[Any], T]) -> T:
        """What ``call(store)`` returns.

        Raises:
            ServiceError: what the store or its client raised, mapped.
        """
        work = partial(self._run, call)
        return await (hop(work) if self._thread is None else self._thread.run(work))

    async def close(self) -> None:
        """Close the object unless somebody uses it again by now."""
        if self._thread is None:
            workers = Workers(
                "vector-store-close", 1
            )  # outside of any lane; a client's goodbye may wait for its server
            await workers.run(self._close_unused)
            workers.close()
        else:
            await self._thread.run(self._close_unused)
            if self.users == 0:
                self._thread.close()

    def _run[T](self, call: Callable[[Any], T]) -> T:
        with engine_errors():
            with self._building:
                if self._store is None:
                    self._store = self._build()
                store = self._store
            return call(store)

    def _close_unused(self) -> None:
        if self.users == 0 and self._store is not None:
            store, self._store = self._store, None
            with engine_errors():
                _close(store)


def _close(store: Any) -> None:
    """mem0's stores have no ``close``; their clients do, most of them."""
    for owner in (getattr(store, "client", None), getattr(store, "cluster", None), getattr(store, "db", None)):
        close = getattr(owner, "close", None) or getattr(owner, "shutdown", None)
        if callable(close):
            close()


_embedded: Final[dict[str, Engine]] = {}


def acquire(provider: str, config: Mapping[str, Any], build: Callable[[], Any], *, native: bool) -> Engine:
    """The engine for this configuration; the same one for every caller while an embedded one is in use."""
    engine = Engine(build, native=native)
    if native:
        engine = _embedded.setdefault(_key(provider, config), engine)
    engine.users += 1
    return engine


async def release(provider: str, config: Mapping[str, Any], engine: Engine) -> None:
    """Let go of an engine; the last one closes it."""
    engine.users -= 1
    await engine.close()
    if engine.users == 0 and _embedded.get(_key(provider, config)) is engine:
        del _embedded[_key(provider, config)]


def _key(provider: str, config: Mapping[str, Any]) -> str:
    return json.dumps([provider, dict(config)], sort_keys=True, default=str)
