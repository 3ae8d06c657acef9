"""The tour's chapter on forgetting: memories that are months old, which of them would go, why, and what a search saves.

Time cannot be waited for in a tour: the memories are made older in the database.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import psycopg

from playground.invocation import Invocation
from playground.postgres import Database
from playground.terminal import Terminal, shown_path

_USER: Final = {"user_id": "carol"}
# Texts, metadata, and how many days ago they were remembered.
_MEMORIES: Final = (
    ("Was at a concert in Porto", {"memory_subtype": "episodic"}, 60),
    ("Had a cold", {"memory_subtype": "episodic"}, 20),
    ("Plays the cello on Sundays", {"memory_subtype": "semantic"}, 200),
    ("Drinks her coffee black", {"memory_subtype": "semantic"}, 150),
    ("Backs up her laptop on Fridays: disk in, run the script, disk out", {"memory_subtype": "procedural"}, 150),
    ("Is allergic to peanuts", {"memory_subtype": "semantic", "pinned": True}, 400),
)
_MAKE_OLDER: Final = (
    "UPDATE mem0 SET payload = payload || jsonb_build_object('created_at',"
    " to_char(now() - make_interval(days => %s), 'YYYY-MM-DD\"T\"HH24:MI:SS'))"
    " WHERE payload ->> 'data' = %s AND payload ->> 'user_id' = %s"
)
_RECALLED: Final = "SELECT 1 FROM mem0_dify.recalls WHERE user_id = %s"
_PATIENCE_S: Final = 30.0
_POLL_S: Final = 0.05
_SAVED: Final = "Plays the cello on Sundays"

type Call = Callable[[str, Mapping[str, Any]], Invocation]


class ForgettingChapter:
    """What forgetting is, on one user.

    Args:
        call: calls a tool and waits for what it does.
        terminal: where it is shown.
        database: where the memories are, to make them older.
        folder: where the picture goes.
    """

    def __init__(self, call: Call, terminal: Terminal, database: Database, folder: Path) -> None:
        self._call = call
        self._terminal = terminal
        self._database = database
        self._folder = folder

    def run(self) -> None:
        """Remember, grow old, recall one, look, forget."""
        self._terminal.heading("Forget: what is found again lives on, the rest fades")
        for text, metadata, days in _MEMORIES:
            self._call("add_memory", {**_USER, "user": text, "infer": False, "metadata": json.dumps(metadata)})
            self._make_older(text, days)
        self._terminal.note(f"{len(_MEMORIES)} memories of {_USER['user_id']}, made 20 to 400 days old in the database")
        found = self._show("search_memory", {**_USER, "query": _SAVED, "top_k": 1}, "strengthens what it found")
        self._terminal.memories(found.results, scores=True)
        self._wait_for_the_recall()
        shown = self._show("forget_memories", {**_USER, "dry_run": True}, "")
        self._terminal.forgotten(shown.results["would_delete"])
        self._terminal.note(f"A picture of all her memories: {shown_path(self._keep(shown))}")
        self._show("forget_memories", _USER, "")
        self._call("delete_all_memories", {**_USER, "purge_history": True})  # the next tour begins anew

    def _show(self, tool: str, given: Mapping[str, Any], said: str) -> Invocation:
        answered = self._call(tool, given)
        self._terminal.call(tool, given, said or str((answered.envelope or {})["messages"]), answered.elapsed_s)
        return answered

    def _make_older(self, text: str, days: int) -> None:
        self._send(_MAKE_OLDER, (days, text, _USER["user_id"]))

    def _wait_for_the_recall(self) -> None:
        """A search's recall is recorded within a second of its answer."""
        give_up_at = time.monotonic() + _PATIENCE_S
        while not self._send(_RECALLED, (_USER["user_id"],)) and time.monotonic() < give_up_at:
            time.sleep(_POLL_S)

    def _send(self, statement: str, params: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        with psycopg.connect(self._database.uri) as connection:
            cursor = connection.execute(statement.encode(), params)
            return cursor.fetchall() if cursor.description else []

    def _keep(self, shown: Invocation) -> Path:
        [picture] = shown.blobs
        path = self._folder / str(picture.meta["filename"])
        path.write_bytes(picture.data)
        return path
