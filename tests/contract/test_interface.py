"""The interface that saved workflows bind to: every parameter and every output of every tool, stated here once more.

The tables below are written from the contract, not from the code: whoever changes a name, a type, a form, a default or
a requirement breaks workflows, and has to change them here, too.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest
import yaml

TOOLS: Final = Path(__file__).resolve().parents[2] / "tools"


class Said(NamedTuple):
    """A parameter as the yaml declares it."""

    type: str
    form: str = "llm"
    required: bool = False
    default: Any = None


NEEDED: Final = Said("string", required=True)
TEXT: Final = Said("string")
NUMBER: Final = Said("number")


def _timeout(default_s: int) -> Said:
    return Said("number", form="form", default=default_s)


BY_ID: Final = {"memory_id": NEEDED, "user_id": TEXT, "agent_id": TEXT, "run_id": TEXT}
PARAMETERS: Final[dict[str, dict[str, Said]]] = {
    "add_memory": {
        "user": NEEDED,
        "user_id": NEEDED,
        "assistant": TEXT,
        "agent_id": TEXT,
        "metadata": TEXT,
        "infer": Said("boolean", form="form", default=True),
        "custom_fact_extraction_prompt": Said("string", form="form"),
        "run_id": TEXT,
        "timeout": _timeout(45),
    },
    "search_memory": {
        "query": NEEDED,
        "user_id": NEEDED,
        "agent_id": TEXT,
        "filters": TEXT,
        "top_k": Said("number", default=5),
        "threshold": NUMBER,
        "include_retention": Said("boolean", default=False),
        "max_tokens": NUMBER,
        "run_id": TEXT,
        "timeout": _timeout(5),
    },
    "get_all_memories": {
        "user_id": NEEDED,
        "agent_id": TEXT,
        "filters": TEXT,
        "limit": Said("number", default=100),
        "offset": Said("number", default=0),
        "run_id": TEXT,
        "timeout": _timeout(5),
    },
    "get_memory": {**BY_ID, "timeout": _timeout(5)},
    "update_memory": {**BY_ID, "text": NEEDED, "metadata": TEXT, "timeout": _timeout(15)},
    "delete_memory": {**BY_ID, "timeout": _timeout(15)},
    "delete_all_memories": {
        "user_id": NEEDED,
        "agent_id": TEXT,
        "purge_history": Said("boolean", default=False),
        "run_id": TEXT,
        "timeout": _timeout(60),
    },
    "get_memory_history": {
        **BY_ID,
        "limit": Said("number", default=100),
        "offset": Said("number", default=0),
        "timeout": _timeout(5),
    },
    "forget_memories": {
        "user_id": NEEDED,
        "app_id": TEXT,
        "dry_run": Said("boolean", form="form", default=False),
        "run_id": TEXT,
        "timeout": _timeout(60),
    },
}
PARAMETERS |= {
    "extract_long_term_memory": {
        **{
            name: Said("string", form="form", required=True)
            for name in ("user_ids", "app_id", "dify_base_url", "dify_api_key")
        },
        "days_back": Said("number", form="form", default=1),
        "conversations_limit": Said("number", form="form", default=20),
        "max_tokens_per_conversation": Said("number", form="form", default=64),
        "time_budget": Said("number", form="form", default=60),
        "run_id": Said("string", form="form"),
    },
    "check_extraction_status": {"task_id": NEEDED},
    "get_user_checkpoint": {"user_id": NEEDED, "app_id": TEXT},
}

ENVELOPE: Final = {"status": "string", "messages": "string"}
MEMORY: Final = {
    "id": "string",
    "memory": "string",
    "metadata": "object",
    "timestamp": "string",
    "user_id": "string",
    "agent_id": "string",
}
TIMES: Final = {"created_at": "string", "updated_at": "string"}
SCORES: Final = dict.fromkeys(("score", "vector_distance", "rerank_score", "keyword_score"), "number")
CHANGE: Final = {
    "memory_id": "string",
    "event": "string",
    "old_memory": "string",
    "new_memory": "string",
    **TIMES,
    "is_deleted": "boolean",
    "reason": "string",
}
QUEUE: Final = {"pending_writes": "integer", "failed_writes": "integer"}
CUT: Final = {"truncated": "boolean"}
PAGED: Final = {"total": "integer", "next_offset": "integer", **CUT}
WRITE: Final = {"write_id": "string"}
# Type and fields of `results`, then the variables beside `status`, `messages` and `results`.
OUTPUTS: Final[dict[str, tuple[str, dict[str, str], dict[str, str]]]] = {
    "add_memory": ("array", dict.fromkeys(("id", "memory", "event"), "string"), {**WRITE, "relations": "array", **CUT}),
    "search_memory": (
        "array",
        {**MEMORY, **SCORES, "retention": "number"},
        {"text_for_llm": "string", "relations": "array", "count": "integer", **QUEUE, **CUT},
    ),
    "get_all_memories": ("array", {**MEMORY, **TIMES}, {**QUEUE, **PAGED}),
    "get_memory": ("object", {**MEMORY, **TIMES}, CUT),
    "update_memory": ("object", {"message": "string"}, WRITE),
    "delete_memory": ("object", {"message": "string"}, WRITE),
    "delete_all_memories": ("object", {"message": "string", "count": "integer"}, WRITE),
    "get_memory_history": ("array", CHANGE, PAGED),
    "forget_memories": (
        "object",
        {
            **dict.fromkeys(("deleted_count", "retained_count", "checkpoints_cleaned", "locks_cleaned"), "integer"),
            "dry_run": "boolean",
            "would_delete": "array",
        },
        {"task_id": "string", **CUT},
    ),
}
STARTED: Final = {
    **dict.fromkeys(("task_id", "run_id", "start_time", "end_time", "mode"), "string"),
    "user_count": "integer",
}
STATE: Final = {
    **dict.fromkeys(("task_id", "run_id", "kind", "task_status", "error"), "string"),
    **dict.fromkeys(("started_at", "updated_at", "range_start", "range_end"), "string"),
    **dict.fromkeys(("time_range_display", "duration_display"), "string"),
    **dict.fromkeys(("progress", "duration_seconds"), "number"),
    **dict.fromkeys(("attempts", "user_count", "processed_users", "skipped_users", "failed_users"), "integer"),
    **dict.fromkeys(("scanned_conversations", "scanned_messages", "processed_conversations"), "integer"),
    **dict.fromkeys(("processed_messages", "deferred_messages", "llm_calls"), "integer"),
    **dict.fromkeys(("written_memories", "final_report"), "object"),
}
CHECKPOINT: Final = {
    **dict.fromkeys(("user_id", "app_id", "checkpoint_id", "updated_at"), "string"),
    "checkpoint": "object",
    "conversations_count": "integer",
}
MESSAGE: Final = {"message": "string"}
# Earlier plugins had these fields beside `status`; `results` repeats them.
OUTPUTS |= {
    "extract_long_term_memory": ("object", STARTED, {**STARTED, **MESSAGE}),
    "check_extraction_status": ("object", STATE, {**STATE, **MESSAGE}),
    "get_user_checkpoint": ("object", CHECKPOINT, {**CHECKPOINT, **MESSAGE}),
}


def _tool(name: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((TOOLS / f"{name}.yaml").read_text(encoding="utf-8"))
    return content


def test_there_is_a_table_for_every_tool() -> None:
    assert {path.stem for path in TOOLS.glob("*.yaml")} == PARAMETERS.keys() == OUTPUTS.keys()


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters_are_those_of_the_contract(name: str) -> None:
    declared = {
        entry["name"]: Said(entry["type"], entry["form"], entry["required"], entry.get("default"))
        for entry in _tool(name)["parameters"]
    }
    assert declared == PARAMETERS[name]


@pytest.mark.parametrize("name", OUTPUTS)
def test_outputs_are_those_of_the_contract(name: str) -> None:
    properties = _tool(name)["output_schema"]["properties"]
    kind, fields, beside = OUTPUTS[name]
    results = properties.pop("results")
    assert results["type"] == kind
    described = results["items"] if kind == "array" else results
    assert {field: one["type"] for field, one in described["properties"].items()} == fields
    assert {output: one["type"] for output, one in properties.items()} == {**ENVELOPE, **beside}
