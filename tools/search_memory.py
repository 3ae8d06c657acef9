"""Tool: find the memories that matter for a query."""

from typing import Any

from utils import params, results, tool_base
from utils.stores.protocol import Owner


class SearchMemory(tool_base.MemoryTool):
    """``search_memory``: the user's most similar memories, best first."""

    parameters = (
        params.Parameter("query", "text", required=True),
        params.USER_ID,
        params.AGENT_ID,
        params.FILTERS,
        params.Parameter("top_k", "integer", default=5, low=1, high=100),
        params.Parameter("threshold", "number", low=0, high=1),
        params.Parameter("include_retention", "boolean", default=False),
        params.Parameter("max_tokens", "integer", low=1, high=1_000_000),
        params.RUN_ID,
        params.timeout(5),
    )
    outputs = {
        "text_for_llm": "",
        "relations": [],
        "count": 0,
        "pending_writes": 0,
        "failed_writes": 0,
        "truncated": False,
    }
    empty = []

    async def run(self, memory: Any, given: dict[str, Any]) -> results.Answer:
        """Search within the user's (and agent's) memories."""
        page = await memory.search(
            given["query"],
            Owner(given["user_id"], given["agent_id"]),
            top_k=given["top_k"],
            threshold=given["threshold"],
            given_filters=given["filters"],
            with_recalls=given["include_retention"],
        )
        return results.search_answer(page, given["max_tokens"])
