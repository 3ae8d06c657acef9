"""The door to the models: mem0's LLM and embedder, bounded in time, and :func:`ask`, the one way to an answer.

mem0's classes pass nothing on: no time-out (the OpenAI client waits 600 s, Ollama's for ever), no check of what comes
back. The wrappers here set the time-out and the retries on the SDK's client, use the provider's JSON mode where it
has one, check vectors, and let every failure leave as a ``ServiceError``. Their methods block and are called
through ``hop``; :func:`ask` is a coroutine and does that itself. No SDK is imported here.
"""

from __future__ import annotations

import inspect
import logging
import math
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, Final

from utils.aio.blocking import hop
from utils.errors import ServiceRejected, UnusableAnswer
from utils.memory import answers as answer
from utils.memory import prompts
from utils.models.plain_embeddings import use_plain_answers
from utils.models.sdk_errors import map_error, status_of
from utils.text import capped, clean

__all__ = ["ChatModel", "Embedder", "ask", "bound", "call"]

_log = logging.getLogger(__name__)

RETRIES: Final = 2  # of one request, by the SDKs that can; they wait 0.5 to 8 s, or what Retry-After says, to 60 s
# Cost (``text.capped``) of an embedded text. OpenAI's models take 8,191 tokens; at this cost (measured) Chinese has
# 7,700, Hindi 7,200, Portuguese 6,700 and English 5,200.
MOST_EMBEDDED: Final = 24_000
_GEMINI_LEAST_S: Final = 10.0  # Google refuses requests with a shorter deadline

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
_PLAIN_MODES: Final[dict[str, dict[str, Any]]] = {"lmstudio": {"type": "text"}}


class ChatModel:
    """A chat model of mem0's registry.

    Args:
        llm: mem0's LLM object; its client is replaced by one with the time-out.
        provider: its name in mem0's registry.
        timeout_s: seconds one request may wait for the service; with retries a call may take about three times that.
    """

    def __init__(self, llm: Any, provider: str, timeout_s: float) -> None:
        self._llm = llm
        self._json_mode = _JSON_MODES.get(provider)
        self._plain_mode = _PLAIN_MODES.get(provider)
        self._json_mode_works = False
        bound(llm, timeout_s)
        if provider == "anthropic":
            _fit_anthropic(llm)

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

    def _request(self, messages: list[dict[str, str]], response_format: dict[str, Any] | None) -> str:
        options = {} if response_format is None else {"response_format": response_format}
        text = call("llm", self._llm.generate_response, messages=messages, **options)
        return text if isinstance(text, str) else ""

    def close(self) -> None:
        """Close the client's connections. Idempotent."""
        _close(self._llm)


class Embedder:
    """An embedder of mem0's registry.

    Args:
        embedder: mem0's embedder object; its client is replaced by one with the time-out.
        provider: its name in mem0's registry.
        timeout_s: seconds one request may wait for the service.
        dims: how long every vector must be; None accepts any length.
    """

    def __init__(self, embedder: Any, provider: str, timeout_s: float, dims: int | None) -> None:
        self._embedder = embedder
        self._provider = provider
        self._dims = dims
        bound(embedder, timeout_s)
        use_plain_answers(embedder)

    def embed(self, text: str) -> list[float]:
        """The vector of a text to search with. Blocks.

        Raises:
            ServiceError: part ``embedder``; ``ServiceRejected`` also for a blank text and for a wrong length.
        """
        fitted = self._fit(text)
        return _insisted(lambda: self._checked([call("embedder", self._embedder.embed, fitted, "search")], 1))[0]

    def embed_batch(self, texts: Sequence[str]) -> list[list[float]]:
        """The vectors of ``texts``, in their order; of long ones the beginning counts. Blocks.

        Raises:
            ServiceError: as for :meth:`embed`.
        """
        if not texts:
            return []
        fitted = [self._fit(text) for text in texts]
        return _insisted(lambda: self._checked(call("embedder", self._embedder.embed_batch, fitted, "add"), len(texts)))

    def close(self) -> None:
        """Close the client's connections. Idempotent."""
        _close(self._embedder)

    def _fit(self, text: str) -> str:
        fitted = clean(capped(clean(text), MOST_EMBEDDED))
        if not fitted:
            raise ServiceRejected("model_blank_text", part="embedder", reason="blank text")
        return fitted

    def _checked(self, vectors: Iterable[Any], expected: int) -> list[list[float]]:
        checked = [_floats(vector) for vector in vectors]
        if len(checked) != expected:
            raise _unusable(f"{len(checked)} vectors for {expected} texts")
        for vector in checked:
            if self._dims is not None and len(vector) != self._dims:
                raise ServiceRejected(
                    "model_wrong_dimensions",
                    part="embedder",
                    reason=f"{len(vector)} dimensions instead of {self._dims}",
                    found=len(vector),
                    expected=self._dims,
                )
        return checked


