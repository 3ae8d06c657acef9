"""Tool: how far a user's conversations have been read."""

from typing import Any

from utils import params, results, task_answers, tool_base


class GetUserCheckpoint(tool_base.MemoryTool):
    """``get_user_checkpoint``: of one app, or the one that changed last over all apps."""

    parameters = (params.USER_ID, params.Parameter("app_id", "id"))
    outputs = {
        "message": "",
        "user_id": "",
        "app_id": "",
        "checkpoint_id": "",
        "checkpoint": {},
        "conversations_count": 0,
        "updated_at": "",
    }
    part = "extraction"
    share = 0.75  # searches and adds go first

    async def run(self, extraction: Any, given: dict[str, Any]) -> results.Answer:
        """Look it up."""
        return task_answers.checkpoint_answer(await extraction.checkpoint(given["user_id"], given["app_id"]))
