"""Tool: take long-term memories out of an app's past conversations."""

from datetime import date
from typing import Any

from utils import params, results, task_answers, tool_base
from utils.extraction import dify_api, request


class ExtractLongTermMemory(tool_base.MemoryTool):
    """``extract_long_term_memory``: begins a task for many users; in synchronous mode it is waited for."""

    parameters = (
        params.Parameter("user_ids", "id_list", required=True, high=params.MAX_USER_IDS_CHARS),
        params.Parameter("app_id", "id", required=True),
        params.Parameter("dify_base_url", "text", required=True, high=2_000),
        params.Parameter("dify_api_key", "text", required=True, high=2_000),
        params.Parameter("days_back", "limit", default=1, low=1, high=7),
        params.Parameter("conversations_limit", "limit", default=20, low=10, high=500),
        params.Parameter("max_tokens_per_conversation", "limit", default=64, low=1, high=200),
        params.Parameter("time_budget", "limit", default=60, low=5, high=1_440),
        params.RUN_ID,
    )
    outputs = {
        "message": "",
        "task_id": "",
        "run_id": "",
        "user_count": 0,
        "start_time": "",
        "end_time": "",
        "mode": "",
    }
    part = "extraction"
    share = 0.75  # searches and adds go first

    async def run(self, extraction: Any, given: dict[str, Any]) -> results.Answer:
        """Begin the task."""
        user_ids = [params.checked_id("user_ids", one) for one in request.parse_user_ids(given["user_ids"])]
        start, end = request.range_before(date.today(), int(given["days_back"]))
        asked = request.ExtractionRequest(
            app_id=given["app_id"],
            base_url=dify_api.parse_base_url(given["dify_base_url"]),
            start=start,
            end=end,
            conversations_limit=int(given["conversations_limit"]),
            max_tokens=int(given["max_tokens_per_conversation"] * 1000),
            budget_s=given["time_budget"] * 60,
        )
        api_key = dify_api.parse_api_key(given["dify_api_key"])
        state, _ = await extraction.start(user_ids, asked, api_key, given["run_id"] or "")
        return task_answers.started_answer(state, extraction.settings.async_mode, params.cut(given))
