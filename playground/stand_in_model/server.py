"""The HTTP side: OpenAI's wire format on 127.0.0.1, one thread, one asyncio loop.

Not ``http.server``: a thread per connection would fight the tests for the interpreter, and its parsing of headers
costs more than the answers do. Connections are kept alive, and asyncio sends without Nagle's delay; the benchmarks
rely on both.
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

from playground.stand_in_model import wire
from playground.stand_in_model.control import Control

_LARGEST_HEAD: Final = 65_536
_LARGEST_BODY: Final = 64 * 1024 * 1024
_BACKLOG: Final = 2_048
_LOOK_AGAIN_S: Final = 0.01  # how often a held request looks whether it may be answered by now
ABOUT: Final = (
    "This is a stand-in for a model endpoint, not a model: it answers by fixed rules and hashed letters (playground/)."
)


@dataclass(frozen=True, slots=True)
class _Request:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class _Response:
    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)


class _Reset(Exception):
    """The connection is to be reset instead of answered."""


class StandInModel:
    """The endpoint, run in a thread of this process: ``with StandInModel() as model: ... model.base_url``.

    Args:
        port: the port on 127.0.0.1; 0 takes a free one.
    """

    def __init__(self, port: int = 0) -> None:
        self.control = Control()
        self._port = port
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()), name="stand-in-model", daemon=True)
        self._listening = threading.Event()
        self._problem: OSError | None = None
        self._connections: set[asyncio.Task[None]] = set()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    @property
    def base_url(self) -> str:
        """What goes into ``openai_base_url``."""
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
                response = await self._respond(request, reader)
                writer.write(_encoded(response))
                await writer.drain()
        except (_Reset, asyncio.CancelledError):
            _reset(writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError):
            writer.close()
        finally:
            writer.close()
            self._connections.discard(task)

    async def _respond(self, request: _Request, reader: asyncio.StreamReader) -> _Response:
        match (request.method, request.path):
            case ("GET", "/" | "/v1"):
                return _json_response(200, {"about": ABOUT})
            case ("GET", "/v1/models"):
                return _json_response(200, wire.models())
            case ("GET", "/control"):
                return _json_response(200, self.control.snapshot())
            case ("POST", "/control"):
                return self._controlled(request)
            case ("POST", "/v1/chat/completions"):
                return await self._model_call("chat", request, reader)
            case ("POST", "/v1/embeddings"):
                return await self._model_call("embeddings", request, reader)
        return _json_response(404, wire.error("not_found", f"No such endpoint. {ABOUT}"))

    def _controlled(self, request: _Request) -> _Response:
        try:
            self.control.apply(json.loads(request.body))
        except (ValueError, TypeError, AttributeError) as error:
            return _json_response(400, wire.error("invalid_request_error", str(error)))
        return _json_response(200, self.control.snapshot())

    async def _model_call(self, endpoint: str, request: _Request, reader: asyncio.StreamReader) -> _Response:
        control, settings = self.control, self.control.settings
        control.count(endpoint)
        await asyncio.sleep(settings.chat_latency_s if endpoint == "chat" else settings.embedding_latency_s)
        while endpoint in control.settings.held_endpoints:  # noqa: ASYNC110 - set from any thread
            await asyncio.sleep(_LOOK_AGAIN_S)
        if settings.unauthorised or not _may_enter(request, settings.accepted_key):
            control.count("failed_401")
            return _json_response(401, wire.error("invalid_api_key", "Incorrect API key provided."))
        failure = control.draw_failure(endpoint)
        if failure is not None:
            control.count(f"failed_{failure}")
            return await self._fail(failure, endpoint, reader)
        try:
            answered = wire.answer(endpoint, json.loads(request.body), control)
        except (ValueError, TypeError, KeyError) as error:
            return _json_response(400, wire.error("invalid_request_error", f"{type(error).__name__}: {error}"))
        control.count("answered")
        return _json_response(200, answered)

    async def _fail(self, kind: str, endpoint: str, reader: asyncio.StreamReader) -> _Response:
        match kind:
            case "500":
                return _json_response(500, wire.error("server_error", "The server had an error."))
            case "429":
                retry_after = {"Retry-After": f"{self.control.settings.retry_after_s:g}"}
                return _json_response(429, wire.error("rate_limit_exceeded", "Rate limit reached."), retry_after)
            case "garbage" if endpoint == "chat":
                return _json_response(200, wire.unusable_completion(self.control.counts["failed_garbage"]))
            case "garbage":
                return _Response(200, b"<html>Bad gateway</html>", {"Content-Type": "text/html"})
            case "hang":
                await reader.read(1)  # until the client gives up: it sends nothing more on this connection
        raise _Reset


async def _read_request(reader: asyncio.StreamReader) -> _Request | None:
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
    return _Request(method, target.partition("?")[0].rstrip("/") or "/", headers, await reader.readexactly(length))


def _may_enter(request: _Request, accepted_key: str) -> bool:
    return not accepted_key or request.headers.get("authorization") == f"Bearer {accepted_key}"


def _json_response(status: int, body: Any, headers: dict[str, str] | None = None) -> _Response:
    encoded = json.dumps(body, ensure_ascii=True, separators=(",", ":")).encode()
    return _Response(status, encoded, {"Content-Type": "application/json", **(headers or {})})


def _encoded(response: _Response) -> bytes:
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
