"""Tool: replace the text of a memory."""

from typing import Any

from utils import params, results, tool_base
from utils.aio import congestion


class UpdateMemory(tool_base.MemoryTool):
    """``update_memory``: the new text takes the old one's place; metadata given is set over what is there."""

    parameters = (
        params.MEMORY_ID,
        params.Parameter("text", "text", required=True),
        params.METADATA,
        params.OF_USER,
        params.AGENT_ID,
        params.RUN_ID,
        params.timeout(15),
    )
    outputs = {"write_id": ""}
    calls = congestion.writes

    async def run(self, memory: Any, given: dict[str, Any]) -> results.Answer:
        """Submit the new text."""
        result = await memory.update(
            given["memory_id"], given["user_id"], given["agent_id"], given["text"], given["metadata"] or {}
        )
        return results.change_answer(result, given["memory_id"], "result_updated")
