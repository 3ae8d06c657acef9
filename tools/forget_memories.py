"""Tool: delete the memories that have faded, or show which would go."""

from typing import Any

from utils import params, results, tool_base
from utils.stores.protocol import Owner


class ForgetMemories(tool_base.MemoryTool):
    """``forget_memories``: what the forgetting curve says is forgotten goes; a dry run shows it and deletes nothing."""

    parameters = (
        params.USER_ID,
        params.Parameter("app_id", "id"),
        params.Parameter("dry_run", "boolean", default=False),
        params.RUN_ID,
        params.timeout(60),
    )
    outputs = {"task_id": "", "truncated": False}
    longest_timeout_s = 280.0  # the SDK gives a request 300 s
    share = 0.75  # searches and adds go first

    async def run(self, memory: Any, given: dict[str, Any]) -> results.Answer:
        """Forget, or show what would be forgotten."""
        from utils.forgetting import forget, preview  # here: a plugin that only starts needs none of it

        owner = Owner(given["user_id"], given["app_id"])
        if given["dry_run"]:
            found = await preview.preview(memory, owner)
            return results.would_forget_answer(found, await forget.picture_of(found))
        return results.forget_answer(await forget.forget(memory, owner, self._timeout_s(given)))
