"""A part that takes longer to build than its callers wait is built once and kept."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

import pytest

from playground.credentials import block
from playground.dify_host import PluginProcess
from playground.stand_in_model.embeddings import DEFAULT_DIMENSIONS
from tests.faults.ledger import wait_until
from tests.plugin import Plugin


class SlowOllama:
    """A server that answers ``/api/tags``, which mem0's constructor asks for, only when it may, and then embeds."""

    def __init__(self) -> None:
        self.constructions = 0
        self.may_answer = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.base_url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.may_answer.set()
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        ollama = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                ollama.constructions += 1
                ollama.may_answer.wait()
                self._answer({"models": [{"name": "m:latest", "model": "m:latest"}]})

            def do_POST(self) -> None:
                texts = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["input"]
                count = 1 if isinstance(texts, str) else len(texts)
                self._answer({"model": "m", "embeddings": [[1.0] + [0.0] * (DEFAULT_DIMENSIONS - 1)] * count})

            def _answer(self, body: Any) -> None:
                content = json.dumps(body).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *args: object) -> None:
                return

        return Handler


@pytest.fixture
def ollama() -> Iterator[SlowOllama]:
    with SlowOllama() as server:
        yield server


def test_an_embedder_that_loads_longer_than_its_callers_wait_is_built_once(
    plugin_process: Callable[..., PluginProcess], pgvector_credentials: dict[str, Any], ollama: SlowOllama
) -> None:
    plugin = Plugin(plugin_process(), pgvector_credentials).with_credentials(
        local_embedder_json_secret=block(
            "ollama", model="m", embedding_dims=DEFAULT_DIMENSIONS, ollama_base_url=ollama.base_url
        )
    )
    assert plugin.call("get_all_memories", user_id="alice").status == "SUCCESS"
    for _ in range(3):
        assert plugin.call("search_memory", user_id="alice", query="tea", timeout=1).status == "TIMEOUT"
    wait_until(lambda: ollama.constructions)
    assert ollama.constructions == 1
    ollama.may_answer.set()
    assert plugin.call("search_memory", user_id="alice", query="tea").status == "SUCCESS"
    assert ollama.constructions == 1
