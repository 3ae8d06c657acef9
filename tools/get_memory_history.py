"""Tool: what happened to a memory."""

from typing import Any

from utils import params, results, tool_base


class GetMemoryHistory(tool_base.MemoryTool):
    """``get_memory_history``: every change, oldest first; it outlives the memory."""

    parameters = (
        params.MEMORY_ID,
        params.OF_USER,
        params.AGENT_ID,
        params.LIMIT,
        params.OFFSET,
        params.RUN_ID,
        params.timeout(5),
    )
    outputs = {"total": 0, "next_offset": 0, "truncated": False}
    empty = []
    share = 0.75  # searches and adds go first

    async def run(self, memory: Any, given: dict[str, Any]) -> results.Answer:
        """Get one page of it."""
        offset = given["offset"]
        entries, total = await memory.history(
            given["memory_id"], given["user_id"], given["agent_id"], limit=given["limit"], offset=offset
        )
        return results.history_answer(entries, total, offset)
