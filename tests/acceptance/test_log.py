"""The log: every line of a call carries its run id, those of its write, too, and no other; each set has its level."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import as_completed
from typing import Any

import pytest

from playground.dify_host import PluginProcess
from playground.stand_in_model import StandInModel
from tests.plugin import Plugin

MINE, OTHERS = "run-7f3a", "run-91bc"


@pytest.fixture
def plugin(module_process: PluginProcess, qdrant_credentials: dict[str, Any]) -> Plugin:
    return Plugin(module_process, qdrant_credentials)


@pytest.fixture
def lines(plugin: Plugin) -> Callable[[], list[str]]:
    """The messages of the log since the last time. A call's come before its answer: stdout is written in order."""
    told = len(plugin.process.logs)

    def fresh() -> list[str]:
        nonlocal told
        new = [line.message for line in plugin.process.logs][told:]
        told += len(new)
        return new

    return fresh


def of_call(messages: list[str], run_id: str) -> list[str]:
    return [message.removeprefix(f"[{run_id}] ") for message in messages if run_id in message]


def test_every_line_of_a_call_has_its_run_id_and_no_other_line(
    plugin: Plugin, lines: Callable[[], list[str]], stand_in_model: StandInModel
) -> None:
    plugin.call("search_memory", user_id="alice", query="tea")
    lines()
    stand_in_model.control.script("no JSON", "no JSON either")
    assert (
        plugin.call("add_memory", user_id="alice", user="I like tea.", run_id=MINE, timeout="soon").status == "SUCCESS"
    )
    plugin.process.wait_for_log(r"next in")
    plugin.call("search_memory", user_id="alice", query="tea", run_id=OTHERS)
    plugin.drain("alice")
    plugin.process.wait_for_log(r"write \S+ done")
    told = lines()
    mine = of_call(told, MINE)
    assert any("timeout of this call is no positive number; the default of 45 s is used" in line for line in mine)
    assert any("could not be used" in line for line in mine)
    assert any(line.startswith("write ") and "failed (unusable_answer), try 1" in line for line in mine)
    assert any(line.startswith("write ") and line.endswith("done (add)") for line in mine)
    assert any(line.startswith("AddMemory SUCCESS in ") for line in mine)
    assert [line.partition(" in ")[0] for line in of_call(told, OTHERS)] == ["SearchMemory SUCCESS"]
    others = [line for line in told if MINE not in line and OTHERS not in line]
    assert all(line.startswith("GetAllMemories") for line in others), others


@pytest.mark.parametrize("timeout", ["soon", 0, -1, True, [5], "1e999", int("9" * 400)])
def test_a_timeout_nobody_can_use_is_replaced_and_told(
    plugin: Plugin, lines: Callable[[], list[str]], timeout: Any
) -> None:
    plugin.call("get_memory_history", memory_id="00000000-0000-4000-8000-000000000000", run_id=MINE, timeout=timeout)
    assert any("the default of 5 s is used" in line for line in of_call(lines(), MINE))


def test_refused_calls_have_their_run_id_too(plugin: Plugin, lines: Callable[[], list[str]]) -> None:
    plugin.call("search_memory", user_id="alice", query="tea", run_id=MINE, top_k=5000)
    plugin.call("get_memory", memory_id="no such id", run_id=MINE)
    plugin.with_credentials(local_llm_json_secret="{").call("get_all_memories", user_id="alice", run_id=MINE)
    plugin.with_credentials(max_concurrent_memory_operations="none").call("get_all_memories", user_id="a", run_id=MINE)
    mine = of_call(lines(), MINE)
    assert [line.partition(" in ")[0] for line in mine if " in " in line and "ms" in line] == [
        "SearchMemory ERROR",
        "GetMemory NOT_FOUND",
        "GetAllMemories ERROR",
        "GetAllMemories SUCCESS",
    ]
    assert any("max_concurrent_memory_operations must be a whole number" in line for line in mine)


def test_an_overloaded_call_has_its_run_id(plugin: Plugin, stand_in_model: StandInModel) -> None:
    narrow = plugin.with_credentials(max_concurrent_memory_operations="1")
    narrow.call("search_memory", user_id="alice", query="tea")
    stand_in_model.control.set(held_endpoints=["embeddings"])
    flood = [narrow.submit("search_memory", user_id="alice", query=f"tea {n}", run_id=MINE) for n in range(3)]
    assert next(as_completed(flood)).result().status == "OVERLOAD"
    stand_in_model.control.set(held_endpoints=[])
    assert [call.result().status for call in flood].count("SUCCESS") == 2
    plugin.process.wait_for_log(rf"\[{MINE}\] SearchMemory OVERLOAD")


def test_each_set_has_its_level(plugin: Plugin, lines: Callable[[], list[str]]) -> None:
    quiet, loud = plugin.with_credentials(log_level="ERROR"), plugin.with_credentials(log_level="DEBUG")
    plugin.call("get_all_memories", user_id="alice", run_id="usual")
    quiet.call("get_all_memories", user_id="alice", run_id="quiet")
    loud.call("search_memory", user_id="alice", query="A secret tea.", run_id="loud")
    quiet.call("search_memory", user_id="alice", query="Another secret tea.", run_id="quiet")
    plugin.call("search_memory", user_id="alice", query="A third secret tea.", run_id="usual")
    told = lines()
    assert not of_call(told, "quiet")
    assert of_call(told, "usual") and all("HTTP" not in line for line in of_call(told, "usual"))
    assert any("HTTP Request" in line for line in of_call(told, "loud"))
    assert all("loud" in line for line in told if "HTTP" in line)


def test_the_lines_of_a_write_obey_the_level_of_its_set(plugin: Plugin, lines: Callable[[], list[str]]) -> None:
    plugin.accept("alice", "I like tea.", run_id="usual")
    plugin.drain("alice")
    plugin.process.wait_for_log(r"\[usual\] write \S+ done")
    quiet = plugin.with_credentials(log_level="WARNING")
    quiet.accept("alice", "I like cake.", run_id="quiet")
    quiet.drain("alice")
    quiet.accept("alice", "I like pie.", run_id="quiet")
    quiet.drain("alice")
    assert not of_call(lines(), "quiet")
    plugin.accept("alice", "I like milk.", run_id="later")
    plugin.process.wait_for_log(r"\[later\] write \S+ done")
