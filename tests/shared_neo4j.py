"""One Neo4j for a whole test run, however many workers it has: a server takes 10 s of a core and 400 MB.

The run itself (pytest, or the controller of xdist's workers) holds the server's lifeline, a pipe with a name: whatever
becomes of the run, the server ends with it. The first worker that needs the server starts it; the others read where it
is. There is one database in it: tests keep apart by the scope of their vector store, or by users of their own.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import tempfile
from pathlib import Path
from typing import Final, Self

from playground.neo4j_server import Graph, Neo4jServer, is_running, running_graph, wait_until_ended

_LIFELINE: Final = "lifeline"
_PID: Final = "pid"


class SharedNeo4j:
    """The run's end of it. Making it costs a folder and no server; :meth:`end` leaves neither behind."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="neo4j-"))
        os.mkfifo(self.folder / _LIFELINE, 0o600)
        # Open to read and write, so that opening waits for nobody; the server sees its end when this process is gone.
        self._lifeline = os.open(self.folder / _LIFELINE, os.O_RDWR)

    def end(self) -> None:
        """End the server, if there is one, and remove its data."""
        os.close(self._lifeline)
        if is_running(self.folder):
            _end_server(self.folder)
        shutil.rmtree(self.folder)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()


def _end_server(folder: Path) -> None:
    with contextlib.suppress(FileNotFoundError):  # its starter was killed; it ends by itself
        pid = int((folder / _PID).read_text())
        if is_running(folder):  # so the number is still its own
            os.kill(pid, signal.SIGKILL)
    wait_until_ended(folder)


def shared_graph(folder: Path) -> Graph:
    """Where the run's server is; it is started if nobody has needed it yet.

    Args:
        folder: of the run's :class:`SharedNeo4j`.

    Raises:
        Neo4jError: it could not be fetched or started.
    """
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return running_graph(folder) or _started(folder)


def _started(folder: Path) -> Graph:
    lifeline = os.open(folder / _LIFELINE, os.O_RDONLY)
    try:
        server = Neo4jServer(folder, throwaway=True, lifeline=lifeline).start()
    finally:
        os.close(lifeline)
    (folder / _PID).write_text(str(server.pid))
    return server.graph
