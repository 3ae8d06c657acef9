"""Tool: how a task in the background stands, or an accepted write."""

from typing import Any

from utils import params, results, task_answers, tool_base


class CheckExtractionStatus(tool_base.MemoryTool):
    """``check_extraction_status``: progress and report of an extraction; state and reason of a write."""

    parameters = (params.Parameter("task_id", "id", required=True),)
    outputs = task_answers.STATUS_OUTPUTS
    part = "extraction"
    share = 0.75  # searches and adds go first

    async def run(self, extraction: Any, given: dict[str, Any]) -> results.Answer:
        """Look it up."""
        task_id, language = given["task_id"], extraction.settings.language
        if (task := await extraction.task(task_id)) is not None:
            state, parts = task
            return task_answers.task_answer(state, parts, language)
        return task_answers.write_answer(task_id, await extraction.write(task_id), language)