async def ask(
    model: ChatModel, messages: list[dict[str, str]], offered_ids: Collection[str], with_types: bool = False
) -> list[answer.Change]:
    """Ask the model what to change, and once more with what was wrong when its answer cannot be used in full.

    Args:
        model: whom to ask.
        messages: from ``prompts``.
        offered_ids: short ids of the memories shown in ``messages``.
        with_types: the answer carries types, dates and steps (a conversation's does).

    Returns:
        The changes; none when nothing is worth keeping.

    Raises:
        UnusableAnswer: neither answer was usable. An empty list never stands for that.
        ServiceError: the model could not be asked.
    """
    first = await hop(model.generate, messages)
    try:
        return answer.read(first, offered_ids, with_types, whole=True)
    except answer.ShapeError as exc:
        problem = str(exc)
    _log.warning("the model's answer could not be used (%s); asking once more", problem)
    second = await hop(model.generate, prompts.corrected(messages, first, problem))
    try:
        return _read_last(second, offered_ids, with_types)
    except answer.ShapeError as exc:
        raise UnusableAnswer("service_unusable", part="llm", reason=str(exc)) from exc


def _read_last(raw: str, offered_ids: Collection[str], with_types: bool) -> list[answer.Change]:
    """The changes of an answer after which there is no other; what must be left out of it is said in the log."""
    try:
        return answer.read(raw, offered_ids, with_types, whole=True)
    except answer.ShapeError as exc:
        problem = str(exc)
    changes = answer.read(raw, offered_ids, with_types)
    _log.warning("a part of the model's answer was left out (%s); %d changes are taken", problem, len(changes))
    return changes


def call[T](part: str, method: Callable[..., T], /, *args: Any, **kwargs: Any) -> T:
    """What ``method``, of an object of mem0's, answers. The one edge to the models' SDKs, which share no base class.

    Raises:
        ServiceError: of ``part``; whatever was raised, mapped.
    """
    try:
        return method(*args, **kwargs)
    except Exception as exc:
        raise map_error(exc, part) from exc


def _insisted[T](request: Callable[[], T]) -> T:
    """What ``request`` answers; it is made once more when the answer was none anybody could use."""
    try:
        return request()
    except UnusableAnswer:
        return request()


def _unusable(reason: str) -> UnusableAnswer:
    return UnusableAnswer("service_unusable", part="embedder", reason=reason)


def _floats(vector: Any) -> list[float]:
    """A vector as Python floats, which is what every store takes (numpy numbers and ints are refused by some)."""
    try:
        floats = [float(value) for value in vector]
    except (TypeError, ValueError) as exc:
        raise _unusable("a vector that is not a list of numbers") from exc
    if not floats or not all(map(math.isfinite, floats)):
        raise _unusable("a vector that is empty or not finite")
    return floats


def bound(part: Any, timeout_s: float) -> None:
    """Give the SDK client inside ``part`` a time-out for each request, and a few retries where the SDK has them.

    The clients of openai, azure, anthropic, groq and together share a mould and are copied with new options (the copy
    keeps the connection pool). Ollama's and Google's are set in place. boto3, sarvam and litellm have fixed ones of
    60, 30 and 600 s; models that run inside the process have none to set.
    """
    client: Any = getattr(part, "client", None)
    if hasattr(client, "with_options"):
        part.client = client.with_options(timeout=timeout_s, max_retries=RETRIES)
    elif hasattr(client, "_api_client"):  # google-genai, in milliseconds
        client._api_client._http_options.timeout = int(max(timeout_s, _GEMINI_LEAST_S) * 1000)
    elif hasattr(client, "_client") and hasattr(client._client, "timeout"):  # ollama's httpx client
        client._client.timeout = timeout_s


def _close(part: Any) -> None:
    client = getattr(part, "client", None)
    close = getattr(client, "close", None) or getattr(getattr(client, "_client", None), "close", None)
    if callable(close):
        close()


def _fit_anthropic(llm: Any) -> None:
    """Keep mem0 from passing ``temperature`` to an SDK that has no such parameter: anthropic 2.x raises TypeError."""
    if "temperature" not in inspect.signature(llm.client.messages.create).parameters:
        llm.config.enable_sampling_parameters = False
