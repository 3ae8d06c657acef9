"""The tour's chapter on extraction: what users said to a Dify app the day before becomes memories, and only once.

The app is the stand-in of ``playground/dify_app``: three users and twelve conversations, in English and Chinese.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from playground.dify_app import History, StandInDify
from playground.invocation import Invocation
from playground.terminal import Terminal

_HOUR_S: Final = 3600
# Inside the last two days in every time zone, the plugin's and this process's alike.
_HOURS_AGO: Final = 36
_DAYS_BACK: Final = 2
_BETWEEN_CONVERSATIONS_S: Final = 600
_API_LATENCY_S: Final = 0.06  # a Dify next door; without it the bar would be full at once
_POLL_S: Final = 0.05
_PATIENCE_S: Final = 600.0  # a real model may take seconds for each conversation
_ENDED: Final = ("completed", "failed")

type Call = Callable[[str, Mapping[str, Any]], Invocation]
type Turns = tuple[tuple[str, str], ...]

# By user: the conversations, oldest first; each is turns of (what the user said, what the app answered).
_CONVERSATIONS: Final[Mapping[str, tuple[Turns, ...]]] = {
    "emma": (
        (("Hi! I live in Leeds.", "Welcome!"), ("I work as a nurse.", "Thank you for what you do.")),
        (("What is the capital of Peru?", "Lima."),),
        (("Yesterday I visited the science museum in London.", "Did you like it?"), ("I love old steam engines.", "!")),
        (("First I grind the coffee beans, then I pour the water slowly.", "That sounds good."),),
        (("Good news: next month we have a garden.", "How nice!"), ("I live in York now.", "Enjoy your new home!")),
    ),
    "wei": (
        (("你好！我住在上海。", "你好！"), ("我喜欢爬山。", "很好的爱好。")),
        (("昨天我去了苏州博物馆。", "您觉得怎么样？"), ("我的女儿是医生。", "真了不起。")),
        (("今天天气怎么样？", "晴。"),),
        (("我先磨咖啡豆，然后慢慢倒水。", "听起来不错。"), ("我搬到了杭州。", "祝您在新家愉快！")),
    ),
    "noah": (
        (("My favourite colour is blue.", "Noted."), ("I am 41 years old.", "Noted, too.")),
        (("Hello!", "Hi, how can I help?"),),
        (("I like jazz.", "Who doesn't?"), ("My sister is called Ada.", "A good name.")),
    ),
}


class ExtractionChapter:
    """One extraction, and a second one that finds nothing new.

    Args:
        call: calls a tool in asynchronous mode.
        terminal: where it is shown.
    """

    def __init__(self, call: Call, terminal: Terminal) -> None:
        self._call = call
        self._terminal = terminal
        self._app_id = f"support-{int(time.time())}"  # an app of this tour's own, whose history nobody has read yet

    def run(self) -> bool:
        """Extract, show what became of it, and extract again.

        Returns:
            Whether every user's part was done, and the second run asked the model nothing.

        Raises:
            TimeoutError: a run has not ended after ten minutes.
        """
        self._terminal.heading("Extract: a Dify app's past conversations become memories, each message once")
        with StandInDify(_history()) as dify:
            dify.control.set(latency_s=_API_LATENCY_S)
            messages = len(list(dify.history.messages()))
            count = len(dify.history.conversations)
            self._terminal.note(
                f"The app, a stand-in: {len(_CONVERSATIONS)} users, {count} past conversations, {messages} messages, "
                "in English and Chinese"
            )
            first = self._extract(dify)
            self._terminal.extracted(first["per_user"])
            self._terminal.remembered({user: self._remembered(user) for user in _CONVERSATIONS})
            self._terminal.note("Once more: nothing is new, so the model is asked nothing")
            second = self._extract(dify)
        for user in _CONVERSATIONS:  # the next tour begins anew
            self._call("delete_all_memories", {"user_id": user, "purge_history": True})
        complete = first["status"] == second["status"] == "SUCCESS"
        return complete and not second["summary"]["llm_calls"]

    def _extract(self, dify: StandInDify) -> Mapping[str, Any]:
        """Start a task and watch it; its report."""
        given = {"user_ids": ",".join(_CONVERSATIONS), "app_id": self._app_id, "days_back": _DAYS_BACK}
        address = {"dify_base_url": dify.base_url, "dify_api_key": dify.control.settings.accepted_key}
        started = self._call("extract_long_term_memory", {**given, **address})
        task_id = str(started.variables["task_id"])
        answered = f"{started.status}, task {task_id}; check_extraction_status says:"
        self._terminal.call("extract_long_term_memory", given, answered, started.elapsed_s)
        return self._watch(task_id)

    def _watch(self, task_id: str) -> Mapping[str, Any]:
        give_up_at = time.monotonic() + _PATIENCE_S
        with self._terminal.progress() as show:
            while True:
                state = self._call("check_extraction_status", {"task_id": task_id}).variables
                show(state["progress"], _counted(state))
                if state["task_status"] in _ENDED:
                    report: Mapping[str, Any] = state["final_report"]
                    return report
                if time.monotonic() > give_up_at:
                    raise TimeoutError(f"The extraction had not ended after {_PATIENCE_S:g} s.")
                time.sleep(_POLL_S)

    def _remembered(self, user: str) -> list[Mapping[str, Any]]:
        listed = self._call("get_all_memories", {"user_id": user})
        return list(reversed(listed.results))


def _history() -> History:
    history = History(str(time.time()))
    began = time.time() - _HOURS_AGO * _HOUR_S
    for user, conversations in _CONVERSATIONS.items():
        for number, turns in enumerate(conversations):
            history.converse(user, began + number * _BETWEEN_CONVERSATIONS_S, *turns)
    return history


def _counted(state: Mapping[str, Any]) -> str:
    numbers = (
        f"{state['processed_conversations']} conversations",
        f"{state['processed_messages']} messages",
        f"{state['llm_calls']} model calls",
    )
    return ", ".join(numbers)
