"""mem0's ``AsyncMemory`` in a process of its own, for comparison (see ``benchmarks.mem0_peer``)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Self

import psutil

from benchmarks import installation
from benchmarks.timing import Timing

_ROOT: Final = Path(__file__).resolve().parent.parent
_MIB: Final = 2**20


class PeerFailed(Exception):
    """The process ended without an answer; the message is the end of what it wrote to stderr."""


class Mem0Peer:
    """``with Mem0Peer(config, home) as peer``: mem0 built from ``config``, its files in ``home``."""

    def __init__(self, config: Mapping[str, Any], home: Path) -> None:
        self._config = {**config, "history_db_path": str(home / "mem0-history.db")}
        self._home = home

    def __enter__(self) -> Self:
        home = {"HOME": str(self._home), "MEM0_DIR": str(self._home / "mem0")}
        self._errors = (self._home / "mem0-stderr").open("w+")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.mem0_peer"],
            cwd=_ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env={"PATH": os.environ["PATH"], **home, **installation.environment()},
            text=True,
        )
        try:
            self._exchange(self._config)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._process.kill()
        self._process.wait()
        self._errors.close()

    def search(self, texts: Sequence[str], user_id: str, in_flight: int = 1) -> Timing:
        """Search one user's memories for each text, ``in_flight`` at a time."""
        return Timing(**self._do("search", texts=list(texts), user_id=user_id, in_flight=in_flight))

    def found(self, texts: Sequence[str], user_id: str, top_k: int = 5) -> list[list[str]]:
        """The ids of the memories each search finds, best first."""
        found: list[list[str]] = self._do("found", texts=list(texts), user_id=user_id, top_k=top_k)
        return found

    def add(self, texts: Sequence[str], user_ids: Sequence[str], in_flight: int) -> Timing:
        """Add each text for the user at its place, ``in_flight`` at a time, each to its end."""
        return Timing(**self._do("add", texts=list(texts), user_ids=list(user_ids), in_flight=in_flight))

    def embed(self, texts: Sequence[str]) -> Timing:
        """Embed each text, one after the other."""
        return Timing(**self._do("embed", texts=list(texts), in_flight=1))

    def search_beside_adds(
        self, queries: Sequence[str], user_id: str, texts: Sequence[str], user_ids: Sequence[str]
    ) -> Timing:
        """Add all texts at once, and search one query after the other until the last is added; the searches."""
        adds = {"texts": list(texts), "user_ids": list(user_ids)}
        return Timing(**self._do("beside", **adds, queries=list(queries), user_id=user_id))

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def rss_mib(self) -> float:
        """Resident memory in MiB."""
        return float(psutil.Process(self._process.pid).memory_info().rss) / _MIB

    def _do(self, do: str, **arguments: Any) -> Any:
        return self._exchange({"do": do, **arguments})

    def _exchange(self, line: Mapping[str, Any]) -> Any:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(line) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            self._errors.seek(0)
            raise PeerFailed(f"mem0's process ended. {self._errors.read()[-2000:]}")
        return json.loads(answer)
