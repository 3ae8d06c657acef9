"""What the tools of three other memory plugins become here: the table behind ``scripts.convert_workflow``.

Read in the plugins' own files: ``beersoccer/mem0ai`` 0.2.10 to 0.3.14 and what was forked from it, ``yevanchen/mem0``
0.0.3 (Mem0's cloud) and ``memtensor/memos`` 0.0.4 (MemOS).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final


@dataclass(frozen=True, slots=True)
class Conversion:
    """One tool of another plugin.

    Attributes:
        tool: the tool here that does the same.
        renamed: parameters that have another name here.
        lost: parameters that nothing here corresponds to, and what to do about them.
        metadata: parameters that are kept in the metadata of what is stored.
        messages: the parameter with a JSON list of messages, if there is one.
        answers: a code node's ``main(results, status)`` that makes the other tool's ``json`` where nodes read it;
            empty where it is not needed.
        differs: what is different in the other tool's ``json``, for whoever reads it.
    """

    tool: str
    renamed: Mapping[str, str] = field(default_factory=dict)
    lost: Mapping[str, str] = field(default_factory=dict)
    metadata: tuple[str, ...] = ()
    messages: str = ""
    answers: str = ""
    differs: str = ""


@dataclass(frozen=True, slots=True)
class Plugin:
    """Another plugin: what it is called, how a node names its provider, and its tools."""

    name: str
    provider: re.Pattern[str]
    tools: Mapping[str, Conversion]


_FORMAT: Final = "the answer has one form here"
_SCOPE: Final = "it selected memories there; here it is a trace id and selects nothing, so give agent_id or filters"
_SAME: Final = (
    "get_all_memories", "get_memory", "update_memory", "delete_memory", "delete_all_memories", "get_memory_history",
    "extract_long_term_memory", "check_extraction_status", "get_user_checkpoint", "forget_memories",
)  # fmt: skip

_SELF_HOSTED: Final = {
    **{name: Conversion(name) for name in _SAME},
    "add_memory": Conversion(
        "add_memory",
        lost={
            "expiration_date": "a memory has no date of its own to end; memory_ttl_days and forget_memories delete",
            "output_format": _FORMAT,
        },
    ),
    "add_long_term_memory": Conversion("add_memory", differs="there is no classified_type or reason"),
    "search_memory": Conversion("search_memory", renamed={"score_threshold": "threshold"}),
}

_CLOUD_ADD: Final = Conversion(
    "add_memory",
    renamed={"app_id": "agent_id"},
    lost={
        "run_id": _SCOPE,
        "version": "there is one version here",
        "output_format": _FORMAT,
        "expiration_date": "a memory has no date of its own to end; memory_ttl_days and forget_memories delete",
    },
    differs="results hold id, memory and event; while asynchronous mode is on, the event is ACCEPT",
)
_CLOUD_SEARCH: Final = Conversion(
    "search_memory",
    renamed={"limit": "top_k", "app_id": "agent_id"},
    lost={"run_id": _SCOPE, "version": "there is one version here"},
    differs="results hold id, memory, score and metadata; there are no categories, and timestamp is the time",
)

_MEMOS_ANSWER: Final = """def main(results: list, status: str) -> dict:
    found = [
        {"id": one["id"], "memory_value": one["memory"], "memory_key": "", "relativity": one["score"]}
        for one in results
    ]
    data = {"memory_detail_list": found, "preference_detail_list": [], "preference_note": ""}
    ok = status == "SUCCESS"
    return {"json": [{"code": 0 if ok else 1, "message": "ok" if ok else status, "data": data}]}
"""

PLUGINS: Final = (
    Plugin("beersoccer/mem0ai", re.compile(r"(?!memoryworks/)[^/]+/mem0ai/mem0ai"), _SELF_HOSTED),
    Plugin(
        "yevanchen/mem0",
        re.compile(r"[^/]+/mem0/mem0"),
        {
            "add_memory": _CLOUD_ADD,
            "add_mem0ai_memory": _CLOUD_ADD,
            "retrieve_memory": _CLOUD_SEARCH,
            "retrieve_mem0ai_memory": _CLOUD_SEARCH,
        },
    ),
    Plugin(
        "memtensor/memos",
        re.compile(r"[^/]+/memos/memos"),
        {
            "add_memory": Conversion(
                "add_memory",
                renamed={"user_messages": "user", "ai_messages": "assistant"},
                metadata=("conversation_id",),
                messages="messages",
                differs="it is the envelope with status, messages and results",
            ),
            "search_memory": Conversion(
                "search_memory", renamed={"memory_limit_number": "top_k"}, answers=_MEMOS_ANSWER
            ),
        },
    ),
)


def plugin_of(provider_id: str) -> Plugin | None:
    """The plugin that a tool node's provider belongs to; None for any other, this one included."""
    return next((plugin for plugin in PLUGINS if plugin.provider.fullmatch(provider_id)), None)
