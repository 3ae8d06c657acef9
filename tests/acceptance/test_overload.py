"""The overload guard, through the process: reads and writes are counted apart, and refused at once; and whatever a set
may have under way, the process takes in no more than it can carry.
"""

from __future__ import annotations

import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor, as_completed
from itertools import islice
from typing import Any

from playground.dify_host import PluginProcess
from playground.stand_in_model import StandInModel
from tests.plugin import Plugin, checked

WIDTH = 2
CONGESTED = "The plugin has more to do than it can carry. Try again in a moment."
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


def test_more_than_the_process_can_carry_is_refused_and_nothing_fails(
    module_process: PluginProcess, collection_credentials: dict[str, Any]
) -> None:
    """Two hundred callers, each with the next call when the last was answered; the set would let all in."""
    block = json.loads(collection_credentials["local_vector_db_json_secret"])
    block["config"]["pool_max_waiting"] = 400
    roomy = {"local_vector_db_json_secret": json.dumps(block), "max_concurrent_memory_operations": "400"}
    plugin = Plugin(module_process, {**collection_credentials, **roomy})
    plugin.accept("alice", "I like tea.", infer=False)
    plugin.drain("alice")
    numbers = iter(range(2_000))

    def calling(_: int) -> list[tuple[str, str]]:
        answers = (checked(plugin.call("search_memory", user_id="alice", query=f"tea {number}")) for number in numbers)
        return [(answer.status, answer.envelope["messages"]) for answer in answers]

    with ThreadPoolExecutor(200) as callers:
        answers = [answer for answered in callers.map(calling, range(200)) for answer in answered]
    statuses = Counter(status for status, _ in answers)
    assert set(statuses) == {"SUCCESS", "OVERLOAD"}, statuses
    assert {said for status, said in answers if status == "OVERLOAD"} == {CONGESTED}
    assert plugin.call("search_memory", user_id="alice", query="tea").status == "SUCCESS"
