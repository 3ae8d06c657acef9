"""Log lines: ids, counts and durations, each carrying the trace id of the call it belongs to.

A line belongs to the credential set whose call or write it tells of, and obeys that set's level; one that belongs to
none is the process's. Both, level and trace id, go with the context: into tasks, and into the threads of ``blocking``.

The SDK owns stdout and wants log lines there as JSON events; :func:`attach` gives our records to the handler it is
passed and keeps foreign libraries, which log texts and URLs, away from it but for sets whose level is DEBUG.
"""

from __future__ import annotations

import contextvars
import logging
import traceback
import uuid
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Final

from utils.errors import PluginError, mapped_by

ROOT: Final = "utils"  # every module of the plugin logs below this name
LEVELS: Final = ("DEBUG", "INFO", "WARNING", "ERROR")
_FOREIGN: Final = (
    "mem0",
    "httpx",
    "httpx2",
    "httpcore",
    "httpcore2",
    "openai",
    "urllib3",
    "psycopg",
    "sqlalchemy",
    "qdrant_client",
    "neo4j",
    "urllib3",
)

trace: Final[contextvars.ContextVar[str]] = contextvars.ContextVar("trace", default="")


_NO_LEVEL: Final = 0
_level: Final[contextvars.ContextVar[int]] = contextvars.ContextVar("level", default=_NO_LEVEL)


class _Filter(logging.Filter):
    """Drops what the set of a line does not want, and puts the current call's trace id in front of the rest."""

    def __init__(self) -> None:
        super().__init__()
        self.level_of_process = logging.INFO

    def filter(self, record: logging.LogRecord) -> bool:
        level = _level.get()
        if record.name.partition(".")[0] != ROOT:
            if level != logging.DEBUG:  # it may hold texts, and nobody whose they could be has asked for it
                return False
        elif record.levelno < (level or self.level_of_process):
            return False
        if current := trace.get():
            record.msg, record.args = f"[{current}] {record.getMessage()}", None
        return True


_filter: Final = _Filter()


def attach(handler: logging.Handler) -> None:
    """Send the plugin's records to ``handler``, whose own level is opened: the filter decides."""
    handler.addFilter(_filter)
    handler.setLevel(logging.NOTSET)
    for name in (ROOT, *_FOREIGN):
        logging.getLogger(name).addHandler(handler)
        logging.getLogger(name).propagate = False
    set_open_levels(())


def set_open_levels(levels: Iterable[str]) -> None:
    """Say which levels the open credential sets ask for. The process's own lines are logged at the lowest of them, or
    at INFO where there is none.

    Not for every call: changing a logger's level empties the caches of all loggers there are.
    """
    _filter.level_of_process = min(map(_number, levels), default=logging.INFO)
    debug = _filter.level_of_process == logging.DEBUG
    logging.getLogger(ROOT).setLevel(logging.DEBUG if debug else logging.INFO)
    for name in _FOREIGN:
        logging.getLogger(name).setLevel(logging.INFO if debug else logging.CRITICAL + 1)


def _number(level: str) -> int:
    return logging.getLevelNamesMapping()[level if level in LEVELS else "INFO"]


def belongs_to_set(level: str) -> None:
    """The current task belongs to a credential set that logs at ``level`` (a name of :data:`LEVELS`; an unknown one
    counts as INFO), and so does whatever it calls or starts.
    """
    _level.set(_number(level))


@contextmanager
def call(level: str, trace_id: str) -> Iterator[None]:
    """The body belongs to a call: its lines, and those of what it submits, carry ``trace_id`` and obey ``level`` (as
    for :func:`belongs_to_set`). Afterwards the thread belongs to nobody again: the SDK uses it for other calls.
    """
    level_token, trace_token = _level.set(_number(level)), trace.set(trace_id)
    try:
        yield
    finally:
        trace.reset(trace_token)
        _level.reset(level_token)


def unforeseen(logger: logging.Logger, what: str) -> AbstractContextManager[None]:
    """Log an error of the body that nobody foresaw, and let it leave as one of the tree, whose sentence has the id of
    the log line. Logged are its class and where it came from, not its text, which may hold a user's words.

    Args:
        logger: of the module.
        what: what was being done.
    """

    def log_it(error: Exception) -> PluginError:
        error_id = uuid.uuid4().hex[:8]
        frames = "".join(traceback.format_tb(error.__traceback__))
        logger.error("%s failed unexpectedly (%s): %s\n%s", what, error_id, type(error).__name__, frames)
        return PluginError("error_internal", error_id=error_id)

    return mapped_by(log_it)
