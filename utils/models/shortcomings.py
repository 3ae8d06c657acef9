"""What mem0's LLM classes lack or get wrong, made up for on the object: whoever uses one calls :func:`make_up_for`.

``anthropic`` passes sampling parameters that its SDK no longer takes. ``litellm`` passes on neither the key of the
configuration (LiteLLM would look for one in the environment, where there is none) nor any time-out.
"""

from __future__ import annotations

import inspect
from typing import Any, Final

_MODULE: Final = "mem0.llms."


def make_up_for(llm: Any, timeout_s: float, retries: int) -> None:
    """Change ``llm``, an LLM object of mem0's, so that it does what its configuration says.

    Args:
        llm: the object; of a class that lacks nothing it stays as it is.
        timeout_s: seconds one request may wait, where no client of an SDK takes that.
        retries: how many times a passing fault is tried again, there.
    """
    provider = type(llm).__module__.removeprefix(_MODULE)
    if provider == "anthropic":
        _keep_from_sampling(llm)
    elif provider == "litellm":
        _hand_on_key(llm, timeout_s, retries)


def _keep_from_sampling(llm: Any) -> None:
    """anthropic 2.x raises TypeError for ``temperature``, which it no longer has."""
    if "temperature" not in inspect.signature(llm.client.messages.create).parameters:
        llm.config.enable_sampling_parameters = False


def _hand_on_key(llm: Any, timeout_s: float, retries: int) -> None:
    """A key that were set on the module instead would be every credential set's."""
    complete = inspect.getmodule(type(llm)).litellm.completion  # type: ignore[union-attr]  # it has one: mem0's

    def generate_response(messages: list[dict[str, str]], response_format: Any = None) -> Any:
        config = llm.config
        limit = "max_completion_tokens" if llm._uses_max_completion_tokens(config.model) else "max_tokens"
        asked = {
            "model": config.model,
            "messages": messages,
            "temperature": config.temperature,
            "top_p": config.top_p,
            limit: config.max_tokens,
            "response_format": response_format,
            "api_key": config.api_key,
            "timeout": timeout_s,
            "num_retries": retries,
        }
        answer = complete(**{name: value for name, value in asked.items() if value is not None})
        return answer.choices[0].message.content

    llm.generate_response = generate_response
