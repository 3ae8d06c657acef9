"""Log lines: ids, counts and durations, each carrying the trace id of the call it belongs to.

The SDK owns stdout and wants log lines there as JSON events; :func:`attach` gives our records to the handler it is
passed and keeps foreign libraries, which log texts and URLs, away from it unless the level is DEBUG.
"""

from __future__ import annotations

import contextvars
import logging
import traceback
from typing import Final

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


def unexpected(logger: logging.Logger, what: str, error: BaseException) -> None:
    """Log an error nobody foresaw: its class and where it came from, not its text, which may hold a user's words."""
    frames = "".join(traceback.format_tb(error.__traceback__))
    logger.error("%s: %s\n%s", what, type(error).__name__, frames)
