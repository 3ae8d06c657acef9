"""The overload guard, through the process: reads and writes are counted apart, and refused at once."""

from __future__ import annotations

from concurrent.futures import as_completed
from itertools import islice
from typing import Any

from playground.dify_host import PluginProcess
from playground.stand_in_model import StandInModel
from tests.plugin import Plugin, checked

WIDTH = 2
MOST_PENDING = 2 * WIDTH  # SPEC 4


def test_reads_beyond_the_guard_are_refused_at_once_and_writes_are_not(
    module_process: PluginProcess, collection_credentials: dict[str, Any], stand_in_model: StandInModel
) -> None:
    """An embedder that does not answer holds the reads; what is refused does not wait for it."""
    plugin = Plugin(module_process, {**collection_credentials, "max_concurrent_memory_operations": str(WIDTH)})
    plugin.accept("alice", "I like tea.", infer=False)
    plugin.drain("alice")
    stand_in_model.control.set(held_endpoints=["embeddings"])
    reads = [plugin.submit("search_memory", user_id="alice", query=f"tea {number}") for number in range(10)]
    refused = [checked(read.result()) for read in islice(as_completed(reads), len(reads) - MOST_PENDING)]
    assert {answer.status for answer in refused} == {"OVERLOAD"}
    assert all(answer.results == [] and str(MOST_PENDING) in answer.envelope["messages"] for answer in refused)
    assert plugin.accept("alice", "I like cake.", infer=False), "writes have a lane of their own"
    stand_in_model.control.set(held_endpoints=[])
    answers = [checked(read.result()) for read in reads]
    assert [answer.status for answer in answers].count("SUCCESS") == MOST_PENDING
    plugin.drain("alice")
    assert plugin.texts("alice") == ["I like tea.", "I like cake."]


def test_writes_beyond_the_guard_are_refused_and_reads_are_not(
    module_process: PluginProcess, collection_credentials: dict[str, Any], stand_in_model: StandInModel
) -> None:
    stand_in_model.control.set(verbatim=True, held_endpoints=["chat"])
    plugin = Plugin(module_process, {**collection_credentials, "max_concurrent_memory_operations": str(WIDTH)})
    notes = [f"note number {number}" for number in range(MOST_PENDING)]
    for note in notes:
        plugin.accept("alice", note)
    refused = plugin.call("add_memory", user_id="bob", user="one too many")
    assert refused.status == "OVERLOAD" and refused.results == []
    assert plugin.call("search_memory", user_id="alice", query="note").status == "SUCCESS"
    stand_in_model.control.set(held_endpoints=[])
    plugin.drain("alice", "bob")
    assert (plugin.texts("alice"), plugin.texts("bob")) == (notes, [])
