"""Counts, inside the measured process, which layer its CPU time goes to.

Every millisecond of CPU time the kernel sends a signal, and whatever runs then is counted for the innermost frame that
belongs to a layer: what the standard library or pydantic does is done for the layer that called it. SIGUSR1 writes the
counts since the last one to a file. Greenlets all run on the main thread, where signals arrive.
"""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from functools import cache
from pathlib import Path
from types import FrameType

_EVERY_S = 0.001
_OTHER = "the interpreter and other packages"
# Part of a file's path, layer; the first that fits.
_LAYERS = (
    ("/site-packages/openai/", "model SDK and HTTP"),
    ("/site-packages/httpx", "model SDK and HTTP"),
    ("/site-packages/httpcore", "model SDK and HTTP"),
    ("/site-packages/h11/", "model SDK and HTTP"),
    ("/site-packages/urllib3/", "model SDK and HTTP"),
    ("/http/client.py", "model SDK and HTTP"),
    ("/site-packages/mem0/", "mem0"),
    ("/site-packages/psycopg", "database driver"),
    ("/site-packages/sqlalchemy/", "SQLAlchemy"),
    ("/site-packages/dify_plugin/", "Dify's SDK and the protocol"),
    ("/site-packages/gevent/", "greenlets and the loop"),
    ("/asyncio/", "greenlets and the loop"),
    ("/concurrent/futures/", "greenlets and the loop"),
    ("/threading.py", "greenlets and the loop"),
    ("/utils/aio/", "greenlets and the loop"),
    ("/logging/", "log lines"),
    ("/utils/log.py", "log lines"),
    ("/utils/memory/", "the plugin: memory"),
    ("/utils/stores/", "the plugin: stores"),
    ("/utils/state/", "the plugin: state and queue"),
    ("/utils/queue/", "the plugin: state and queue"),
    ("/utils/models/", "the plugin: models"),
    ("/utils/", "the plugin: frame"),
    ("/tools/", "the plugin: frame"),
)

_counts: Counter[str] = Counter()


def count(file: str) -> None:
    """Begin; the counts go to ``file`` as a JSON object of samples by layer."""
    signal.signal(signal.SIGPROF, _sample)
    signal.signal(signal.SIGUSR1, lambda _number, _frame: _write(Path(file)))
    signal.setitimer(signal.ITIMER_PROF, _EVERY_S, _EVERY_S)


def _sample(_number: int, frame: FrameType | None) -> None:
    while frame is not None:
        if (layer := _layer(frame.f_code.co_filename)) is not None:
            _counts[layer] += 1
            return
        frame = frame.f_back
    _counts[_OTHER] += 1


@cache
def _layer(file: str) -> str | None:
    return next((layer for part, layer in _LAYERS if part in file), None)


def _write(file: Path) -> None:
    beside = file.with_suffix(".new")
    beside.write_text(json.dumps(_counts))
    os.replace(beside, file)
    _counts.clear()
