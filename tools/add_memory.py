"""Tool: remember what is worth keeping of a message pair."""

from typing import Any

from utils import params, results, tool_base


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
    outputs = {"write_id": ""}
    empty = []

    async def run(self, memory: Any, given: dict[str, Any]) -> results.Answer:
        """Submit the pair; two blank texts are nothing to remember."""
        if not given["user"] and not given["assistant"]:
            return results.Answer(results.event("SKIP"), "result_add_skip")
        result = await memory.add(
            given["user_id"],
            user=given["user"],
            assistant=given["assistant"],
            agent_id=given["agent_id"],
            metadata=given["metadata"] or {},
            infer=given["infer"],
            instructions=given["custom_fact_extraction_prompt"],
        )
        return results.add_answer(result)
