"""Tool: delete a memory."""

from typing import Any

from utils import params, results, tool_base
from utils.aio import congestion


class DeleteMemory(tool_base.MemoryTool):
    """``delete_memory``: the memory goes, its history stays."""

    parameters = (params.MEMORY_ID, params.OF_USER, params.AGENT_ID, params.RUN_ID, params.timeout(15))
    outputs = {"write_id": ""}
    calls = congestion.writes

    async def run(self, memory: Any, given: dict[str, Any]) -> results.Answer:
        """Submit the deletion."""
        result = await memory.delete(given["memory_id"], given["user_id"], given["agent_id"])
        return results.change_answer(result, given["memory_id"], "result_deleted")
