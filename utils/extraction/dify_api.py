"""Dify's service API as extraction needs it: pages of a user's conversations, and of a conversation's messages.

One client serves a whole task. It promises that the key goes to the host of the base URL and nowhere else (no
redirect is followed; plain HTTP takes no proxy, which would see the key) and stands in no error; that no answer is
waited for or read without bound; and that what passes is tried again before it is an error: time-outs, resets, 429,
5xx and answers that are no JSON, three tries in all, with backoff, jitter and ``Retry-After``.

What a request names may be gone by now (a conversation deleted between two pages): that is no error, but None.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
import tenacity

from utils.errors import InvalidInput, ServiceError, ServiceRefused, ServiceRejected
from utils.extraction.history import (
    PAGE_ROWS,
    PART,
    Conversation,
    Page,
    Turn,
    read_conversations,
    read_turns,
    unusable,
)
from utils.messages import Sentence
from utils.models.sdk_errors import map_error

TRIES: Final = 3
_FIRST_BACKOFF_S: Final = 0.5
_JITTER_S: Final = 0.5
LONGEST_RETRY_AFTER_S: Final = 60.0  # a service that wants a longer pause is left to the next run
# Five users at a time share a client (SPEC 5), each with one request under way; pool waits are the client's own.
_LIMITS: Final = httpx.Limits(max_connections=10, max_keepalive_connections=10, keepalive_expiry=30.0)
_TIMEOUT: Final = httpx.Timeout(30.0, connect=10.0, pool=None)
_LONGEST_REQUEST_S: Final = 120.0  # one that trickles, too
MAX_ANSWER_BYTES: Final = 32 * 1024 * 1024  # 100 turns with the texts that were retrieved for them have some 5 MiB

_ADDRESS: Final = re.compile(r"([\w.-]+|\[[0-9a-f:.]+\])(:\d+)?")

type Query = Mapping[str, str | int]


def parse_base_url(given: str) -> str:
    """The base URL without blanks around it and a slash at its end.

    Raises:
        InvalidInput: it is not ``http(s)://host[:port][/path]/v1``. The sentence shows the right form; what a person
            wrote before an ``@`` is not in it.
    """
    text = given.strip().rstrip("/")
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port
    except ValueError:  # a port that is no number, a bracket that is not closed
        raise _bad_base_url("https", "") from None
    address = (f"[{host}]" if ":" in host else host) + (f":{port}" if port else "")
    sound = parts.scheme in ("http", "https") and bool(host) and parts.netloc.lower() == address and " " not in text
    if not sound or not text.isprintable() or not parts.path.endswith("/v1") or parts.query or parts.fragment:
        raise _bad_base_url(parts.scheme, "" if "@" in parts.path else address)
    return text


def _bad_base_url(scheme: str, address: str) -> InvalidInput:
    shown = address if _ADDRESS.fullmatch(address) else "dify.example.com"
    return InvalidInput(
        "param_dify_base_url", name="dify_base_url", right=f"{'http' if scheme == 'http' else 'https'}://{shown}/v1"
    )


def parse_api_key(given: str) -> str:
    """The key without the ``Bearer`` that people paste with it.

    Raises:
        InvalidInput: no header can hold it.
    """
    key = given.strip().removeprefix("Bearer").strip()
    if not key or not key.isascii() or not key.isprintable() or " " in key:
        raise InvalidInput("param_dify_api_key", name="dify_api_key")
    return key


class DifyApi:
    """One app's history. ``async with DifyApi(base_url, api_key) as api: ...``; its connections are closed at the end.

    Args:
        base_url: as :func:`parse_base_url` returns it.
        api_key: the app's key, as :func:`parse_api_key` returns it.
        pause: how to wait before another try; tests look at it.
    """

    def __init__(
        self, base_url: str, api_key: str, *, pause: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        self._base_url = base_url
        self._pause = pause
        self._client = httpx.AsyncClient(
            headers={"Authorization": f"Bearer {api_key}", "Accept": "application/json", "Accept-Encoding": "identity"},
            limits=_LIMITS,
            timeout=_TIMEOUT,
            follow_redirects=False,
            # Inside TLS a proxy sees nothing. In the clear it would see the key.
            trust_env=base_url.startswith("https:"),
        )

    async def __aenter__(self) -> DifyApi:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections. Idempotent."""
        await self._client.aclose()

    async def conversations(self, user_id: str, last_id: str = "") -> Page[Conversation] | None:
        """The user's conversations, last touched first, behind ``last_id``; None when that one is gone.

        Raises:
            ServiceError: Dify cannot be reached, refuses the key or the app, or answers what cannot be used.
        """
        query: Query = {"user": user_id, "limit": PAGE_ROWS, "sort_by": "-updated_at"}
        body = await self._get(
            "conversations", {**query, **({"last_id": last_id} if last_id else {})}, names_one=bool(last_id)
        )
        return None if body is None else read_conversations(body)

    async def messages(self, user_id: str, conversation_id: str, first_id: str = "") -> Page[Turn] | None:
        """Turns of a conversation that are older than the second of ``first_id``, the newest where there is none; None
        when one of the two is gone.

        Raises:
            ServiceError: as for :meth:`conversations`.
        """
        query: Query = {"user": user_id, "conversation_id": conversation_id, "limit": PAGE_ROWS}
        body = await self._get("messages", {**query, **({"first_id": first_id} if first_id else {})}, names_one=True)
        return None if body is None else read_turns(body)

    async def _get(self, path: str, query: Query, *, names_one: bool) -> Any:
        # A new object each time: tenacity keeps the state of a call in it, and calls overlap.
        retrying = tenacity.AsyncRetrying(
            stop=tenacity.stop_after_attempt(TRIES),
            wait=_wait_s,
            retry=tenacity.retry_if_exception(_worth_another_try),
            sleep=self._pause,
            reraise=True,
        )
        return await retrying(self._try_once, path, query, names_one)

    async def _try_once(self, path: str, query: Query, names_one: bool) -> Any:
        """The parsed body of a 200; None for a 404 that says that what the request names does not exist."""
        try:
            async with (
                asyncio.timeout(_LONGEST_REQUEST_S),
                self._client.stream("GET", f"{self._base_url}/{path}", params=dict(query)) as response,
            ):
                body = _parsed(response, await _bounded_body(response))
        except (httpx.HTTPError, httpx.StreamError, httpx.InvalidURL, TimeoutError) as exc:
            raise map_error(exc, PART) from exc
        if response.status_code == httpx.codes.NOT_FOUND and names_one and _code(body) == "not_found":
            return None
        if response.status_code != httpx.codes.OK:
            raise _refusal(response, _code(body))
        if body is None:
            raise unusable(Sentence("reason_no_json", {}))
        return body


