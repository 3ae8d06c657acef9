"""Work left for after the answer: it waits for the answer, and nothing left late is lost."""

from __future__ import annotations

import asyncio

from utils.aio import after_answer
from utils.aio.after_answer import AfterAnswer


def test_work_waits_until_the_answer_is_out() -> None:
    async def scenario() -> None:
        done: list[str] = []
        call = AfterAnswer()
        after_answer.current.set(call)
        after_answer.after_answer(lambda: done.append("first"))
        await asyncio.sleep(0)
        assert done == []
        call.start()
        await asyncio.sleep(0)
        assert done == ["first"]
        after_answer.after_answer(lambda: done.append("late"))
        await asyncio.sleep(0)
        assert done == ["first", "late"]

    asyncio.run(scenario())


def test_one_failure_does_not_stop_the_others() -> None:
    async def scenario() -> None:
        failures: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context["exception"]))
        done: list[str] = []
        call = AfterAnswer()
        call.add(lambda: 1 / 0)
        call.add(lambda: done.append("second"))
        call.start()
        await asyncio.sleep(0)
        assert done == ["second"] and isinstance(failures[0], ZeroDivisionError)

    asyncio.run(scenario())


def test_outside_of_a_call_work_begins_at_once() -> None:
    async def scenario() -> None:
        done: list[str] = []
        after_answer.after_answer(lambda: done.append("now"))
        await asyncio.sleep(0)
        assert done == ["now"]

    asyncio.run(scenario())
