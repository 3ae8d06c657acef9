"""Tool: delete everything that is remembered of a user."""

from typing import Any

from utils import params, results, tool_base
from utils.aio import congestion
from utils.stores.protocol import Owner


class DeleteAllMemories(tool_base.MemoryTool):
    """``delete_all_memories``: every memory of the user (or of one agent's), and nothing else."""

    parameters = (
        params.USER_ID,
        params.AGENT_ID,
        params.Parameter("purge_history", "boolean", default=False),
        params.RUN_ID,
        params.timeout(60),
    )
    outputs = {"write_id": ""}
    longest_timeout_s = 280.0  # the SDK gives a request 300 s
    calls = congestion.writes

    async def run(self, memory: Any, given: dict[str, Any]) -> results.Answer:
        """Submit the deletion."""
        owner = Owner(given["user_id"], given["agent_id"])
        return results.delete_all_answer(await memory.delete_all(owner, purge_history=given["purge_history"]))
