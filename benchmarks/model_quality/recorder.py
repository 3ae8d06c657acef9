"""An HTTP server that hands chat requests on to the real one and keeps the answers: what the model itself said."""

from __future__ import annotations

import json
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(slots=True)
class Recorder:
    """``base_url`` is what the plugin is told; ``answers`` are the chat model's, oldest first."""

    base_url: str = ""
    answers: list[dict[str, Any]] = field(default_factory=list)


@contextmanager
def recording(chat_url: str) -> Iterator[Recorder]:
    """A recorder before the server at ``chat_url``, for as long as the block lasts."""
    recorder = Recorder()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            target = chat_url.removesuffix("/v1") + self.path
            request = urllib.request.Request(target, data=body, headers={"Content-Type": "application/json"})
            with urllib.request.urlopen(request) as response:
                content = response.read()
            choice = json.loads(content)["choices"][0]
            recorder.answers.append({"text": choice["message"]["content"], "finish": choice["finish_reason"]})
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    recorder.base_url = f"http://127.0.0.1:{server.server_port}/v1"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield recorder
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
