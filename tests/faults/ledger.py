"""Looking into the state store from outside, to see what the plugin will not say: the order in which writes were
carried out.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Protocol

import psycopg

from playground.postgres import Database
from tests.plugin import pause_s

DEADLINE_S: Final = 600.0


class Ledger(Protocol):
    """A state store, as a test reads it."""

    def rows(self, statement: str, *params: Any) -> list[tuple[Any, ...]]:
        """Rows of a statement that names its tables as ``{table}`` and its parameters as ``?``."""


class PostgresLedger:
    """The state in a PostgreSQL database, read over one connection."""

    def __init__(self, database: Database) -> None:
        self.uri = database.uri
        self._reading: psycopg.Connection[tuple[Any, ...]] | None = None

    def rows(self, statement: str, *params: Any) -> list[tuple[Any, ...]]:
        if self._reading is None:
            self._reading = psycopg.connect(self.uri, autocommit=True)
        text = statement.replace("mem0_dify_", "mem0_dify.").replace("?", "%s")
        return self._reading.execute(text.encode(), params).fetchall()

    def close(self) -> None:
        if self._reading is not None:
            self._reading.close()

    def forget_workers(self) -> None:
        """As if nobody had been seen to serve any credentials for an hour."""
        with psycopg.connect(self.uri) as connection:
            connection.execute("UPDATE mem0_dify.workers SET seen_at = seen_at - 3600")

    def make_due(self) -> None:
        """As if the time of every write's next try had come."""
        with psycopg.connect(self.uri) as connection:
            connection.execute("UPDATE mem0_dify.writes SET next_attempt_at = 1 WHERE status = 'pending'")
            connection.execute("UPDATE mem0_dify.write_queues SET due_at = 1 WHERE due_at IS NOT NULL")

    @contextmanager
    def memories_held(self) -> Iterator[None]:
        """Keep every change of the memories waiting while the block runs; reading goes on."""
        with psycopg.connect(self.uri) as connection:
            connection.execute("LOCK TABLE mem0 IN SHARE ROW EXCLUSIVE MODE")
            yield


class SqliteLedger:
    """The state in a SQLite file."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "mem0_dify.sqlite3"

    def rows(self, statement: str, *params: Any) -> list[tuple[Any, ...]]:
        connection = sqlite3.connect(self._path, timeout=600)
        try:
            return connection.execute(statement.replace("mem0_dify_", ""), params).fetchall()
        finally:
            connection.close()


def carried_out(ledger: Ledger, user_id: str) -> list[str]:
    """The new texts of a user's changes, in the order in which the writes were finished."""
    found = ledger.rows("SELECT new_memory FROM mem0_dify_history WHERE user_id = ? ORDER BY seq", user_id)
    return [text for (text,) in found]


def planned(ledger: Ledger) -> int:
    """How many pending writes have a committed plan."""
    [(count,)] = ledger.rows("SELECT count(*) FROM mem0_dify_writes WHERE status = 'pending' AND plan IS NOT NULL")
    return int(count)


def wait_until(condition: Callable[[], object], timeout_s: float = DEADLINE_S, every_s: float | None = None) -> None:
    """Look again and again until ``condition`` holds: the state store tells nobody when it changes. The deadline is for
    a test that will never pass; what a test is about is never that something happened within it.

    It looks ``every_s`` seconds, or less and less often the longer it waits: what is waited for needs the machine more.
    """
    began = time.monotonic()
    while not condition():
        waited_s = time.monotonic() - began
        assert waited_s < timeout_s, "it did not happen"
        time.sleep(every_s or pause_s(waited_s))
