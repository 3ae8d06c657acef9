"""The tour's chapter on relations: what a graph adds to a search, and that its edges go with their memories.

It needs a graph; ``make neo4j`` starts one, which the demo finds by itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from playground.invocation import Invocation
from playground.terminal import Terminal

HOW_TO_HAVE_IT: Final = "Relations are not shown: run `make neo4j` in another terminal first (a JDK and Maven needed)."
_USER: Final = {"user_id": "dora"}
_MESSAGES: Final = ("I live in Lisbon and my favourite colour is green.", "I like hiking on Sundays.")
_QUERY: Final = "Where does she live?"
_PATIENCE_S: Final = 60.0  # the graph learns a moment after the memories
_POLL_S: Final = 0.2

type Call = Callable[[str, Mapping[str, Any]], Invocation]


class RelationsChapter:
    """What a graph is good for, on one user.

    Args:
        call: calls a tool and waits for what it does.
        terminal: where it is shown.
    """

    def __init__(self, call: Call, terminal: Terminal) -> None:
        self._call = call
        self._terminal = terminal

    def run(self) -> None:
        """Remember, search, delete what a relation stems from, search again."""
        self._terminal.heading("Relations: out of the same answer of the model, beside every search")
        for message in _MESSAGES:
            self._show("add_memory", {**_USER, "user": message}, "")
        found = self._search(lambda relations: bool(relations))
        self._terminal.relations(relations := _relations(found))
        if relations:
            self._show("delete_memory", {**_USER, "memory_id": relations[0]["memory_id"]}, "its relations go with it")
            self._search(lambda left: relations[0] not in left)
        self._call("delete_all_memories", {**_USER, "purge_history": True})  # the next tour begins anew

    def _search(self, is_there: Callable[[list[dict[str, Any]]], bool]) -> Invocation:
        """A search, shown as soon as the graph has learned what the chapter is about."""
        given, give_up_at = {**_USER, "query": _QUERY}, time.monotonic() + _PATIENCE_S
        while not is_there(_relations(found := self._call("search_memory", given))) and time.monotonic() < give_up_at:
            time.sleep(_POLL_S)
        count = len(_relations(found))
        self._terminal.call("search_memory", given, f"{count} relations beside the memories", found.elapsed_s)
        return found

    def _show(self, tool: str, given: Mapping[str, Any], said: str) -> None:
        answered = self._call(tool, given)
        events = "; ".join(f"{one['event']} {one['memory']}" for one in answered.results if "event" in one)
        self._terminal.call(tool, given, said or events, answered.elapsed_s)


def _relations(found: Invocation) -> list[dict[str, Any]]:
    relations: list[dict[str, Any]] = (found.envelope or {}).get("relations", [])
    return relations
