"""Every tool, given nothing, wrong types, blanks, a megabyte, an unknown id, bad JSON: an envelope that names the
parameter.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.plugin import Plugin

UNKNOWN_ID = "00000000-0000-4000-8000-000000000000"
GOOD: dict[str, dict[str, Any]] = {
    "add_memory": {"user": "I like tea.", "user_id": "alice"},
    "search_memory": {"query": "tea", "user_id": "alice"},
    "get_all_memories": {"user_id": "alice"},
    "get_memory": {"memory_id": UNKNOWN_ID},
    "update_memory": {"memory_id": UNKNOWN_ID, "text": "x"},
    "delete_memory": {"memory_id": UNKNOWN_ID},
    "delete_all_memories": {"user_id": "alice"},
    "get_memory_history": {"memory_id": UNKNOWN_ID},
}
OPTIONAL: dict[str, tuple[str, ...]] = {
    "metadata": ("add_memory", "update_memory"),
    "filters": ("search_memory", "get_all_memories"),
}
NUMBERS = {
    "top_k": "search_memory",
    "threshold": "search_memory",
    "limit": "get_all_memories",
    "offset": "get_memory_history",
}
BOOLEANS = {"infer": "add_memory", "purge_history": "delete_all_memories"}


@pytest.fixture
def plugin(module_plugin: Plugin) -> Plugin:
    """One process for all the bad input: each case also shows that the next call works."""
    return module_plugin


def refused(plugin: Plugin, tool: str, name: str, value: Any) -> None:
    answer = plugin.call(tool, **{**GOOD[tool], name: value})
    assert answer.status == "ERROR", (tool, name, answer.envelope)
    assert name in answer.envelope["messages"]
    assert answer.results in ([], None)


@pytest.mark.parametrize("tool", GOOD)
def test_each_required_parameter(plugin: Plugin, tool: str) -> None:
    for name in GOOD[tool]:
        for value in (None, "", "  ", 5, [], {}, ["x"], "x" * 1_000_000):
            if not (name == "user" and isinstance(value, str) and not value.strip()):
                refused(plugin, tool, name, value)


@pytest.mark.parametrize("tool", GOOD)
def test_nothing_at_all(plugin: Plugin, tool: str) -> None:
    answer = plugin.call(tool)
    assert answer.status == "ERROR" and next(iter(GOOD[tool])) in answer.envelope["messages"]


@pytest.mark.parametrize("name", OPTIONAL)
def test_bad_json(plugin: Plugin, name: str) -> None:
    for tool in OPTIONAL[name]:
        for value in (
            "{",
            '{"a": 1',
            "[1]",
            "5",
            '"x"',
            "{'a': 1",
            "{'a': {1}}",
            5,
            ["a"],
            "x" * 1_000_000,
            "[" * 50_000,
        ):
            refused(plugin, tool, name, value)


@pytest.mark.parametrize("name", NUMBERS)
def test_bad_numbers(plugin: Plugin, name: str) -> None:
    for value in ("many", -1, 1e12, "1e400", "nan", [], {}, True, "x" * 1_000_000):
        refused(plugin, NUMBERS[name], name, value)


@pytest.mark.parametrize("name", BOOLEANS)
def test_bad_booleans(plugin: Plugin, name: str) -> None:
    for value in ("maybe", 2, [], {}, "x" * 1_000_000):
        refused(plugin, BOOLEANS[name], name, value)


@pytest.mark.parametrize("bad", ["*", "a\nb", "a\n", "a\x00b", "x" * 513])
def test_dangerous_ids(plugin: Plugin, bad: str) -> None:
    for tool, good in GOOD.items():
        for name in (good.keys() & {"user_id", "memory_id"}) | {"agent_id"}:
            refused(plugin, tool, name, bad)


@pytest.mark.parametrize("memory_id", [UNKNOWN_ID, "not-a-uuid", "7", "' OR 1=1 --", '"}', "é" * 512])
def test_unknown_ids_are_not_found(plugin: Plugin, memory_id: str) -> None:
    for tool in ("get_memory", "update_memory", "delete_memory", "get_memory_history"):
        answer = plugin.call(tool, **{**GOOD[tool], "memory_id": memory_id})
        assert answer.status == "NOT_FOUND" and memory_id in answer.envelope["messages"]


@pytest.mark.parametrize("timeout", ["soon", -1, 0, [], "nan"])
def test_an_invalid_timeout_is_replaced(plugin: Plugin, timeout: Any) -> None:
    assert plugin.call("search_memory", query="tea", user_id="alice", timeout=timeout).status == "SUCCESS"
    plugin.process.wait_for_log("the timeout of this call is no positive number")


def test_broken_credentials_are_an_envelope_too(plugin: Plugin) -> None:
    broken = plugin.with_credentials(local_llm_json_secret='{"provider": "openai", "config": {"api_key": "sk-canary"')
    answer = broken.call("search_memory", query="tea", user_id="alice")
    assert answer.status == "ERROR" and "local_llm_json_secret" in answer.envelope["messages"]
    assert "sk-canary" not in answer.text
    refusal = broken.process.validate(broken.credentials).error
    assert refusal is not None and "local_llm_json_secret" in refusal and "sk-canary" not in refusal


def test_after_all_that_the_plugin_still_works(plugin: Plugin) -> None:
    plugin.accept("alice", "I like tea.")
    plugin.drain("alice")
    assert "I like tea" in plugin.texts("alice")
    assert list(plugin.process.stray_lines) == []
