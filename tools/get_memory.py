"""Tool: one memory by its id."""

from typing import Any

from utils import params, results, tool_base


class GetMemory(tool_base.MemoryTool):
    """``get_memory``: the memory, or NOT_FOUND; another user's or agent's counts as not found when theirs is given."""

    parameters = (params.MEMORY_ID, params.OF_USER, params.AGENT_ID, params.RUN_ID, params.timeout(5))
    outputs = {"truncated": False}

    async def run(self, memory: Any, given: dict[str, Any]) -> results.Answer:
        """Get it."""
        row = await memory.get(given["memory_id"], given["user_id"], given["agent_id"])
        return results.Answer(results.memory(row), "result_get", lines=(row.text,))
