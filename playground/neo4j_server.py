"""A real Neo4j for the demo and the tests: the community edition's jars from Maven Central, run by the machine's Java.

No Docker and no installation: ``fetch`` lets Maven copy the jars into a folder once (128 MB), and :class:`Neo4jServer`
runs them as one Java process that listens on 127.0.0.1, with authentication on. Promises: leaving the ``with`` block
leaves no process behind, and neither does an owner that is killed (the server ends with its standard input).

``python -m playground.neo4j_server`` (``make neo4j``) fetches it, starts it, and prints the block to paste.
"""

from __future__ import annotations

import json
import secrets
import shutil
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final, Self

_SOURCES: Final = Path(__file__).parent / "neo4j"
FOLDER: Final = Path(__file__).parent / ".neo4j"  # jars and, below data/, what the server of `make neo4j` holds
_FETCHED: Final = "fetched"  # written last, so that an interrupted download is begun anew
_STOP_TIMEOUT_S: Final = 30.0
_USER: Final = "neo4j"
_FIRST_PASSWORD: Final = _USER  # of every new Neo4j; it lets nobody do anything but change it
_OPENED: Final = ("java.base/java.nio", "java.base/java.io", "java.base/sun.nio.ch")
_MAX_HEAP: Final = "512m"


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
    if (FOLDER / _FETCHED).exists():
        return class_path
    if (missing := missing_program()) is not None:
        raise Neo4jError(f"Neo4j needs {missing}, which is not on PATH (Java 17 or newer, and Maven).")
    goal = ["dependency:copy-dependencies", f"-DoutputDirectory={jars}", "-DincludeScope=runtime"]
    _done("fetch Neo4j", ["mvn", "-q", "-B", "-f", str(_SOURCES / "pom.xml"), *goal])
    source = _SOURCES / "Neo4jServer.java"
    _done("compile the server", ["javac", "-cp", f"{jars}/*", "-d", str(classes), str(source)])
    (FOLDER / _FETCHED).touch()
    return class_path


def _done(purpose: str, command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Neo4jError(f"{command[0]} could not {purpose}:\n{(done.stdout + done.stderr)[-2000:]}")


class Neo4jServer:
    """A running server.

    Args:
        data: the folder of its data; new data get a random password, which is kept beside them.
    """

    def __init__(self, data: Path) -> None:
        self._data = data
        self._process: subprocess.Popen[str] | None = None
        self._graph: Graph | None = None

    @property
    def block(self) -> dict[str, Any]:
        """What ``local_graph_db_json_secret`` holds for it.

        Raises:
            Neo4jError: it does not run.
        """
        if self._graph is None:
            raise Neo4jError("the server does not run")
        return self._graph.block

    def __enter__(self) -> Self:
        """Start it; returns when it answers.

        Raises:
            Neo4jError: it could not be fetched, or ended at once.
        """
        self._data.mkdir(parents=True, exist_ok=True)
        port = _free_port()
        self._process = _run(fetch(), self._data / "neo4j", port)
        try:
            _wait_until_ready(self._process, self._data)
            self._graph = Graph(f"bolt://127.0.0.1:{port}", _USER, self._password(port))
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        _pipe(process.stdin).close()
        try:
            process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        _pipe(process.stdout).close()

    def kill(self) -> None:
        """End it at once, as a crash does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def _password(self, port: int) -> str:
        """The password of the data: kept, or set now."""
        from neo4j import GraphDatabase

        kept = self._data / "password"
        if kept.exists():
            return kept.read_text()
        password = secrets.token_urlsafe(16)
        with GraphDatabase.driver(f"bolt://127.0.0.1:{port}", auth=(_USER, _FIRST_PASSWORD)) as driver:
            driver.execute_query(
                "ALTER CURRENT USER SET PASSWORD FROM $first TO $password",
                {"first": _FIRST_PASSWORD, "password": password},
                database_="system",
            )
        kept.touch(mode=0o600)
        kept.write_text(password)
        return password


def _run(class_path: str, data: Path, port: int) -> subprocess.Popen[str]:
    opened = [f"--add-opens={package}=ALL-UNNAMED" for package in _OPENED]
    program = ["-cp", class_path, "Neo4jServer", str(data), str(port)]
    with (data.parent / "server.log").open("w") as log:
        return subprocess.Popen(
            ["java", f"-Xmx{_MAX_HEAP}", *opened, *program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )


def _wait_until_ready(process: subprocess.Popen[str], data: Path) -> None:
    for line in _pipe(process.stdout):
        if line.strip() == "ready":
            return
    log = (data / "server.log").read_text()
    raise Neo4jError(f"Neo4j ended at once. The end of its log:\n{log[-2000:]}")


def _pipe(pipe: IO[str] | None) -> IO[str]:
    if pipe is None:
        raise Neo4jError("the server was started without pipes")
    return pipe


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
                json.dumps(server.block),
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
