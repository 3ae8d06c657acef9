"""What an exception of a model SDK means: passing, refused or rejected; where they enter the plugin's tree.

The SDKs (openai, anthropic, ollama, google-genai, boto3, requests …) share no base class and most are not installed, so
an exception is judged by what it is: the HTTP status it carries, the error code in its body, the names of its classes.
Never by its message, which differs by version and language and repeats keys (a 401 of OpenAI echoes the key). Some of
mem0's classes wrap the SDK's exception in a RuntimeError or ValueError; the chain of causes is followed down to it.
"""

from __future__ import annotations

import json
import math
import traceback
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

from utils.errors import ServiceError, ServiceRefused, ServiceRejected, ServiceUnavailable, UnusableAnswer, causes

_REFUSED: Final = frozenset({401, 402, 403, 407})
_PASSING: Final = frozenset({408, 409, 421, 423, 424, 425, 429})  # 424: Bedrock's model failed; and everything from 500

_PERHAPS_TOO_LARGE: Final = frozenset({400, 413, 422})

# Error codes of response bodies that weigh more than the status they come with: an empty account often answers 429.
_REFUSED_CODES: Final = frozenset({
    "insufficient_quota", "billing_hard_limit_reached", "billing_not_active", "billing_error",  # OpenAI, Anthropic
    "exceeded_current_quota_error", "Arrearage",  # Moonshot, DashScope
    "invalid_api_key", "API_KEY_INVALID", "UnrecognizedClientException",  # some answer 400 to a wrong key
})  # fmt: skip
_UNUSABLE_CODES: Final = frozenset({"json_validate_failed"})  # Groq: 400 when its model missed the JSON mode

# Classes that mean something whatever SDK they come from, as package.name; looked up along the whole inheritance.
_LASTING_CLASSES: Final = frozenset({
    "httpx.UnsupportedProtocol", "httpx2.UnsupportedProtocol", "httpx.LocalProtocolError", "httpx2.LocalProtocolError",
    "httpx.InvalidURL", "httpx2.InvalidURL", "requests.InvalidURL", "requests.MissingSchema", "requests.InvalidSchema",
    "requests.InvalidHeader", "urllib3.LocationValueError",
})  # fmt: skip
_REFUSED_CLASSES: Final = frozenset({
    "azure.ClientAuthenticationError", "google.DefaultCredentialsError", "google.RefreshError",
    "botocore.NoCredentialsError", "botocore.PartialCredentialsError", "botocore.TokenRetrievalError",
    "botocore.CredentialRetrievalError", "botocore.UnauthorizedSSOTokenError",
})  # fmt: skip
_PASSING_CLASSES: Final = frozenset({
    "builtins.ConnectionError", "builtins.TimeoutError", "socket.gaierror", "ssl.SSLError",
    "httpx.TransportError", "httpx2.TransportError", "httpcore.NetworkError", "httpcore2.NetworkError",
    "requests.ConnectionError", "requests.Timeout", "requests.ChunkedEncodingError",
    "urllib3.HTTPError", "botocore.ConnectionError", "botocore.HTTPClientError",
    "google.TransportError", "azure.ServiceRequestError", "azure.ServiceResponseError",
})  # fmt: skip
_PASSING_NAMES: Final = frozenset({"APIConnectionError"})  # openai, anthropic, groq, together: generated from one mould
_UNUSABLE_NAMES: Final = frozenset(
    {"JSONDecodeError", "DecodingError", "APIResponseValidationError", "LengthFinishReasonError"}
)

_READERS: Final = ("._response", "._legacy_response", ".lib._parsing._completions")  # modules of the generated SDKs


def map_error(exc: BaseException, part: str) -> ServiceError:
    """The plugin's error for an exception that left an SDK; raise it ``from exc``.

    Args:
        exc: what was raised.
        part: what was called: ``llm``, ``embedder``, ``reranker``.

    Returns:
        ``ServiceUnavailable``: connection, time-out, 408, 409, 429, 5xx, with ``retry_after_s`` where the service said.
        ``ServiceRefused``: 401, 402, 403, an empty account. ``UnusableAnswer``: it answered, but with something that is
        no response. ``ServiceRejected``: every other 4xx, and whatever is unknown, because a retry would not help.
        ``reason`` is the class name and the HTTP status, never the message.
    """
    if isinstance(exc, ServiceError):
        return exc
    link, kind = _judged(exc)
    return kind(_KEYS[kind], part=part, reason=_reason(link, kind), retry_after_s=retry_after_s(_headers(link)))


_KEYS: Final[Mapping[type[ServiceError], str]] = {
    ServiceUnavailable: "service_unavailable",
    ServiceRefused: "service_refused",
    ServiceRejected: "service_rejected",
    UnusableAnswer: "service_unusable",
}


def _judged(exc: BaseException) -> tuple[BaseException, type[ServiceError]]:
    """The exception in the chain of causes that tells what happened, and what it means."""
    chain = list(causes(exc))
    for link in chain:
        if _class_names(link) & _LASTING_CLASSES:
            return link, ServiceRejected  # a broken address or header; the SDKs wrap it as a failed connection
    for link in chain:
        kind = _kind(link)
        if kind is not None:
            return link, kind
    return exc, ServiceRejected


def codes_of(exc: BaseException) -> frozenset[str]:
    """The error codes that an exception, what it came from, or the bodies of their responses name."""
    return frozenset(code for link in causes(exc) for code in _codes(link))


