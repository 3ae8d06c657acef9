"""mem0's store objects: built once, called where their client may block, closed in the end.

An engine that runs inside the process (Qdrant, Chroma and FAISS over a folder) blocks inside C, and breaks or loses
rows when it is called concurrently: it gets one OS thread, and construction, every call and the close happen there, in
order. Clients of servers yield by themselves and are called on the workers of the lane; gRPC does so once it has been
told that the process is patched.

Qdrant and FAISS admit one client per folder, and credential sets that name one folder, with other collections or other
keys, are in use side by side. So such a client and its thread belong to the folder, and the last connection closes it.
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
from utils.stores.errors import CLOSED, engine_errors, unavailable
from utils.stores.mem0.adapter import Config, StoreAdapter

_log: Final = logging.getLogger(__name__)


class SharedClient:
    """The client of one folder, opened by the first call that needs it, on the thread on which all its calls run.

    Args:
        open_client: makes the client, blocking.
    """

    def __init__(self, open_client: Callable[[], Any]) -> None:
        self.thread: Final = NativeThread("vector-store")
        self.connections = 0  # changed on the loop only
        self._open_client = open_client
        self._client: Any = None

    def get(self) -> Any:
        """The client; on the thread."""
        if self._client is None:
            self._client = self._open_client()
        return self._client

    def close_unused(self) -> None:
        """Close the client unless somebody came to use it meanwhile; on the thread, behind the calls sent before."""
        if self.connections == 0 and self._client is not None:
            self._client.close()
            self._client = None


_shared_clients: Final[dict[tuple[type[StoreAdapter], str], SharedClient]] = {}  # by store and folder


class Connection:
    """One store object of mem0; made by the first call.

    Args:
        adapter: what is particular about the store.
        config: its configuration.
        build: makes the object of the shared client, or of None; blocking.
    """

    def __init__(self, adapter: type[StoreAdapter], config: Config, build: Callable[[Any], Any]) -> None:
        self._adapter = adapter
        self._build = build
        self._native = (adapter.is_embedded(config) or adapter.blocks) and not adapter.grpc
        self._folder = adapter.shared_folder(config)
        self._client: SharedClient | None = None
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
            raise unavailable(CLOSED)
        if not self._native:
            return await run_in_executor(self._run, call)
        if self._thread is None:
            self._thread = NativeThread("vector-store") if self._folder is None else self._share(self._folder).thread
        return await self._thread.run(self._run, call)

    async def close(self) -> None:
        """Close the object, after the calls that are under way on a thread of its own. Idempotent."""
        if self._closed:
            return
        self._closed = True
        if self._client is not None:
            await self._release(self._client)
        elif self._folder is None:
            # The close belongs to no lane, and a client's goodbye may wait for its server.
            place = self._thread or ThreadPool("vector-store-close", 1)
            await place.run(self._close)
            place.close()

    def _share(self, folder: str) -> SharedClient:
        key = self._adapter, folder
        if key not in _shared_clients:
            _shared_clients[key] = SharedClient(functools.partial(self._adapter.open_client, folder))
        self._client = _shared_clients[key]
        self._client.connections += 1
        return self._client

    async def _release(self, client: SharedClient) -> None:
        """Let go of the folder's client. Who needs it again while it closes queues behind that on its thread."""
        client.connections -= 1
        await client.thread.run(client.close_unused)
        key = self._adapter, str(self._folder)
        if client.connections == 0 and _shared_clients.get(key) is client:
            del _shared_clients[key]
            client.thread.close()

    def _run[T](self, call: Callable[[Any], T]) -> T:
        with engine_errors():
            with self._building:
                if self._store is None:
                    if self._adapter.grpc:
                        _make_grpc_yield()
                    self._store = self._build(None if self._client is None else self._client.get())
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
