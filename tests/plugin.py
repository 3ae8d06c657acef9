"""A plugin process bound to one set of credentials, as the acceptance and fault tests use it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from concurrent.futures import Future
from typing import Any, Final

from playground.dify_host import PluginProcess
from playground.invocation import Invocation
from utils.answer_size import BUDGET_BYTES

# Deadlines are for tests that will never pass: on a busy machine all takes its time.
_DRAIN_S: Final = 600.0
# As long as any tool lets a caller wait: what a test does not look at the time of has all the time there is.
PATIENT_S: Final = 60
TRIES: Final = 10  # for what must be in time at least once: the machine may be busy at any one moment
_GRACE_S: Final = 1.0
_POLL_S: Final = 0.05


class Plugin:
    """Calls tools of ``process`` with ``credentials``; every answer is checked for what holds for all of them."""

    def __init__(self, process: PluginProcess, credentials: Mapping[str, Any]) -> None:
        self.process = process
        self.credentials = dict(credentials)

    def with_credentials(self, **changed: Any) -> Plugin:
        """The same process under changed credentials."""
        return Plugin(self.process, {**self.credentials, **changed})

    def call(self, tool: str, **parameters: Any) -> Invocation:
        """Call a tool and wait for its answer; the tool waits patiently unless the test says otherwise.

        With ``timeout=None`` the tool's own default counts, as in a workflow that sets none.
        """
        answer = checked(self.process.invoke(tool, {"timeout": PATIENT_S, **parameters}, self.credentials))
        assert self.process.longest_line_bytes <= BUDGET_BYTES
        return answer

    def call_in_time(self, tool: str, timeout_s: float, **parameters: Any) -> Invocation:
        """Call a tool that cannot succeed: its answer must come within the time-out and a second (SPEC 4).

        The machine may be busy with something else at any one moment, so the best of a few calls counts.
        """
        answers: list[Invocation] = []
        while len(answers) < TRIES and not (answers and answers[-1].elapsed_s <= timeout_s + _GRACE_S):
            answers.append(self.call(tool, timeout=timeout_s, **parameters))
        assert answers[-1].elapsed_s <= timeout_s + _GRACE_S, [answer.elapsed_s for answer in answers]
        return answers[-1]

    def search_in_time(self, user_id: str, query: str) -> Invocation:
        """A search with its default time-out, and as much more as the machine is busy: twenty times what a call takes
        now that asks nobody. For tests in which something else than the machine must not make a search late.
        """
        timeout_s = 5 + 20 * self.call("get_memory").elapsed_s
        return self.call("search_memory", user_id=user_id, query=query, timeout=timeout_s)

    def submit(self, tool: str, **parameters: Any) -> Future[Invocation]:
        """Call a tool as ``call`` does; the answer comes with the future."""
        return self.process.submit(tool, {"timeout": PATIENT_S, **parameters}, self.credentials)

    def accept(self, user_id: str, user: str, **parameters: Any) -> str:
        """Add a message pair until it is accepted (an overloaded plugin is asked again); the write's id."""
        asked = {"user_id": user_id, "user": user, **parameters}
        while (answer := self.call("add_memory", **asked)).status == "OVERLOAD":
            time.sleep(_POLL_S)
        assert answer.status == "SUCCESS", answer.envelope
        assert answer.results == [{"id": "", "memory": "", "event": "ACCEPT"}]
        return str(answer.envelope["write_id"])

    def drain(self, *user_ids: str, timeout_s: float = _DRAIN_S) -> None:
        """Wait until none of the users has a pending write; the only way to see that from outside is to ask."""
        began = time.monotonic()
        for user_id in user_ids:
            while (pending := self.pending(user_id)) != 0:
                waited_s = time.monotonic() - began
                assert waited_s < timeout_s, f"{pending} writes of {user_id} are still pending"
                time.sleep(pause_s(waited_s))

    def pending(self, user_id: str) -> int | None:
        """The user's pending writes; None when the plugin cannot tell at the moment."""
        answer = self.call("get_all_memories", user_id=user_id, limit=1)
        return int(answer.envelope["pending_writes"]) if answer.status == "SUCCESS" else None

    def memories(self, user_id: str, **parameters: Any) -> list[dict[str, Any]]:
        """All memories of a user, newest first."""
        found: list[dict[str, Any]] = []
        while True:
            asked = {"limit": 1000, "offset": len(found), **parameters}
            page = self.call("get_all_memories", user_id=user_id, **asked)
            assert page.status == "SUCCESS", page.envelope
            found += page.results
            if len(found) >= page.envelope["total"]:
                return found

    def texts(self, user_id: str) -> list[str]:
        """The texts of a user's memories, oldest first."""
        return [memory["memory"] for memory in reversed(self.memories(user_id))]


def pause_s(waited_s: float) -> float:
    """Seconds until a test looks again at what it has waited for: the longer it takes, the less often."""
    return min(0.02 + waited_s / 10, 0.5)


def checked(answer: Invocation) -> Invocation:
    """What holds for every answer of every tool: no error left it, JSON, text and variables say the same, and all of it
    together is within the byte budget.
    """
    assert answer.error is None, (answer.error_type, answer.error)
    assert answer.envelope is not None and answer.variables == answer.envelope
    assert {"status", "messages", "results"} <= answer.envelope.keys()
    assert answer.size_bytes <= BUDGET_BYTES
    assert answer.text.startswith(answer.envelope["messages"])
    assert answer.status in {"SUCCESS", "ERROR", "TIMEOUT", "OVERLOAD", "NOT_FOUND", "ACCEPTED"}
    return answer