def status_of(exc: BaseException) -> int | None:
    """The HTTP status an SDK's exception carries, wherever it keeps it; None when there was no response."""
    response = getattr(exc, "response", None)
    candidates = [getattr(exc, "status_code", None), getattr(response, "status_code", None), getattr(exc, "code", None)]
    if isinstance(response, Mapping):  # botocore
        candidates.append(_mapping(response.get("ResponseMetadata")).get("HTTPStatusCode"))
    return next((int(value) for value in candidates if isinstance(value, int) and 100 <= value <= 599), None)


def may_be_too_large(error: ServiceRejected) -> bool:
    """Whether a service may have rejected a request for its length. Many say no more than that it is a bad one."""
    return error.__cause__ is not None and status_of(error.__cause__) in _PERHAPS_TOO_LARGE


def _kind(exc: BaseException) -> type[ServiceError] | None:
    """What one exception means by itself; None when that cannot be told."""
    status, codes = status_of(exc), set(_codes(exc))
    if codes & _UNUSABLE_CODES:
        return UnusableAnswer
    if codes & _REFUSED_CODES or status in _REFUSED:
        return ServiceRefused
    if status is not None and status >= 400:
        return ServiceUnavailable if status in _PASSING or status >= 500 else ServiceRejected
    return _kind_by_class(exc)


def _kind_by_class(exc: BaseException) -> type[ServiceError] | None:
    names = _class_names(exc)
    if names & _REFUSED_CLASSES:
        return ServiceRefused
    plain = {name.rpartition(".")[2] for name in names}
    if plain & _UNUSABLE_NAMES or _misread_response(exc):
        return UnusableAnswer
    return ServiceUnavailable if names & _PASSING_CLASSES or plain & _PASSING_NAMES else None


def _class_names(exc: BaseException) -> set[str]:
    return {f"{base.__module__.partition('.')[0]}.{base.__name__}" for base in type(exc).__mro__}


def _misread_response(exc: BaseException) -> bool:
    """Whether reading the response failed because it is not what the API promises, such as an error page.

    mem0 and the SDKs read fields unchecked then. Where the traceback went tells it from a call with a wrong argument,
    which raises a TypeError, too, but in the SDK's own check of arguments, before anything is sent.
    """
    if not isinstance(exc, AttributeError | TypeError | LookupError | ValueError) or exc.__context__ is not None:
        return False
    frames = [frame for frame, _ in traceback.walk_tb(exc.__traceback__)]
    places = [(frame.f_globals.get("__name__", ""), frame.f_code.co_name) for frame in frames]
    return bool(places) and (
        places[-1][0].startswith(("mem0.llms.", "mem0.embeddings."))
        or any(module.endswith(_READERS) for module, _ in places)
        or ("ollama._client", "_request") in places
    )


def _reason(exc: BaseException, kind: type[ServiceError]) -> str:
    status = status_of(exc)
    if kind is UnusableAnswer and status is None:
        return type(exc).__name__
    known = sorted(set(_codes(exc)) & (_REFUSED_CODES | _UNUSABLE_CODES))
    return ", ".join([type(exc).__name__, *([f"HTTP {status}"] if status else []), *known])


def _codes(exc: BaseException) -> Iterator[str]:
    """The error codes an exception or its response's body names, in the places the known APIs keep them."""
    body = _body(exc)
    inner = _mapping(body.get("error"))
    response = getattr(exc, "response", None)
    aws = _mapping(response.get("Error")) if isinstance(response, Mapping) else {}
    places: list[Any] = [getattr(exc, name, None) for name in ("code", "type")] + [aws.get("Code")]
    places += [part.get(name) for part in (body, inner) for name in ("code", "type", "status")]
    details = inner.get("details")
    places += [_mapping(detail).get("reason") for detail in (details if isinstance(details, list) else [])]
    return (place for place in places if isinstance(place, str))


def _body(exc: BaseException) -> Mapping[str, Any]:
    """The parsed body of the response: ``body`` (openai, anthropic, cohere) or ``details`` (google-genai)."""
    for name in ("body", "details"):
        value = getattr(exc, name, None)
        if isinstance(value, str):
            try:
                value = json.loads(value)
            except (ValueError, RecursionError):
                continue
        if isinstance(value, Mapping):
            return value
    return {}


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds a response asks to wait: a number or a date in ``Retry-After``, or OpenAI's ``retry-after-ms``.

    Args:
        headers: the response's, found by their names in small letters.
    """
    try:
        if milliseconds := headers.get("retry-after-ms"):
            return _sane(float(milliseconds) / 1000)
        value = headers.get("retry-after")
        if not value:
            return None
        if value.replace(".", "", 1).isdigit():
            return _sane(float(value))
        return _sane((parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return None


def _headers(exc: BaseException) -> dict[str, str]:
    response = getattr(exc, "response", None)
    if isinstance(response, Mapping):  # botocore
        found: Any = _mapping(response.get("ResponseMetadata")).get("HTTPHeaders")
    else:
        found = getattr(response, "headers", None) or getattr(exc, "headers", None)
    items = found.items() if hasattr(found, "items") else ()
    return {str(name).lower(): str(value) for name, value in items}


def _sane(seconds: float) -> float | None:
    return min(max(seconds, 0.0), 3600.0) if math.isfinite(seconds) else None
