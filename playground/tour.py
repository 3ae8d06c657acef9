"""The tour itself: every memory tool once or more, on one user, with what it is good for."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from playground.dify_host import PluginProcess
from playground.extraction_chapter import ExtractionChapter
from playground.forgetting_chapter import ForgettingChapter
from playground.invocation import Invocation
from playground.postgres import Database
from playground.relations_chapter import HOW_TO_HAVE_IT, RelationsChapter
from playground.terminal import Terminal, moment

USER_ID: Final = "alice"
_OTHER_USER_ID: Final = "bob"
_CONVERSATION: Final = (
    ("Hi! I live in Lisbon and my favourite colour is green.", "Lovely city!", {"topic": "profile"}),
    ("I'm allergic to peanuts.", "I will keep that in mind.", {"topic": "health"}),
    ("I like hiking on Sundays. What is the weather like?", "Sunny.", {"topic": "leisure"}),
)
_MOVED: Final = "By the way, I live in Porto now."
_PENDING_TIMEOUT_S: Final = 180.0  # a real model may take seconds for each write
_POLL_S: Final = 0.05


class TourFailed(Exception):
    """A tool did not do what the tour shows; the message says which and what it answered."""


class Tour:
    """The steps, in order.

    Args:
        plugin: a started process.
        credentials: a credential set in async mode.
        terminal: where it is shown.
        database: where the memories are.
        folder: for what the tour keeps.
    """

    def __init__(
        self,
        plugin: PluginProcess,
        credentials: Mapping[str, Any],
        terminal: Terminal,
        database: Database,
        folder: Path,
    ) -> None:
        self._plugin = plugin
        self._database, self._folder = database, folder
        self._accepting = {**credentials, "async_mode": True}
        self._waiting = {**credentials, "async_mode": False}
        self._terminal = terminal

    def run(self) -> None:
        """All steps.

        Raises:
            TourFailed: one of them went wrong.
        """
        self._validate()
        self._greet()
        self._remember()
        self._recall()
        self._reconcile()
        self._one_memory()
        self._relate()
        self._extract()
        self._another_user()
        self._forget()
        self._farewell()

    def _validate(self) -> None:
        checked = self._plugin.validate(self._accepting)
        if checked.error is not None:
            raise TourFailed(f"The credentials were refused: {checked.error}")
        self._terminal.started("credentials checked", "models answer, dimensions fit, stores open", checked.elapsed_s)

    def _greet(self) -> None:
        known = self._all()
        if not known:
            self._terminal.heading(f"First run: nothing is remembered about {USER_ID} yet")
            return
        newest = moment(max(row["timestamp"] for row in known))
        self._terminal.heading(f"Welcome back: {len(known)} memories of an earlier run, the newest of {newest} UTC")
        self._terminal.memories(known)

    def _remember(self) -> None:
        self._terminal.heading("Remember: answered as soon as it is durably recorded, done in the background")
        failed_before = self._search("anything").variables["failed_writes"]
        started = time.perf_counter()
        for user, assistant, metadata in _CONVERSATION:
            given = {"user": user, "assistant": assistant, "metadata": json.dumps(metadata)}
            added = self._call("add_memory", given, self._accepting)
            events = ", ".join(result["event"] for result in added.results)
            self._terminal.call("add_memory", given, events, added.elapsed_s)
        pending = self._search("anything").variables["pending_writes"]
        self._await_writes(failed_before)
        took_s = time.perf_counter() - started
        self._terminal.note(f"pending_writes: {pending} after the last answer, 0 after {took_s:.2f} s in all")

    def _recall(self) -> None:
        self._terminal.heading("Recall: by meaning, best first; with filters on what was given as metadata")
        for given in (
            {"query": "Where do I live?", "top_k": 3},
            {"query": "What am I allergic to?", "filters": '{"topic": {"in": ["health", "diet"]}}'},
        ):
            found = self._call("search_memory", given, self._accepting)
            self._terminal.call("search_memory", given, "", found.elapsed_s)
            self._terminal.memories(found.results, scores=True)

    def _reconcile(self) -> None:
        self._terminal.heading("Reconcile: news changes what is known (async_mode off: the call waits)")
        given = {"user": _MOVED}
        added = self._call("add_memory", given, self._waiting)
        self._terminal.call("add_memory", given, _events(added.results), added.elapsed_s)

    def _one_memory(self) -> None:
        self._terminal.heading("One memory's life: get, update, history, delete")
        found = self._search("hiking on Sundays").results
        if not found:
            raise TourFailed("The search for a memory to change found nothing.")
        of_it = {"memory_id": found[0]["id"]}
        self._show("get_memory", of_it, lambda memory: str(memory["memory"]))
        self._show("update_memory", {**of_it, "text": "Goes hiking on Saturdays"}, _message)
        history = self._call("get_memory_history", of_it, self._waiting)
        self._terminal.call("get_memory_history", of_it, "", history.elapsed_s)
        self._terminal.history(history.results)
        self._show("delete_memory", of_it, _message)
        self._expect_gone(of_it)

    def _relate(self) -> None:
        if "local_graph_db_json_secret" not in self._waiting:
            self._terminal.note(f"\n{HOW_TO_HAVE_IT}")
            return

        def call(tool: str, given: Mapping[str, Any]) -> Invocation:
            return self._call(tool, given, self._waiting)

        RelationsChapter(call, self._terminal).run()

    def _extract(self) -> None:
        def call(tool: str, given: Mapping[str, Any]) -> Invocation:
            return self._call(tool, given, self._accepting)

        if not ExtractionChapter(call, self._terminal).run():
            raise TourFailed(f"The extraction did not do what it should.{self._complaints()}")

    def _another_user(self) -> None:
        self._terminal.heading(f"Another user: neither sees what is {USER_ID}'s, nor is seen")
        as_bob = {"user_id": _OTHER_USER_ID}
        self._show("add_memory", {**as_bob, "user": "I live in Oslo", "infer": False}, _events)
        if any(row["user_id"] != USER_ID for row in self._search("Who lives in Oslo?").results):
            raise TourFailed(f"A search of {USER_ID}'s memories found one of {_OTHER_USER_ID}'s.")
        self._show("delete_all_memories", as_bob, _message)

    def _forget(self) -> None:
        def call(tool: str, given: Mapping[str, Any]) -> Invocation:
            return self._call(tool, given, self._waiting)

        ForgettingChapter(call, self._terminal, self._database, self._folder).run()

    def _farewell(self) -> None:
        kept = self._all()
        self._terminal.heading(f"What is remembered about {USER_ID} now: {len(kept)} memories")
        self._terminal.memories(kept)

    def _show(self, tool: str, given: Mapping[str, Any], said: Callable[[Any], str]) -> None:
        answered = self._call(tool, given, self._waiting)
        self._terminal.call(tool, given, said(answered.results), answered.elapsed_s)

    def _expect_gone(self, of_it: Mapping[str, Any]) -> None:
        answered = self._plugin.invoke("get_memory", {"user_id": USER_ID, **of_it}, self._waiting)
        if answered.status != "NOT_FOUND":
            raise TourFailed(f"get_memory answered {answered.status} for a deleted memory.")
        self._terminal.call("get_memory", of_it, f"{answered.status}: {answered.text}", answered.elapsed_s)

    def _all(self) -> Sequence[Mapping[str, Any]]:
        listed = self._call("get_all_memories", {}, self._accepting)
        results: Sequence[Mapping[str, Any]] = listed.results
        return results

    def _search(self, query: str) -> Invocation:
        return self._call("search_memory", {"query": query}, self._accepting)

    def _await_writes(self, failed_before: int) -> None:
        deadline = time.monotonic() + _PENDING_TIMEOUT_S
        while (state := self._search("anything").variables)["pending_writes"]:
            if time.monotonic() > deadline:
                raise TourFailed(f"Writes were still pending after {_PENDING_TIMEOUT_S:g} s.{self._complaints()}")
            time.sleep(_POLL_S)
        if state["failed_writes"] > failed_before:
            raise TourFailed(f"The plugin could not carry out a write.{self._complaints()}")

    def _call(self, tool: str, given: Mapping[str, Any], credentials: Mapping[str, Any]) -> Invocation:
        answered = self._plugin.invoke(tool, {"user_id": USER_ID, **given}, credentials)
        if answered.error is not None:
            raise TourFailed(f"{tool} failed: {answered.error}.{self._complaints()}")
        if answered.status not in ("SUCCESS", "ACCEPTED"):
            raise TourFailed(f"{tool} answered {answered.status}: {answered.text}{self._complaints()}")
        return answered

    def _complaints(self) -> str:
        """The plugin's own warnings, for whoever has to find out why."""
        lines = [line.message for line in self._plugin.logs if line.level in {"WARNING", "ERROR", "CRITICAL"}][-5:]
        return "".join(f"\n  {line}" for line in lines)


def _events(results: Any) -> str:
    return "; ".join(f"{result['event']} {result['memory']}" for result in results) or "nothing to change"


def _message(results: Any) -> str:
    return str(results["message"]) if isinstance(results, dict) and "message" in results else str(results)
