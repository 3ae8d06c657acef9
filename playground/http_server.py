"""HTTP/1.1 on 127.0.0.1 for the stand-ins: one thread, one asyncio loop, kept-alive connections.

Not ``http.server``: a thread per connection would fight the tests for the interpreter, and its parsing of headers
costs more than the answers do. asyncio sends without Nagle's delay; the benchmarks rely on both.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
import threading
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final, Self
from urllib.parse import parse_qsl

_LARGEST_HEAD: Final = 65_536
_LARGEST_BODY: Final = 64 * 1024 * 1024
_BACKLOG: Final = 2_048


@dataclass(frozen=True, slots=True)
class Request:
    """What a client sent; header names in lower case, the last value of a parameter that is given twice."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Response:
    """What is answered."""

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)


class Reset(Exception):
    """The connection is to be reset instead of answered."""


class HttpServer:
    """Serves in a thread of this process: ``with Derived() as server: ... server.base_url``.

    Args:
        port: the port on 127.0.0.1; 0 takes a free one.
    """

    def __init__(self, port: int = 0) -> None:
        self._port = port
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()), name="stand-in", daemon=True)
        self._listening = threading.Event()
        self._problem: OSError | None = None
        self._connections: set[asyncio.Task[None]] = set()

    async def respond(self, request: Request, reader: asyncio.StreamReader) -> Response:
        """The answer; ``reader`` is the connection's, for whoever wants to see the client leave.

        Raises:
            Reset: close with RST instead.
        """
        raise NotImplementedError

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    @property
    def base_url(self) -> str:
        """Where it serves, with the ``/v1`` that all stand-ins have."""
        return f"http://127.0.0.1:{self._port}/v1"

    def start(self) -> None:
        """Listen; returns when connections are taken.

        Raises:
            OSError: the port is taken.
        """
        self._thread.start()
        self._listening.wait()
        if self._problem is not None:
            raise self._problem

    def close(self) -> None:
        """Drop all connections and stop the thread."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._end.set)
            self._thread.join()

    async def _main(self) -> None:
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        try:
            server = await asyncio.start_server(
                self._connected, "127.0.0.1", self._port, limit=_LARGEST_HEAD, backlog=_BACKLOG
            )
        except OSError as problem:
            self._problem = problem
            self._listening.set()
            return
        self._port = server.sockets[0].getsockname()[1]
        self._listening.set()
        await self._end.wait()
        server.close()
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine always runs in a task
        self._connections.add(task)
        try:
            while request := await _read_request(reader):
                response = await self.respond(request, reader)
                writer.write(_encoded(response))
                await writer.drain()
        except (Reset, asyncio.CancelledError):
            _reset(writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError):
            writer.close()
        finally:
            writer.close()
            self._connections.discard(task)


async def _read_request(reader: asyncio.StreamReader) -> Request | None:
    """The next request of a connection; None when the client has closed it."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.decode("latin-1").split("\r\n")
    method, target, _ = first.split(" ", 2)
    headers = {
        name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)
    }
    length = int(headers.get("content-length", "0"))
    if length > _LARGEST_BODY:
        raise ValueError("body too large")
    path, _, query = target.partition("?")
    parameters = dict(parse_qsl(query, keep_blank_values=True))
    return Request(method, path.rstrip("/") or "/", parameters, headers, await reader.readexactly(length))


def json_response(status: int, body: Any, headers: dict[str, str] | None = None) -> Response:
    """``body`` as JSON."""
    encoded = json.dumps(body, ensure_ascii=True, separators=(",", ":")).encode()
    return Response(status, encoded, {"Content-Type": "application/json", **(headers or {})})


def _encoded(response: Response) -> bytes:
    headers = {**response.headers, "Content-Length": str(len(response.body)), "Connection": "keep-alive"}
    lines = [f"HTTP/1.1 {response.status} {HTTPStatus(response.status).phrase}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + response.body


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close with RST: lingering for no time throws away what is unsent."""
    connection: socket.socket | None = writer.get_extra_info("socket")
    if connection is not None:
        with contextlib.suppress(OSError):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
