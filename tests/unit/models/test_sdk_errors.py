"""What the exceptions of many SDKs become. Those of SDKs that are not installed are built in their shape (checked
against botocore 1.44, cohere 7.3, google-genai 3.4 and groq 1.7)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import httpx
import httpx2
import ollama
import openai
import pytest
import requests
import urllib3

from utils.errors import ServiceError, ServiceRefused, ServiceRejected, ServiceUnavailable, UnusableAnswer
from utils.models.sdk_errors import map_error, status_of

REQUEST = httpx2.Request("POST", "http://127.0.0.1/v1")
PART = "embedder"


def foreign(module: str, name: str, *bases: type[Exception], **attributes: Any) -> Exception:
    """An exception of a package that is not installed: its class's home, name and bases, and its own attributes."""
    kind = type(name, bases or (Exception,), {"__module__": module})
    exception: Exception = kind("the key is sk-canary")
    for attribute, value in attributes.items():
        setattr(exception, attribute, value)
    return exception


def botocore(status: int, code: str, **headers: str) -> Exception:
    metadata = {"HTTPStatusCode": status, "HTTPHeaders": headers}
    response = {"Error": {"Code": code, "Message": "sk-canary"}, "ResponseMetadata": metadata}
    return foreign("botocore.exceptions", "ClientError", response=response)


def google(status: int, reason: str) -> Exception:
    details = {"error": {"code": status, "status": "INVALID_ARGUMENT", "details": [{"reason": reason}]}}
    return foreign("google.genai.errors", "ClientError", code=status, status="INVALID_ARGUMENT", details=details)


def answered(status: int, **headers: str) -> requests.HTTPError:
    response = requests.Response()
    response.status_code = status
    response.headers.update(headers)
    return requests.HTTPError("sk-canary", response=response)


def answered_with(status: int, body: Any) -> Exception:
    return foreign("groq", "APIStatusError", status_code=status, body=body)


def caused(outer: Exception, cause: Exception) -> Exception:
    outer.__context__ = cause
    return outer


@pytest.mark.parametrize(
    ("exc", "kind"),
    [
        (openai.APIConnectionError(request=REQUEST), ServiceUnavailable),
        (openai.APITimeoutError(REQUEST), ServiceUnavailable),
        (openai.LengthFinishReasonError.__new__(openai.LengthFinishReasonError), UnusableAnswer),
        (openai.OpenAIError("no key"), ServiceRejected),
        (httpx.ConnectError("x"), ServiceUnavailable),
        (httpx2.ReadTimeout("x"), ServiceUnavailable),
        (httpx.RemoteProtocolError("x"), ServiceUnavailable),
        (httpx.LocalProtocolError("bad header sk-canary"), ServiceRejected),
        (httpx2.UnsupportedProtocol("x"), ServiceRejected),
        (caused(openai.APIConnectionError(request=REQUEST), httpx2.UnsupportedProtocol("x")), ServiceRejected),
        (ollama.ResponseError("no such model", 404), ServiceRejected),
        (ollama.ResponseError("busy", 503), ServiceUnavailable),
        (ollama.ResponseError("no status"), ServiceRejected),
        (answered(402), ServiceRefused),
        (answered(408), ServiceUnavailable),
        (answered(409), ServiceUnavailable),
        (answered(422), ServiceRejected),
        (answered(504), ServiceUnavailable),
        (requests.ConnectionError("x"), ServiceUnavailable),
        (requests.Timeout("x"), ServiceUnavailable),
        (requests.exceptions.InvalidURL("x"), ServiceRejected),
        (requests.exceptions.JSONDecodeError("x", "y", 0), UnusableAnswer),
        (caused(RuntimeError("Sarvam API request failed"), answered(401)), ServiceRefused),
        (caused(ValueError("Error getting embedding"), botocore(429, "Throttling")), ServiceUnavailable),
        (urllib3.exceptions.ProtocolError("x"), ServiceUnavailable),
        (urllib3.exceptions.LocationParseError("x"), ServiceRejected),
        (botocore(403, "AccessDeniedException"), ServiceRefused),
        (botocore(400, "UnrecognizedClientException"), ServiceRefused),
        (botocore(400, "ValidationException"), ServiceRejected),
        (foreign("botocore.exceptions", "NoCredentialsError"), ServiceRefused),
        (google(400, "API_KEY_INVALID"), ServiceRefused),
        (google(400, "OTHER"), ServiceRejected),
        (google(503, "OTHER"), ServiceUnavailable),
        (foreign("cohere.core.api_error", "ApiError", status_code=429), ServiceUnavailable),
        (answered_with(400, {"error": {"code": "json_validate_failed"}}), UnusableAnswer),
        (foreign("groq", "APITimeoutError", type("APIConnectionError", (Exception,), {})), ServiceUnavailable),
        (answered_with(429, '{"error": {"type": "exceeded_current_quota_error"}}'), ServiceRefused),
        (foreign("azure.core.exceptions", "ClientAuthenticationError", status_code=None), ServiceRefused),
        (ConnectionResetError("x"), ServiceUnavailable),
        (TimeoutError("x"), ServiceUnavailable),
        (TypeError("an unexpected keyword argument"), ServiceRejected),
        (ValueError("x"), ServiceRejected),
        (FileNotFoundError("x"), ServiceRejected),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else value.__name__,
)  # fmt: skip
def test_what_an_exception_becomes(exc: Exception, kind: type[ServiceError]) -> None:
    mapped = map_error(exc, PART)
    assert type(mapped) is kind
    assert mapped.part == PART
    assert "canary" not in f"{mapped}{mapped.params}"


@pytest.mark.parametrize(
    ("exc", "seconds"),
    [
        (answered(429, **{"Retry-After": "7"}), 7.0),
        (answered(429, **{"retry-after-ms": "250"}), 0.25),
        (answered(429, **{"Retry-After": "-1"}), None),
        (answered(429, **{"Retry-After": "nan"}), None),
        (answered(429, **{"Retry-After": "soon"}), None),
        (answered(429, **{"Retry-After": "999999"}), 3600.0),
        (answered(429, **{"Retry-After": format_datetime(datetime(2020, 1, 1, tzinfo=UTC))}), 0.0),
        (answered(429), None),
        (botocore(429, "Throttling", **{"retry-after": "3"}), 3.0),
        (foreign("cohere.errors", "TooManyRequestsError", status_code=429, headers={"Retry-After": "2"}), 2.0),
        (httpx.ReadTimeout("x"), None),
    ],
)
def test_how_long_the_service_asks_to_wait(exc: Exception, seconds: float | None) -> None:
    assert map_error(exc, PART).retry_after_s == seconds


def test_a_date_in_retry_after_is_counted_from_now() -> None:
    later = datetime.now(UTC) + timedelta(minutes=10)
    waited = map_error(answered(429, **{"Retry-After": format_datetime(later, usegmt=True)}), PART).retry_after_s
    assert waited is not None
    assert 0 < waited <= 600


def test_a_mapped_error_stays_what_it_is() -> None:
    mapped = map_error(answered(401), "llm")
    assert map_error(mapped, "embedder") is mapped


@pytest.mark.parametrize(("exc", "status"), [(answered(418), 418), (botocore(429, "x"), 429), (ValueError(), None)])
def test_the_status_is_found_wherever_it_is_kept(exc: Exception, status: int | None) -> None:
    assert status_of(exc) == status


def test_a_cycle_of_causes_ends() -> None:
    first, second = ValueError("a"), ValueError("b")
    first.__context__, second.__context__ = second, first
    assert type(map_error(first, PART)) is ServiceRejected
