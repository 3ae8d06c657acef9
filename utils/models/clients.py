"""What all of mem0's model objects need: time-outs on the SDK client inside, errors of one tree, a close."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any, Final

from utils.errors import mapped_by
from utils.models.sdk_errors import map_error

RETRIES: Final = 2  # of one request, by the SDKs that can; they wait 0.5 to 8 s, or what Retry-After says, to 60 s
_GEMINI_LEAST_S: Final = 10.0  # Google refuses requests with a shorter deadline


def mapping_errors(part: str) -> AbstractContextManager[None]:
    """The one edge to the models' SDKs, which share no base class.

    Raises:
        PluginError: one that the body raised, as it is: it has been judged already.
        ServiceError: of ``part``; whatever else the body raised, mapped.
    """
    return mapped_by(lambda exc: map_error(exc, part))


def set_timeouts(part: Any, timeout_s: float) -> None:
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


def close(part: Any) -> None:
    """Close the connections of the SDK client inside ``part``. Idempotent."""
    client = getattr(part, "client", None)
    close = getattr(client, "close", None) or getattr(getattr(client, "_client", None), "close", None)
    if callable(close):
        close()
