"""A plugin process bound to one set of credentials, as the acceptance and fault tests use it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from concurrent.futures import Future
from typing import Any, Final

from playground.dify_host import PluginProcess
from playground.invocation import Invocation
from utils.answer_size import BUDGET_BYTES

_DRAIN_S: Final = 120.0
_POLL_S: Final = 0.05  # the only way to see a write end from outside is to ask


class Plugin:
    """Calls tools of ``process`` with ``credentials``; every answer is checked for what holds for all of them."""

    def __init__(self, process: PluginProcess, credentials: Mapping[str, Any]) -> None:
        self.process = process
        self.credentials = dict(credentials)

    def with_credentials(self, **changed: Any) -> Plugin:
        """The same process under changed credentials."""
        return Plugin(self.process, {**self.credentials, **changed})

    def call(self, tool: str, **parameters: Any) -> Invocation:
        """Call a tool and wait for its answer."""
        answer = checked(self.process.invoke(tool, parameters, self.credentials))
        assert self.process.longest_line_bytes <= BUDGET_BYTES
        return answer

    def submit(self, tool: str, **parameters: Any) -> Future[Invocation]:
        """Call a tool; the answer comes with the future."""
        return self.process.submit(tool, parameters, self.credentials)

    def accept(self, user_id: str, user: str, **parameters: Any) -> str:
        """Add a message pair until it is accepted (an overloaded plugin is asked again); the write's id."""
        while (answer := self.call("add_memory", user_id=user_id, user=user, **parameters)).status == "OVERLOAD":
            time.sleep(_POLL_S)
        assert answer.status == "SUCCESS", answer.envelope
        assert answer.results == [{"id": "", "memory": "", "event": "ACCEPT"}]
        return str(answer.envelope["write_id"])

    def drain(self, *user_ids: str, timeout_s: float = _DRAIN_S) -> None:
        """Wait until none of the users has a pending write."""
        deadline = time.monotonic() + timeout_s
        for user_id in user_ids:
            while (pending := self.pending(user_id)) != 0:
                assert time.monotonic() < deadline, f"{pending} writes of {user_id} are still pending"
                time.sleep(_POLL_S)

    def pending(self, user_id: str) -> int | None:
        """The user's pending writes; None when the plugin cannot tell at the moment."""
        answer = self.call("get_all_memories", user_id=user_id, limit=1)
        return int(answer.envelope["pending_writes"]) if answer.status == "SUCCESS" else None

    def memories(self, user_id: str, **parameters: Any) -> list[dict[str, Any]]:
        """All memories of a user, newest first."""
        found: list[dict[str, Any]] = []
        while True:
            page = self.call("get_all_memories", user_id=user_id, limit=1000, offset=len(found), **parameters)
            assert page.status == "SUCCESS", page.envelope
            found += page.results
            if len(found) >= page.envelope["total"]:
                return found

    def texts(self, user_id: str) -> list[str]:
        """The texts of a user's memories, oldest first."""
        return [memory["memory"] for memory in reversed(self.memories(user_id))]


def checked(answer: Invocation) -> Invocation:
    """What holds for every answer of every tool: no error left it, JSON, text and variables say the same, and all of it
    together is within the byte budget.
    """
    assert answer.error is None, (answer.error_type, answer.error)
    assert answer.envelope is not None and answer.variables == answer.envelope
    assert {"status", "messages", "results"} <= answer.envelope.keys()
    assert answer.size_bytes <= BUDGET_BYTES
    assert answer.text.startswith(answer.envelope["messages"])
    assert answer.status in {"SUCCESS", "ERROR", "TIMEOUT", "OVERLOAD", "NOT_FOUND"}
    return answer
