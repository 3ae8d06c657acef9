"""Tool: remember what is worth keeping of a message pair."""

from typing import Any

from utils import params, results, tool_base
from utils.aio import congestion
from utils.errors import InvalidInput
from utils.memory.recalled import without_recalled


class AddMemory(tool_base.MemoryTool):
    """``add_memory``: accepts the pair durably, or in synchronous mode answers what became of it."""

    parameters = (
        params.Parameter("user", "text", required=True, blank=True, high=params.MAX_MESSAGE_CHARS),
        params.USER_ID,
        params.Parameter("assistant", "text", high=params.MAX_MESSAGE_CHARS, default=""),
        params.AGENT_ID,
        params.METADATA,
        params.Parameter("infer", "boolean", default=True),
        params.Parameter("custom_fact_extraction_prompt", "text"),
        params.RUN_ID,
        params.timeout(45),
    )
    outputs = {"write_id": "", "relations": [], "truncated": False}
    empty = []
    calls = congestion.writes

    async def run(self, memory: Any, given: dict[str, Any]) -> results.Answer:
        """Submit the pair, without recalled memories in it; two blank texts are nothing to remember.

        Raises:
            InvalidInput: a text that is to be stored as it is has more characters than a memory may have.
        """
        texts = {role: without_recalled(given[role]) for role in ("user", "assistant")}
        if texts["assistant"] == texts["user"]:
            texts["assistant"] = ""  # workflows of earlier plugins send the text twice
        if not any(texts.values()):
            return results.Answer([results.event("SKIP")], "result_add_skip")
        for role, text in texts.items():
            if not given["infer"] and len(text) > params.MAX_TEXT_CHARS:
                raise InvalidInput("param_too_long_verbatim", name=role, limit=params.MAX_TEXT_CHARS)
        result = await memory.add(
            given["user_id"],
            **texts,
            agent_id=given["agent_id"],
            metadata=given["metadata"] or {},
            infer=given["infer"],
            instructions=given["custom_fact_extraction_prompt"],
        )
        return results.add_answer(result, texts)
