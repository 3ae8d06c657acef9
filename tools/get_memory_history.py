"""Tool: what happened to a memory."""

from typing import Any

from utils import params, results, tool_base


class GetMemoryHistory(tool_base.MemoryTool):
    """``get_memory_history``: every change, oldest first; it outlives the memory."""

    parameters = (params.MEMORY_ID, params.OWNER_CHECK, params.RUN_ID, params.timeout(5))
    empty = []

    async def run(self, memory: Any, given: dict[str, Any]) -> results.Answer:
        """Get it."""
        return results.history_answer(await memory.history(given["memory_id"], given["user_id"]))
