"""A real Neo4j for the demo and the tests: the community edition's jars from Maven Central, run by the machine's Java.

No Docker and no installation: ``fetch`` lets Maven copy the jars into a folder once (128 MB), and :class:`Neo4jServer`
runs them as one Java process that listens on 127.0.0.1, with authentication on. Promises: leaving the ``with`` block
leaves no process behind, and neither does an owner that is killed (the server ends with its standard input).

``python -m playground.neo4j_server`` (``make neo4j``) fetches it, starts it, and prints the block to paste.
"""

from __future__ import annotations

import fcntl
import json
import secrets
import shutil
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

_SOURCES: Final = Path(__file__).parent / "neo4j"
FOLDER: Final = Path(__file__).parent / ".neo4j"  # jars and, below data/, what the server of `make neo4j` holds
_FETCHED: Final = "fetched"  # written last, so that an interrupted download is begun anew
_STOP_TIMEOUT_S: Final = 60.0  # it takes seconds to put its data in order
_USER: Final = "neo4j"
_FIRST_PASSWORD: Final = _USER  # of every new Neo4j; it lets nobody do anything but change it
_OPENED: Final = ("java.base/java.nio", "java.base/java.io", "java.base/sun.nio.ch")
_JVM: Final = ("-Xmx512m", "-XX:+UseSerialGC")
_COMPILE_LITTLE: Final = "-XX:TieredStopAtLevel=1"
LOG: Final = "server.log"


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
    def block(self) -> dict[str, Any]:
        """What ``local_graph_db_json_secret`` holds."""
        config = {"url": self.url, "username": self.username, "password": self.password, "database": self.database}
        return {"provider": "neo4j", "config": config}


def missing_program() -> str | None:
    """The first program the server needs and this machine lacks; None when all are there."""
    return next((name for name in ("java", "javac", "mvn") if shutil.which(name) is None), None)


def fetch() -> str:
    """Copy the jars into :data:`FOLDER` and compile the server, once.

    Returns:
        The class path.

    Raises:
        Neo4jError: a program is missing, or Maven could not fetch the jars.
    """
    jars, classes = FOLDER / "lib", FOLDER / "classes"
    class_path = f"{classes}:{jars}/*"
    if (missing := missing_program()) is not None:
        raise Neo4jError(f"Neo4j needs {missing}, which is not on PATH (a JDK of version 17 or newer, and Maven).")
    FOLDER.mkdir(exist_ok=True)
    with (FOLDER / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (FOLDER / _FETCHED).exists():
            _fetch(jars, classes)
    return class_path


def _fetch(jars: Path, classes: Path) -> None:
    goal = ["dependency:copy-dependencies", f"-DoutputDirectory={jars}", "-DincludeScope=runtime"]
    _done("fetch Neo4j", ["mvn", "-q", "-B", "-f", str(_SOURCES / "pom.xml"), *goal])
    source = _SOURCES / "Neo4jServer.java"
    _done("compile the server", ["javac", "-cp", f"{jars}/*", "-d", str(classes), str(source)])
    (FOLDER / _FETCHED).touch()


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
        self._port = _free_port()
        self._process: subprocess.Popen[str] | None = None
        self._graph: Graph | None = None

    @property
    def graph(self) -> Graph:
        """Where it is and who may enter.

        Raises:
            Neo4jError: it was never started.
        """
        if self._graph is None:
            raise Neo4jError("the server was never started")
        return self._graph

    @property
    def pid(self) -> int | None:
        """Of the running process."""
        return self._process.pid if self._process else None

    def start(self) -> Self:
        """Start it; returns when it answers.

        Raises:
            Neo4jError: it could not be fetched, or ended at once.
        """
        self._data.mkdir(parents=True, exist_ok=True)
        self._process = self._run(fetch())
        try:
            self._wait_until_ready()
            self._graph = Graph(f"bolt://127.0.0.1:{self._port}", _USER, self._password())
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

    def _run(self, class_path: str) -> subprocess.Popen[str]:
        opened = [f"--add-opens={package}=ALL-UNNAMED" for package in _OPENED]
        compiling = [_COMPILE_LITTLE] if self._throwaway else []
        program = ["-cp", class_path, "Neo4jServer", str(self._data / "neo4j"), str(self._port)]
        with self._log.open("w") as log:
            # Whoever gets this lock knows that the server has ended: its standard error holds it until then.
            fcntl.flock(log, fcntl.LOCK_EX)
            return subprocess.Popen(
                ["java", *_JVM, *compiling, *opened, *program],
                stdin=self._lifeline,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=self._throwaway,  # Ctrl-C is for the tests, which then end it
            )

    @property
    def _log(self) -> Path:
        return self._data / LOG

    def _wait_until_ready(self) -> None:
        assert self._process is not None and self._process.stdout is not None  # noqa: S101 - for the type checker
        for line in self._process.stdout:
            if line.strip() == "ready":
                return
        raise Neo4jError(f"Neo4j ended at once. The end of its log:\n{self._log.read_text()[-2000:]}")

    def _password(self) -> str:
        """The password of the data: kept, or set now."""
        from neo4j import GraphDatabase

        kept = self._data / "password"
        if kept.exists():
            return kept.read_text()
        password = secrets.token_urlsafe(16)
        with GraphDatabase.driver(f"bolt://127.0.0.1:{self._port}", auth=(_USER, _FIRST_PASSWORD)) as driver:
            driver.execute_query(
                "ALTER CURRENT USER SET PASSWORD FROM $first TO $password",
                {"first": _FIRST_PASSWORD, "password": password},
                database_="system",
            )
        kept.touch(mode=0o600)
        kept.write_text(password)
        return password


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main() -> None:
    """Serve until the terminal says stop."""
    try:
        with Neo4jServer(FOLDER / "data") as server:
            print(
                "Neo4j is running. Paste this into local_graph_db_json_secret:",
                json.dumps(server.graph.block),
                sep="\n",
            )
            print("Ctrl-C stops it; what it holds stays.", flush=True)
            sys.stdin.read()
    except Neo4jError as exc:
        sys.exit(str(exc))
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
