"""A model endpoint on 127.0.0.1 that answers what a test scripts: statuses, bodies, hangs, resets."""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections import deque
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


@dataclass(frozen=True)
class Reply:
    """One scripted answer; ``body`` is sent as it is when it is bytes, else as JSON."""

    body: Any = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    hang: bool = False
    reset: bool = False


# The SDKs wait half a second and more between tries, unless the server names a shorter time.
SOON = {"retry-after-ms": "1"}
MODEL = {
    "id": "m",
    "object": "model",
    "created": 0,
    "owned_by": "o",
    "models": [{"name": "m:latest", "model": "m:latest"}],
}
HANG = Reply(hang=True)
RESET = Reply(reset=True)


def failure(status: int, code: str = "some_code", **headers: str) -> Reply:
    """OpenAI's error shape, with a text that repeats a key as OpenAI's own does."""
    error = {"error": {"message": "Incorrect API key: sk-canary", "type": "some_type", "param": None, "code": code}}
    return Reply(error, status, SOON | {name.replace("_", "-"): value for name, value in headers.items()})


def chat(content: str | None) -> Reply:
    """A chat completion."""
    message = {"role": "assistant", "content": content}
    choice = {"index": 0, "finish_reason": "stop", "message": message}
    return Reply({"id": "c", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice]})


def embeddings(*vectors: Any) -> Reply:
    """An answer of /embeddings."""
    data = [{"object": "embedding", "index": index, "embedding": vector} for index, vector in enumerate(vectors)]
    usage = {"prompt_tokens": 0, "total_tokens": 0}
    return Reply({"object": "list", "model": "m", "data": data, "usage": usage})


class ScriptedEndpoint:
    """``with ScriptedEndpoint() as endpoint``; ``script`` what it answers, then look at ``bodies`` and ``paths``."""

    def __init__(self) -> None:
        self.bodies: list[Any] = []
        self.paths: list[str] = []
        self.headers: list[Message] = []  # of the same requests
        self.asked_for_free: list[str] = []  # paths of GET requests, which are answered with ``free_status``
        self.free_status = 200
        self.open_connections = 0
        self.visitors = 0  # connections that were ever made
        self._replies: deque[Reply] = deque()
        self._last = Reply(status=500)
        self._closing = threading.Event()
        self._changed = threading.Condition()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.address: tuple[str, int] = ("127.0.0.1", self._server.server_address[1])
        self.base_url = f"http://127.0.0.1:{self.address[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()

    @property
    def requests(self) -> int:
        """How many requests came."""
        return len(self.bodies)

    def script(self, *replies: Reply) -> None:
        """Answer with these, one request after the other; the last one again and again."""
        self._replies.extend(replies)

    def wait_until_deserted(self) -> None:
        """Return when every connection has been closed by its client."""
        with self._changed:
            assert self._changed.wait_for(lambda: self.open_connections == 0, timeout=300)

    def _next(self) -> Reply:
        if self._replies:
            self._last = self._replies.popleft()
        return self._last

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                super().setup()
                self._count(1)

            def finish(self) -> None:
                super().finish()
                self._count(-1)

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                endpoint.bodies.append(json.loads(body))
                endpoint.paths.append(self.path)
                endpoint.headers.append(self.headers)
                self._answer(endpoint._next())

            def do_CONNECT(self) -> None:  # as a proxy is asked for a tunnel
                self._answer(endpoint._next())
                self.close_connection = True

            def do_GET(self) -> None:
                endpoint.asked_for_free.append(self.path)
                self._answer(Reply(MODEL, endpoint.free_status))

            def _answer(self, reply: Reply) -> None:
                if reply.hang:
                    endpoint._closing.wait()
                if reply.hang or reply.reset:
                    self._drop()
                    return
                content = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
                headers = {"Content-Type": "application/json", "Content-Length": str(len(content)), **reply.headers}
                self.send_response(reply.status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *args: object) -> None:
                return

            def _drop(self) -> None:
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.close()
                self.close_connection = True

            def _count(self, change: int) -> None:
                with endpoint._changed:
                    endpoint.open_connections += change
                    endpoint.visitors += max(change, 0)
                    endpoint._changed.notify_all()

        return Handler