def _worth_another_try(error: BaseException) -> bool:
    if not isinstance(error, ServiceError) or not error.passing:
        return False
    return (error.retry_after_s or 0.0) <= LONGEST_RETRY_AFTER_S


def _wait_s(state: tenacity.RetryCallState) -> float:
    """Seconds before the next try: twice as long each time, or longer where the service asks for it."""
    error = state.outcome.exception() if state.outcome else None
    asked_for_s = (error.retry_after_s or 0.0) if isinstance(error, ServiceError) else 0.0
    backoff_s: float = _FIRST_BACKOFF_S * 2 ** (state.attempt_number - 1)
    return max(backoff_s, asked_for_s) + random.uniform(0, _JITTER_S)  # noqa: S311 - spreads tries, hides nothing


async def _bounded_body(response: httpx.Response) -> bytes:
    body = bytearray()
    async for piece in response.aiter_bytes():
        body += piece
        if len(body) > MAX_ANSWER_BYTES:
            raise _too_large()
    return bytes(body)


def _too_large() -> ServiceRejected:
    reason = Sentence("reason_answer_too_large", {"limit": MAX_ANSWER_BYTES})
    return ServiceRejected("service_unusable", part=PART, reason=reason)  # another try would be as large


def _parsed(response: httpx.Response, body: bytes) -> Any:
    """The JSON of an answer; None where there is none. A wrong path is answered in HTML."""
    if "json" not in response.headers.get("content-type", ""):
        return None
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _code(body: Any) -> str:
    """Dify's own code for an error: ``not_found``, ``not_chat_app``. Sentences differ by version and route."""
    code = body.get("code") if isinstance(body, Mapping) else None
    return code if isinstance(code, str) else ""


_REFUSALS: Final[Mapping[int, tuple[type[ServiceError], str]]] = {
    401: (ServiceRefused, "dify_key_refused"),
    403: (ServiceRefused, "dify_forbidden"),
    404: (ServiceRejected, "dify_no_api"),
}


def _refusal(response: httpx.Response, code: str) -> ServiceError:
    """The error for a status that is not 200."""
    status = response.status_code
    reason = f"HTTP {status}"
    if code == "not_chat_app":
        return ServiceRejected("dify_not_chat_app", part=PART, reason=reason)
    if response.is_redirect:
        return ServiceRejected("dify_redirects", part=PART, reason=reason)
    if status in _REFUSALS:
        kind, key = _REFUSALS[status]
        return kind(key, part=PART, reason=reason)
    error = httpx.HTTPStatusError(reason, request=response.request, response=response)
    return map_error(error, PART)
