"""What a plugin process holds does not grow with what it has done: it tells by itself, in the log, when it is asked."""

from __future__ import annotations

import signal
from collections.abc import Callable
from concurrent.futures import wait
from typing import Any, Final

from playground.dify_host import PluginProcess
from tests.plugin import Plugin

_VITALS: Final = "vitals: "


def vitals(process: PluginProcess) -> dict[str, int]:
    """The process's own counts, now."""
    told = sum(line.message.startswith(_VITALS) for line in process.logs)

    def lines() -> list[str]:
        return [line.message.removeprefix(_VITALS) for line in process.logs if line.message.startswith(_VITALS)]

    process.signal(signal.SIGUSR1)
    process.wait_until(lambda: len(lines()) > told, 300.0)
    return {name: int(count) for name, count in (part.split("=") for part in lines()[-1].split())}


def test_a_burst_of_calls_leaves_nothing_behind(
    plugin_process: Callable[..., PluginProcess], qdrant_credentials: dict[str, Any]
) -> None:
    plugin = Plugin(plugin_process(), qdrant_credentials)
    plugin.call("get_all_memories", user_id="alice", limit=1)
    before = vitals(plugin.process)
    for _ in range(5):
        wait([plugin.submit("get_all_memories", user_id="alice", limit=1) for _ in range(60)])
    after = vitals(plugin.process)
    assert after["greenlets"] == before["greenlets"]
    assert after["workers"] <= 20  # of the lane for reads; the SDK's pool would have kept one for each call in flight
    assert (after["open_sets"], after["stores"], after["state_stores"]) == (1, 1, 1)
