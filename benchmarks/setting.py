"""What the benchmarks run on: a database, a stand-in for the models, the plugin as a process, and mem0 in another.

Each is a process of its own, so that none takes time from another's interpreter; the two sides use the same model
endpoint and the same pgvector table. Leaving the ``with`` block stops everything and removes every file.
"""

from __future__ import annotations

import json
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psycopg

from benchmarks import installation
from benchmarks.peer import Mem0Peer
from benchmarks.timing import Timing
from playground.credentials import Endpoint, credential_set, pgvector_block
from playground.dify_host import PluginProcess
from playground.invocation import Invocation
from playground.postgres import PostgresServer
from playground.stand_in_model.process import StandInProcess

_POLL_S: Final = 0.002
_WATCH_S: Final = 0.02
_DRAIN_S: Final = 180.0
_MIB: Final = 2**20
_PENDING: Final = "SELECT count(*) FROM mem0_dify.writes WHERE status = 'pending'"

type Parameters = Mapping[str, Any]


class UnexpectedAnswer(Exception):
    """A call that should have succeeded did not; there is nothing to measure then."""


class Plugin:
    """Timed calls of one plugin process.

    Args:
        process: running.
        credentials: what every call passes.
        state: a connection to the database with the plugin's state, to see from outside when it has nothing left to do.
    """

    def __init__(
        self, process: PluginProcess, credentials: Parameters, state: psycopg.Connection[tuple[Any, ...]]
    ) -> None:
        self.process = process
        self._credentials = credentials
        self._state = state

    def without_keyword_order(self) -> Plugin:
        """The same process, called with a credential set whose searches go by similarity alone, as mem0's do."""
        store = json.loads(self._credentials["local_vector_db_json_secret"])
        store["config"]["keyword_order"] = False
        plain = {**self._credentials, "local_vector_db_json_secret": json.dumps(store)}
        return Plugin(self.process, plain, self._state)

    def submit(self, tool: str, **parameters: Any) -> Future[Invocation]:
        """Call a tool; the answer comes with the future."""
        return self.process.submit(tool, parameters, self._credentials)

    def call(self, tool: str, *, status: str = "SUCCESS", **parameters: Any) -> Invocation:
        """Call a tool and wait for its answer.

        Raises:
            UnexpectedAnswer: its status is not ``status``.
        """
        return expect(self.submit(tool, **parameters).result(), status)

    def timed(self, tool: str, calls: Sequence[Parameters], *, in_flight: int = 1, status: str = "SUCCESS") -> Timing:
        """Call a tool with each of ``calls``, ``in_flight`` at a time. Seconds run from sending a call to its end.

        Raises:
            UnexpectedAnswer: an answer's status is not ``status``.
        """
        gate = threading.Semaphore(in_flight)
        futures = []
        started = time.perf_counter()
        for parameters in calls:
            gate.acquire()
            futures.append(self.submit(tool, **parameters))
            futures[-1].add_done_callback(lambda _: gate.release())
        answers = [expect(future.result(), status) for future in futures]
        return Timing([answer.elapsed_s for answer in answers], time.perf_counter() - started)

    def pending(self) -> int:
        """How many accepted writes have not been carried out, asked without disturbing the plugin."""
        row = self._state.execute(_PENDING).fetchone()
        assert row is not None
        return int(row[0])

    def drain(self) -> None:
        """Wait until every accepted write has been carried out.

        Raises:
            UnexpectedAnswer: some have not been for minutes: they fail and are tried again.
        """
        deadline = time.monotonic() + _DRAIN_S
        while pending := self.pending():
            if time.monotonic() > deadline:
                raise UnexpectedAnswer(f"{pending} writes are still pending. {self.process.last_words()}")
            time.sleep(_POLL_S)

    def rss_mib(self) -> float:
        """Resident memory in MiB."""
        return self.process.rss_bytes() / _MIB

    @contextmanager
    def largest_rss_mib(self) -> Iterator[list[float]]:
        """The most resident memory while the block runs, in MiB, as the one item of a list."""
        largest, over = [self.rss_mib()], threading.Event()

        def watch() -> None:
            while not over.wait(_WATCH_S):
                largest[0] = max(largest[0], self.rss_mib())

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            yield largest
        finally:
            over.set()
            watcher.join()


def expect(answer: Invocation, status: str) -> Invocation:
    """``answer``, if its status is ``status``.

    Raises:
        UnexpectedAnswer: it is another, or no envelope came.
    """
    if answer.error is not None or answer.status != status:
        raise UnexpectedAnswer(f"{answer.tool} answered {answer.error or answer.envelope}")
    return answer


@dataclass(frozen=True, slots=True)
class Setting:
    """Everything that runs but the plugin and mem0, which are started when they are wanted.

    Attributes:
        folder: for files; removed in the end.
        model: the stand-in model endpoint.
        credentials: what the plugin is called with.
        state: a connection to the database.
    """

    folder: Path
    model: StandInProcess
    credentials: Parameters
    state: psycopg.Connection[tuple[Any, ...]]

    @contextmanager
    def plugin(self, **env: str) -> Iterator[Plugin]:
        """A plugin process with the packages Dify would install; it ends with the block."""
        home = self.folder / "home"
        home.mkdir(exist_ok=True)
        with PluginProcess({"HOME": str(home), **installation.environment(), **env}) as process:
            yield Plugin(process, self.credentials, self.state)

    @contextmanager
    def mem0(self) -> Iterator[Mem0Peer]:
        """mem0 built from the very blocks the plugin gets; it ends with the block."""
        names = {"llm": "local_llm", "embedder": "local_embedder", "vector_store": "local_vector_db"}
        config = {part: json.loads(self.credentials[f"{name}_json_secret"]) for part, name in names.items()}
        del config["embedder"]["config"]["cache_size"]
        with Mem0Peer(config, self.folder) as peer:
            yield peer


@contextmanager
def setting() -> Iterator[Setting]:
    """Start the database and the model endpoint; however the block is left, both are gone afterwards."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="benchmark-"))
        stack.callback(shutil.rmtree, folder)
        server = stack.enter_context(PostgresServer(folder / "postgres"))
        model = stack.enter_context(StandInProcess())
        database = server.create_database("benchmark")
        state = stack.enter_context(psycopg.connect(database.uri, autocommit=True))
        credentials = credential_set(Endpoint(model.base_url), pgvector_block(database))
        yield Setting(folder, model, {**credentials, **_without_cache(credentials)}, state)


def _without_cache(credentials: Parameters) -> dict[str, str]:
    """The embedder's block, whose texts are embedded whenever they are asked for: mem0 keeps no vectors."""
    block = json.loads(credentials["local_embedder_json_secret"])
    block["config"]["cache_size"] = 0
    return {"local_embedder_json_secret": json.dumps(block)}
