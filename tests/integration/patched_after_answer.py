"""Run by test_after_answer.py in a process patched like the plugin's: when does work for after the answer begin?

A tool on the real frame and the real loop, with a runtime that needs no credentials. Prints one line of JSON: what
happened in which order.
"""

from __future__ import annotations

import dify_plugin  # noqa: F401  isort: skip  # patches the process: before any other library

import asyncio
import json
import os
import threading
from types import SimpleNamespace
from typing import Any

from dify_plugin.entities.tool import ToolRuntime

from utils import results, tool_base
from utils.aio import after_answer
from utils.aio.after_answer import AfterAnswer
from utils.aio.loop import BackgroundLoop

LOOP = BackgroundLoop()


class OneLoop:
    """A runtime of one loop and no credentials."""

    def settings(self, _credentials: Any) -> Any:
        return SimpleNamespace(async_mode=True)

    def call(self, _credentials: Any, operation: Any, *, timeout_s: Any, after: AfterAnswer, **_limits: Any) -> Any:
        async def run() -> Any:
            after_answer.current.set(after)
            return await operation(SimpleNamespace(memory=None, extraction=None))

        return LOOP.submit(run()).result(timeout_s)

    def start_after_answer(self, after: AfterAnswer) -> None:
        LOOP.call_soon(after.start)


class Accepting(tool_base.MemoryTool):
    """Leaves work behind, then answers, or fails."""

    parameters = (tool_base.params.timeout(300),)
    events: list[str]
    began: threading.Event
    fails = False

    async def run(self, memory: Any, given: dict[str, Any]) -> results.Answer:
        after_answer.after_answer(lambda: (self.events.append("work"), self.began.set()))
        await asyncio.sleep(0.01)  # time enough for the work to begin too early
        if self.fails:
            raise RuntimeError
        return results.Answer({"message": "x"}, "result_accepted")


def observed(*, most: int, fails: bool = False) -> list[str]:
    """What happens when ``most`` messages of an answer are taken."""
    runtime = ToolRuntime(credentials={}, user_id="u", session_id="s")
    tool = Accepting(runtime=runtime, session=SimpleNamespace())
    tool.events, tool.began, tool.fails = [], threading.Event(), fails
    answer = tool.invoke({})
    for _ in range(most):
        message = next(answer, None)
        if message is None:
            break
        tool.events.append(message.type.value)
        LOOP.submit(asyncio.sleep(0)).result(300)  # let the loop go round
    answer.close()
    assert tool.began.wait(300)
    return tool.events


if __name__ == "__main__":
    tool_base.runtime = OneLoop
    outcome = {
        "read to its end": observed(most=100),
        "left after the first message": observed(most=1),
        "failed": observed(most=100, fails=True),
    }
    print(json.dumps(outcome), flush=True)
    os._exit(0)  # the SDK's import leaves threads behind
