"""Tool: list a user's memories page by page."""

from typing import Any

from utils import params, results, tool_base
from utils.stores.protocol import Owner


class GetAllMemories(tool_base.MemoryTool):
    """``get_all_memories``: one page, newest first, with the number of all."""

    parameters = (
        params.USER_ID,
        params.AGENT_ID,
        params.FILTERS,
        params.LIMIT,
        params.OFFSET,
        params.RUN_ID,
        params.timeout(5),
    )
    outputs = {"total": 0, "pending_writes": 0, "failed_writes": 0, "next_offset": 0, "truncated": False}
    empty = []
    share = 0.75  # searches and adds go first

    async def run(self, memory: Any, given: dict[str, Any]) -> results.Answer:
        """List within the user's (and agent's) memories."""
        page = await memory.page(
            Owner(given["user_id"], given["agent_id"]),
            limit=given["limit"],
            offset=given["offset"],
            given_filters=given["filters"],
        )
        return results.list_answer(page, given["offset"])
