"""A graph that is away, hangs or refuses: one error each, within the store's time, with a reason that tells."""

from __future__ import annotations

import asyncio
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from playground.neo4j_server import Graph
from tests.integration.graph.changes import edge, make, setting, vector_of
from tests.silent_proxy import SilentProxy
from utils.errors import ServiceError, ServiceRefused, ServiceRejected, ServiceUnavailable
from utils.graph import connection
from utils.graph.store import GraphStore
from utils.stores.protocol import Owner

ADA = Owner("ada")
HTTP = b"HTTP/1.1 400 Bad Request\r\n\r\n"
SSH = b"SSH-2.0-OpenSSH_9.6\r\n"


@pytest.fixture
def proxy(neo4j_graph: Graph) -> Iterator[SilentProxy]:
    with SilentProxy("127.0.0.1", neo4j_graph.port) as relay:
        yield relay


@pytest.fixture
def proxied(new_graph_store: Callable[..., GraphStore], proxy: SilentProxy) -> Callable[[float], GraphStore]:
    return lambda timeout_s: new_graph_store(timeout_s, url=f"bolt://127.0.0.1:{proxy.port}")


async def error_of(store: GraphStore) -> ServiceError:
    with pytest.raises(ServiceError) as caught:
        await store.check()
    assert caught.value.params["part"] == "graph_store"
    return caught.value


async def test_a_wrong_password(new_graph_store: Callable[..., GraphStore]) -> None:
    error = await error_of(new_graph_store(password="guessed"))
    assert isinstance(error, ServiceRefused) and error.reason == "Unauthorized"
    assert "guessed" not in str(error)


async def test_no_such_database(new_graph_store: Callable[..., GraphStore]) -> None:
    error = await error_of(new_graph_store(database="nowhere"))
    assert isinstance(error, ServiceRejected) and error.reason == "DatabaseNotFound"


async def test_another_server_than_the_provider_says(neo4j_graph: Graph) -> None:
    store = GraphStore("memgraph", neo4j_graph.block["config"], "", 300.0)
    error = await error_of(store)
    await store.close()
    assert error.key == "graph_unfit" and str(error.params["server"]).startswith("Neo4j/5.")


async def test_a_closed_port(new_graph_store: Callable[..., GraphStore]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        error = await error_of(new_graph_store(5.0, url=f"bolt://127.0.0.1:{taken.getsockname()[1]}"))
    assert isinstance(error, ServiceUnavailable)


@contextmanager
def other_server(answer: bytes) -> Iterator[int]:
    """The port, on 127.0.0.1, of a server that answers whatever is said to it with ``answer``, and hangs up."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(4096)
            self.request.sendall(answer)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


@pytest.mark.parametrize("answer", [HTTP, SSH, b""], ids=["http", "ssh", "nothing"])
async def test_a_port_where_nobody_speaks_bolt(new_graph_store: Callable[..., GraphStore], answer: bytes) -> None:
    with other_server(answer) as port:
        error = await error_of(new_graph_store(url=f"bolt://127.0.0.1:{port}"))
    assert error.key == "graph_no_bolt"


async def test_a_server_that_hangs_is_not_waited_for(
    proxy: SilentProxy, proxied: Callable[[float], GraphStore], graph_store: GraphStore
) -> None:
    """Every operation ends at the store's time; what it held is given back, and the next one works."""
    store = proxied(1.0)
    await make(graph_store, ADA, setting([edge("m", ("Ada", "likes", "tea"))]))
    await _until_it_works(store)
    proxy.silence()
    operations: list[Callable[[], object]] = [
        store.check,
        lambda: store.search(ADA, vector_of("tea"), 5),
        lambda: store.change(ADA, setting([edge("n", ("Ada", "has", "a cat"))]), None),
        lambda: store.memories(ADA, "", 5),
    ]
    for operation in (operations * 3)[:9]:  # more than the pool has connections
        started = time.process_time()
        with pytest.raises(ServiceUnavailable):
            await asyncio.wait_for(operation(), 60.0)  # type: ignore[arg-type]
        assert time.process_time() - started < 5.0  # it waits, and does not spin
    proxy.speak()
    await _until_it_works(store)
    assert [one.relation for one in await graph_store.search(ADA, vector_of("tea"), 5)] == ["likes"]


async def test_a_connection_that_died_silently_is_noticed_before_it_is_used(
    proxy: SilentProxy, proxied: Callable[[float], GraphStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A firewall forgot the connection: it is tried first, and another one is opened behind the call's back."""
    monkeypatch.setattr(connection, "_IDLE_CHECK_S", 0.0)
    store = proxied(300.0)
    await store.check()
    proxy.drop()  # resets what there is; new connections are let through
    await store.check()
    await store.search(ADA, vector_of("tea"), 5)


async def _until_it_works(store: GraphStore) -> None:
    for _ in range(300):
        try:
            return await store.check()
        except ServiceUnavailable:  # the machine is busy: a second was too short
            continue
    return await store.check()
