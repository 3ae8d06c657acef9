"""What all of mem0's model objects need of the SDK client inside them: time-outs, where it may go, connections that
stay open, errors of one tree, a close.

Every SDK here speaks through an HTTP client of httpx's or httpx2's making, which are used alike.
"""

from __future__ import annotations

import socket
from contextlib import AbstractContextManager
from typing import Any, Final

from utils.errors import ServiceError, mapped_by
from utils.models.openai_client import use_lean_client
from utils.models.openai_http import RETRIES, OpenAIHttp
from utils.models.sdk_errors import map_error, status_of

_GEMINI_LEAST_S: Final = 10.0  # Google refuses requests with a shorter deadline
_TOUCH_TIMEOUT_S: Final = 10.0
# Kept alive by TCP as pgvector's connections are: after 30 s of silence every 10 s, dead when three go unanswered.
_TCP_KEEPALIVE: Final = (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3))


def mapping_errors(part: str) -> AbstractContextManager[None]:
    """The one edge to the models' SDKs, which share no base class.

    Raises:
        PluginError: one that the body raised, as it is: it has been judged already.
        ServiceError: of ``part``; whatever else the body raised, mapped.
    """
    return mapped_by(lambda exc: map_error(exc, part))


def prepare_client(part: Any, timeout_s: float, retries: int = RETRIES) -> None:
    """Give the SDK client inside ``part`` a time-out for each request, a few retries where the SDK has them (it waits
    0.5 to 8 s before one, or what Retry-After says, to 60 s), and no redirects: one is an answer with its status, and
    so an error.

    The clients of openai, azure, anthropic, groq and together share a mould and are copied with new options (the copy
    keeps the connection pool); OpenAI's own is then replaced by a lean one (``openai_client``). Ollama's and Google's
    are set in place. boto3 and sarvam have fixed ones of 60 and 30 s, LiteLLM's goes with each request
    (``shortcomings``); models that run inside the process have none to set.
    """
    client: Any = getattr(part, "client", None)
    if hasattr(client, "with_options"):
        part.client = client.with_options(timeout=timeout_s, max_retries=retries)
    elif hasattr(client, "_api_client"):  # google-genai, in milliseconds
        client._api_client._http_options.timeout = int(max(timeout_s, _GEMINI_LEAST_S) * 1000)
    elif hasattr(client, "_client") and hasattr(client._client, "timeout"):  # ollama's httpx client
        client._client.timeout = timeout_s
    http = _http_client(client)
    if http is not None:
        # A redirect would take the texts in the body, and every header but one, to whatever host it names.
        http.follow_redirects = False
    use_lean_client(part, timeout_s, retries)


def _http_client(client: Any) -> Any:
    """The HTTP client below an SDK's; None where it has none, or keeps it where nobody knows."""
    cohere = getattr(getattr(client, "_client_wrapper", None), "httpx_client", None)
    google = getattr(client, "_api_client", None)
    candidates = (
        getattr(client, "_client", None),
        getattr(cohere, "httpx_client", None),
        getattr(google, "_httpx_client", None),
    )
    return next((candidate for candidate in candidates if hasattr(candidate, "follow_redirects")), None)


def keep_connections(part: Any, idle_s: float) -> None:
    """Let the HTTP client inside ``part`` keep idle connections for ``idle_s`` seconds (theirs is 5), and TCP watch
    over them: one that was cut off silently is noticed before a request meets it. For a client that was prepared and
    not used yet.
    """
    lean = getattr(getattr(part, "client", None), "http", None)
    if isinstance(lean, OpenAIHttp):
        lean.keep_connections(idle_s, _socket_options())
        return
    http = _http_client(getattr(part, "client", None))
    mounted = getattr(http, "_mounts", {}).values()  # one for each proxy the environment names
    for transport in (getattr(http, "_transport", None), *mounted):
        pool: Any = getattr(transport, "_pool", None)
        if hasattr(pool, "_keepalive_expiry"):
            pool._keepalive_expiry = idle_s
            pool._socket_options = [*(pool._socket_options or ()), *_socket_options()]


def _socket_options() -> list[tuple[int, int, int]]:
    known = [(name, value) for name, value in _TCP_KEEPALIVE if hasattr(socket, name)]  # macOS lacks one
    tcp = [(socket.IPPROTO_TCP, getattr(socket, name), value) for name, value in known]
    return [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1), *tcp]


def touch(part: Any, name: str) -> None:
    """Ask the service behind ``part`` what it knows of its model, which costs nothing, over a connection of its
    client's. Whatever it answers: the connection has been used. Blocks.

    For the clients of openai's mould and Ollama's; others keep no connection that could be used so.

    Raises:
        ServiceError: of ``name``: no answer came.
    """
    client: Any = getattr(part, "client", None)
    models: Any = getattr(client, "models", None)
    try:
        with mapping_errors(name):
            if hasattr(models, "retrieve"):
                models.retrieve(part.config.model, timeout=_TOUCH_TIMEOUT_S)
            elif hasattr(client, "ps"):
                client.ps()  # Ollama: the models that are loaded
    except ServiceError as exc:
        if exc.__cause__ is None or status_of(exc.__cause__) is None:
            raise


def close(part: Any) -> None:
    """Close the connections of the SDK client inside ``part``. Idempotent."""
    client = getattr(part, "client", None)
    close = getattr(client, "close", None) or getattr(getattr(client, "_client", None), "close", None)
    if callable(close):
        close()
