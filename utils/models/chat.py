"""The chat model: mem0's LLM object, bounded in time, asked in the provider's JSON mode where it has one.

mem0's classes pass no time-out on (the OpenAI client waits 600 s, Ollama's for ever). :class:`ChatModel` sets it on the
SDK's client, and lets every failure leave as a ``ServiceError``. Its methods block: call them through
``run_in_executor``. No SDK is imported here.
"""

from __future__ import annotations

from typing import Any, Final

from utils.errors import ServiceRejected
from utils.models.clients import close, mapping_errors, prepare_client, touch
from utils.models.openai_http import RETRIES
from utils.models.sdk_errors import status_of
from utils.models.shortcomings import make_up_for

_JSON_OBJECT: Final = {"type": "json_object"}
# What mem0's classes do with a response format (run on 2.2.1). Those not named ignore it: anthropic, aws_bedrock,
# sarvam, langchain.
_JSON_MODES: Final[dict[str, dict[str, Any]]] = {
    **dict.fromkeys(
        ("openai", "openai_structured", "azure_openai", "azure_openai_structured", "deepseek", "xai", "minimax",
        "vllm", "groq", "together", "litellm", "gemini", "ollama"),
        _JSON_OBJECT,
    ),
    # LM Studio refuses json_object, which mem0 sends it by default, and takes the same as a schema.
    "lmstudio": {"type": "json_schema", "json_schema": {"name": "answer", "schema": {"type": "object"}}},
}  # fmt: skip
_PING: Final = [{"role": "user", "content": "Answer with the word yes."}]
_PLAIN_MODES: Final[dict[str, dict[str, Any]]] = {"lmstudio": {"type": "text"}}


def has_json_mode(provider: str) -> bool:
    """Whether the provider is asked for JSON by its API, and not by the prompt alone."""
    return provider in _JSON_MODES


class ChatModel:
    """A chat model of mem0's registry.

    Args:
        llm: mem0's LLM object; its client is replaced by one with the time-out.
        provider: its name in mem0's registry.
        timeout_s: seconds one request may wait for the service; with retries a call may take about three times that.
        retries: how many times a passing fault is tried again, by the SDKs that can.
    """

    def __init__(self, llm: Any, provider: str, timeout_s: float, retries: int = RETRIES) -> None:
        self._llm = llm
        self._json_mode = _JSON_MODES.get(provider)
        self._plain_mode = _PLAIN_MODES.get(provider)
        self._json_mode_works = False
        prepare_client(llm, timeout_s, retries)
        make_up_for(llm, timeout_s, retries)

    def generate(self, messages: list[dict[str, str]]) -> str:
        """The model's answer to ``messages``, as it wrote it; empty when it wrote none. Blocks.

        A model without the JSON mode of its API answers 400 to it; it is asked again without, and so from then on.

        Raises:
            ServiceError: part ``llm``.
        """
        try:
            text = self._request(messages, self._json_mode)
        except ServiceRejected as exc:
            without_json = self._json_mode != self._plain_mode and not self._json_mode_works
            if not without_json or exc.__cause__ is None or status_of(exc.__cause__) not in {400, 422}:
                raise
        else:
            self._json_mode_works = True
            return text
        text = self._request(messages, self._plain_mode)
        self._json_mode = self._plain_mode
        return text

    def ping(self) -> None:
        """Have the model answer one short message, in no particular form. Blocks.

        Raises:
            ServiceError: part ``llm``.
        """
        self._request(_PING, self._plain_mode)

    def _request(self, messages: list[dict[str, str]], response_format: dict[str, Any] | None) -> str:
        options = {} if response_format is None else {"response_format": response_format}
        with mapping_errors("llm"):
            text = self._llm.generate_response(messages=messages, **options)
        return text if isinstance(text, str) else ""

    def touch(self) -> None:
        """Use a connection, for nothing and free of charge (``clients.touch``). Blocks."""
        touch(self._llm, "llm")

    def close(self) -> None:
        """Close the client's connections. Idempotent."""
        close(self._llm)
