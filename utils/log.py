"""Log lines: ids, counts and durations, each carrying the trace id of the call it belongs to.

The SDK owns stdout and wants log lines there as JSON events; :func:`attach` gives our records to the handler it is
passed and keeps foreign libraries, which log texts and URLs, away from it unless the level is DEBUG.
"""

from __future__ import annotations

import contextvars
import logging
import traceback
import uuid
from contextlib import AbstractContextManager
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
    "psycopg",
    "sqlalchemy",
    "qdrant_client",
)

trace: Final[contextvars.ContextVar[str]] = contextvars.ContextVar("trace", default="")


class _Traced(logging.Filter):
    """Puts the current call's trace id in front of the message."""

    def filter(self, record: logging.LogRecord) -> bool:
        if current := trace.get():
            record.msg, record.args = f"[{current}] {record.getMessage()}", None
        return True


def attach(handler: logging.Handler) -> None:
    """Send the plugin's records to ``handler``, whose own level is opened: :func:`set_level` decides."""
    handler.addFilter(_Traced())
    handler.setLevel(logging.NOTSET)
    logger = logging.getLogger(ROOT)
    logger.addHandler(handler)
    logger.propagate = False
    for name in _FOREIGN:
        logging.getLogger(name).addHandler(handler)
        logging.getLogger(name).propagate = False
    set_level("INFO")


def set_level(level: str) -> None:
    """Take ``level`` (a name of :data:`LEVELS`) into effect at once; an unknown one counts as INFO."""
    chosen = level if level in LEVELS else "INFO"
    if logging.getLogger(ROOT).level == logging.getLevelNamesMapping()[chosen]:
        return  # setLevel empties the caches of every logger there is: 0.2 ms, twice a call
    logging.getLogger(ROOT).setLevel(chosen)
    foreign = logging.INFO if chosen == "DEBUG" else logging.CRITICAL + 1
    for name in _FOREIGN:
        logging.getLogger(name).setLevel(foreign)


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
