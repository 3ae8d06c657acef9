"""The stand-in as a child process, for benchmarks: it then takes no time from the interpreter that is measured."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any, Final, Self

_ROOT: Final = Path(__file__).resolve().parents[2]
_STOP_TIMEOUT_S: Final = 120.0


class StandInProcess:
    """``with StandInProcess() as model: ... model.base_url``; ``control`` reaches its knobs and counters over HTTP."""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "playground.stand_in_model", "--port", "0"],
            cwd=_ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None  # noqa: S101 - it was asked for
        self.base_url = self._process.stdout.readline().strip()
        if not self.base_url:
            raise OSError("The stand-in model did not start.")
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._process.terminate()
        self._process.wait(_STOP_TIMEOUT_S)

    def control(self, **changes: Any) -> dict[str, Any]:
        """Change ``Settings`` by name (also ``reset=True``, ``script=[...]``) and return everything as it then is."""
        address = self.base_url.removesuffix("/v1") + "/control"
        body = json.dumps(changes).encode() if changes else None
        request = urllib.request.Request(address, data=body, headers={"Content-Type": "application/json"})
        with urllib.request.urlopen(request) as response:
            snapshot: dict[str, Any] = json.load(response)
        return snapshot
