"""A real Neo4j for the demo and the tests: the community edition's jars from Maven Central, run by the machine's Java.

No Docker and no installation: ``fetch`` lets Maven copy the jars into a folder once (128 MB), and :class:`Neo4jServer`
runs them as one Java process that listens on 127.0.0.1, with authentication on. Promises: the folder keeps the port and
the (random) password, so data and credentials are the same when it is opened again; one process at a time owns a
folder; leaving the ``with`` block leaves no process behind, and neither does an owner that is killed (the server ends
with its standard input).

``python -m playground.neo4j_server`` (``make neo4j``) fetches it, starts it, and prints the block to paste.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import secrets
import shutil
import signal
import socket
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, Final, Self

_SOURCES: Final = Path(__file__).parent / "neo4j"
_FETCHED_INTO: Final = Path(__file__).parent / ".neo4j"  # jars and classes; kept for good
DATA: Final = Path(__file__).parent / ".data" / "neo4j"  # of `make neo4j`
_FETCHED: Final = "fetched"  # of which sources; written last, so that an interrupted download is begun anew
_STOP_TIMEOUT_S: Final = 60.0  # it takes seconds to put its data in order
_USER: Final = "neo4j"
_FIRST_PASSWORD: Final = _USER  # of every new Neo4j; it lets nobody do anything but change it
_OPENED: Final = ("java.base/java.nio", "java.base/java.io", "java.base/sun.nio.ch")
_JVM: Final = ("-Xmx512m", "-XX:+UseSerialGC")
_COMPILE_LITTLE: Final = "-XX:TieredStopAtLevel=1"
_LOG: Final = "server.log"
_ADDRESS: Final = "address.json"


class Neo4jError(Exception):
    """The server could not be fetched or started; the message says why in words for people."""


@dataclass(frozen=True, slots=True)
class Graph:
    """Where the graph is and who may enter: the values of the credential block."""

    url: str
    username: str
    password: str
    database: str = "neo4j"

    @property
    def port(self) -> int:
        """Of Bolt."""
        return int(self.url.rpartition(":")[2])

    @property
    def block(self) -> dict[str, Any]:
        """What ``local_graph_db_json_secret`` holds."""
        config = {"url": self.url, "username": self.username, "password": self.password, "database": self.database}
        return {"provider": "neo4j", "config": config}


def missing_program() -> str | None:
    """The first program the server needs and this machine lacks; None when all are there."""
    return next((name for name in ("java", "javac", "mvn") if shutil.which(name) is None), None)


def fetch() -> str:
    """Copy the jars into :data:`_FETCHED_INTO` and compile the server, once.

    Returns:
        The class path.

    Raises:
        Neo4jError: a program is missing, or Maven could not fetch the jars.
    """
    jars, classes = _FETCHED_INTO / "lib", _FETCHED_INTO / "classes"
    class_path = f"{classes}:{jars}/*"
    if (missing := missing_program()) is not None:
        raise Neo4jError(f"Neo4j needs {missing}, which is not on PATH (a JDK of version 17 or newer, and Maven).")
    _FETCHED_INTO.mkdir(exist_ok=True)
    with (_FETCHED_INTO / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        wanted, fetched = _wanted(), _FETCHED_INTO / _FETCHED
        if not fetched.exists() or fetched.read_text() != wanted:
            _fetch(jars, classes)
            fetched.write_text(wanted)
    return class_path


def _fetch(jars: Path, classes: Path) -> None:
    goal = ["dependency:copy-dependencies", f"-DoutputDirectory={jars}", "-DincludeScope=runtime"]
    _done("fetch Neo4j", ["mvn", "-q", "-B", "-f", str(_SOURCES / "pom.xml"), *goal])
    source = _SOURCES / "Neo4jServer.java"
    _done("compile the server", ["javac", "-cp", f"{jars}/*", "-d", str(classes), str(source)])


def _wanted() -> str:
    """What tells these sources from others."""
    sources = b"".join(path.read_bytes() for path in sorted(_SOURCES.iterdir()))
    return hashlib.sha256(sources).hexdigest()


def _done(purpose: str, command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Neo4jError(f"{command[0]} could not {purpose}:\n{(done.stdout + done.stderr)[-2000:]}")


class Neo4jServer:
    """A server, started and stopped at will on the same address.

    Args:
        data: the folder of its data; new data get a random password, which is kept beside them.
        throwaway: the data are for a test: compile little, so that it starts with half the work, and kill it in the end
            instead of having it put everything in order.
        lifeline: what the server reads until it ends, if not a pipe of this object's own.
    """

    def __init__(self, data: Path, *, throwaway: bool = False, lifeline: int = subprocess.PIPE) -> None:
        self._data = data
        self._throwaway = throwaway
        self._lifeline = lifeline
        self._process: subprocess.Popen[str] | None = None

    @property
    def graph(self) -> Graph:
        """Where it is and who may enter, once it has been started.

        Raises:
            Neo4jError: it was never started.
        """
        graph = _kept(self._data)
        if graph is None:
            raise Neo4jError(f"The Neo4j in {self._data} was never started.")
        return graph

    @property
    def pid(self) -> int | None:
        """Of the running process."""
        return self._process.pid if self._process else None

    def start(self) -> Self:
        """Start it; returns when it answers.

        Raises:
            Neo4jError: it could not be fetched, another process owns the folder, or it ended at once.
        """
        self._data.mkdir(parents=True, exist_ok=True)
        kept = _kept(self._data)
        port = kept.port if kept else _free_port()
        self._process = self._run(fetch(), port)
        try:
            self._wait_until_ready(self._process)
            if kept is None:
                _keep(self._data, _with_new_password(port))
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """End it, and wait until it has ended. Idempotent."""
        if self._process is None:
            return
        process, self._process = self._process, None
        if self._throwaway:
            process.kill()
        if process.stdin is not None:
            process.stdin.close()
        try:
            process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _run(self, class_path: str, port: int) -> subprocess.Popen[str]:
        opened = [f"--add-opens={package}=ALL-UNNAMED" for package in _OPENED]
        compiling = [_COMPILE_LITTLE] if self._throwaway else []
        program = ["-cp", class_path, "Neo4jServer", str(self._data / "neo4j"), str(port)]
        with (self._data / _LOG).open("a") as log:
            if not _locked(log):
                raise Neo4jError(f"The Neo4j in {self._data} is in use by another process.")
            log.truncate(0)
            return subprocess.Popen(
                ["java", *_JVM, *compiling, *opened, *program],
                stdin=self._lifeline,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,  # Ctrl-C is for its owner, who then ends it in good order
            )

    def _wait_until_ready(self, process: subprocess.Popen[str]) -> None:
        for line in process.stdout or ():
            if line.strip() == "ready":
                return
        raise Neo4jError(f"Neo4j ended at once. The end of its log:\n{(self._data / _LOG).read_text()[-2000:]}")


def running_graph(data: Path = DATA) -> Graph | None:
    """Where the server over this folder is; None when none runs."""
    graph = _kept(data)
    return graph if graph is not None and is_running(data) else None


def is_running(data: Path) -> bool:
    """Whether a server over this folder runs, whoever started it."""
    if not (data / _LOG).exists():
        return False
    with (data / _LOG).open() as log:
        return not _locked(log)


def wait_until_ended(data: Path) -> None:
    """Return when no server over this folder runs any more."""
    with (data / _LOG).open() as log:
        fcntl.flock(log, fcntl.LOCK_EX)


def _locked(log: IO[str]) -> bool:
    """Take the lock that a running server holds: its standard error is the log, and locked until it ends."""
    try:
        fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _kept(data: Path) -> Graph | None:
    path = data / _ADDRESS
    return Graph(**json.loads(path.read_text())) if path.exists() else None


def _keep(data: Path, graph: Graph) -> None:
    """In a file of its owner's alone, whole or not at all."""
    unfinished = data / f"{_ADDRESS}.unfinished"
    unfinished.touch(mode=0o600)
    unfinished.write_text(json.dumps(asdict(graph)))
    unfinished.rename(data / _ADDRESS)


def _with_new_password(port: int) -> Graph:
    from neo4j import GraphDatabase

    graph = Graph(f"bolt://127.0.0.1:{port}", _USER, secrets.token_urlsafe(16))
    with GraphDatabase.driver(graph.url, auth=(_USER, _FIRST_PASSWORD)) as driver:
        driver.execute_query(
            "ALTER CURRENT USER SET PASSWORD FROM $first TO $password",
            {"first": _FIRST_PASSWORD, "password": graph.password},
            database_="system",
        )
    return graph


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main() -> None:
    """Serve until told to stop."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # a shell's job in the background ignores Ctrl-C
        signal.signal(number, signal.default_int_handler)
    try:
        with Neo4jServer(DATA) as server:
            print("Neo4j is running. To use it, paste this into local_graph_db_json_secret:", _block(server), sep="\n")
            print("`make demo` finds it by itself. Ctrl-C stops it; its data stay in playground/.data.", flush=True)
            signal.pause()
    except Neo4jError as exc:
        sys.exit(str(exc))
    except KeyboardInterrupt:
        print("\nStopped.")


def _block(server: Neo4jServer) -> str:
    return json.dumps(server.graph.block)


if __name__ == "__main__":
    main()
