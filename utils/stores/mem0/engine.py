"""mem0's store objects: built once, called where their client may block, closed in the end.

An engine that runs inside the process (Qdrant, Chroma and FAISS over a folder) blocks inside C, and breaks or loses
rows when it is called concurrently: it gets one OS thread, and construction, every call and the close happen there, in
order. Clients of servers yield by themselves and are called on the workers of the lane; gRPC does so once it has been
told that the process is patched. Sharing one engine between credential sets is the runtime's business.
"""

from __future__ import annotations

import functools
import importlib
import logging
import threading
from collections.abc import Callable
from typing import Any, Final

import gevent.monkey

from utils.aio.blocking import NativeThread, ThreadPool, run_in_executor
from utils.errors import ServiceError
from utils.stores.errors import engine_errors, unavailable

_log: Final = logging.getLogger(__name__)


class Engine:
    """One store object of mem0; made by the first call.

    Args:
        build: makes the object, blocking.
        native: whether it needs an OS thread to itself.
        grpc: whether its client speaks gRPC.
    """

    def __init__(self, build: Callable[[], Any], *, native: bool, grpc: bool) -> None:
        self._build = build
        self._native = native
        self._grpc = grpc
        self._thread: NativeThread | None = None
        self._building = threading.Lock()
        self._store: Any = None
        self._closed = False

    async def run[T](self, call: Callable[[Any], T]) -> T:
        """What ``call(store)`` returns.

        Raises:
            ServiceError: what the store or its client raised, mapped; also after :meth:`close`.
        """
        if self._closed:
            raise unavailable("closed")
        if not self._native:
            return await run_in_executor(self._run, call)
        if self._thread is None:
            self._thread = NativeThread("vector-store")
        return await self._thread.run(self._run, call)

    async def close(self) -> None:
        """Close the object, after the calls that are under way on a thread of its own. Idempotent."""
        if self._closed:
            return
        self._closed = True
        # The close belongs to no lane, and a client's goodbye may wait for its server.
        place = self._thread or ThreadPool("vector-store-close", 1)
        await place.run(self._close)
        place.close()

    def _run[T](self, call: Callable[[Any], T]) -> T:
        with engine_errors():
            with self._building:
                if self._store is None:
                    if self._grpc:
                        _make_grpc_yield()
                    self._store = self._build()
                store = self._store
            return call(store)

    def _close(self) -> None:
        """mem0's stores have no ``close``; their clients do, most of them."""
        store, self._store = self._store, None
        for client in (getattr(store, name, None) for name in ("client", "cluster", "db")):
            close = getattr(client, "close", None) or getattr(client, "shutdown", None)
            if callable(close):
                try:
                    with engine_errors():
                        close()
                except ServiceError as exc:  # nobody is left to be told, and nothing left to be done
                    _log.warning("the vector store's client did not close: %s", exc.reason)


@functools.cache
def _make_grpc_yield() -> None:
    """In a patched process gRPC must wait by gevent's means, and be told before it makes its first object."""
    if gevent.monkey.is_module_patched("threading"):
        importlib.import_module("grpc.experimental.gevent").init_gevent()
