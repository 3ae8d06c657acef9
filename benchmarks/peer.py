"""The processes a benchmark talks to, and the figures it prints."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import psutil


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds each call took, and seconds in all."""

    times_s: list[float]
    wall_s: float

    @property
    def p50_ms(self) -> float:
        """The median, in milliseconds."""
        return statistics.median(self.times_s) * 1000

    @property
    def p95_ms(self) -> float:
        """The 95th percentile, in milliseconds."""
        return statistics.quantiles(self.times_s, n=20)[-1] * 1000

    @property
    def per_s(self) -> float:
        """Calls a second."""
        return len(self.times_s) / self.wall_s

    def __add__(self, other: Timing) -> Timing:
        return Timing(self.times_s + other.times_s, self.wall_s + other.wall_s)


class Mem0Peer:
    """mem0's ``AsyncMemory`` in a process patched like the plugin's (see ``benchmarks.mem0_peer``)."""

    def __init__(self, config: Mapping[str, Any], home: Path) -> None:
        environment = {"PATH": os.environ["PATH"], "HOME": str(home), "MEM0_DIR": str(home / "mem0")}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.mem0_peer"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            text=True,
        )
        self._ask(config)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._process.kill()
        self._process.wait()

    def run(self, do: str, texts: Sequence[str], user_id: str, in_flight: int = 1) -> Timing:
        """Search or add every text, ``in_flight`` at a time."""
        return Timing(**self._ask({"do": do, "texts": list(texts), "user_id": user_id, "in_flight": in_flight}))

    def rss_mb(self) -> float:
        """Resident memory in MB."""
        return psutil.Process(self._process.pid).memory_info().rss / 1e6

    def _ask(self, line: Mapping[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(line) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer


def machine() -> str:
    """The machine, for the head of a report."""
    memory_gb = psutil.virtual_memory().total / 1e9
    return f"{platform.machine()}, {os.cpu_count()} cores, {memory_gb:.0f} GB, Python {platform.python_version()}"
