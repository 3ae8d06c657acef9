"""Lean requests in the place of OpenAI's SDK, for mem0's classes that use it.

mem0's classes for OpenAI, DeepSeek, xAI, MiniMax, vLLM and LM Studio put a request together and give it to the SDK's
client. :class:`LeanClient` stands in its place: the very same request goes out over :class:`OpenAIHttp`, and the answer
stays the JSON it came as. What it does not know, options of the SDK's own included, goes to the SDK's client as ever.

:class:`OpenAIEmbeddings` is mem0's embedder for OpenAI without the SDK: a search needs no more of it, and importing it
takes half a second and 19 MB. Vectors come as base64, which is a quarter of the bytes and no numbers to parse, from
services that answer so; those that do not are asked as mem0 asks.
"""

from __future__ import annotations

import base64
import math
import sys
from array import array
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any, Final
from urllib.parse import quote

from utils.models.openai_http import RETRIES, APIStatusError, OpenAIHttp, can_reach

_CHAT_OPTIONS: Final = frozenset({"extra_headers", "extra_query", "extra_body", "timeout", "stream"})
_EMBEDDING_BODY: Final = frozenset({"input", "model", "dimensions", "encoding_format"})


def use_lean_client(part: Any, timeout_s: float, retries: int = RETRIES) -> None:
    """Replace the client in mem0's ``part`` by a lean one, if it is of OpenAI's SDK. Azure's keeps its way to the
    service, and an address that :class:`OpenAIHttp` cannot reach, too.
    """
    openai = sys.modules.get("openai")
    client = getattr(part, "client", None)
    if openai is None or not isinstance(client, openai.OpenAI):
        return
    plain = type(client) is openai.OpenAI and can_reach(str(client.base_url))
    http = OpenAIHttp(str(client.base_url), client.api_key, timeout_s, retries) if plain else None
    part.client = LeanClient(client, http)


class LeanClient:
    """As much of ``openai.OpenAI`` as mem0's classes and ``clients`` use; the rest is the SDK's.

    Args:
        sdk: the client it replaces.
        http: the way to the service; None: the SDK's.

    Attributes:
        http: as given.
    """

    def __init__(self, sdk: Any, http: OpenAIHttp | None) -> None:
        self._sdk = sdk
        self.http = http
        self.embeddings = SimpleNamespace(create=self._embed)
        if http is not None:
            self.chat = SimpleNamespace(completions=SimpleNamespace(create=self._complete))
            self.models = _Models(http)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sdk, name)

    def close(self) -> None:
        """Close the connections. Idempotent."""
        if self.http is not None:
            self.http.close()
        self._sdk.close()

    def _embed(self, **body: Any) -> Any:
        """``embeddings.create``: an object whose ``data`` holds ``index`` and ``embedding`` of each text."""
        if not body.keys() <= _EMBEDDING_BODY:
            return self._sdk.embeddings.create(**body)
        if self.http is not None:
            answer = self.http.post("/embeddings", {"encoding_format": "float", **body})
        else:
            answer = self._sdk.post("/embeddings", body=body, cast_to=object)
        return SimpleNamespace(data=[SimpleNamespace(index=row[0], embedding=row[1]) for row in _rows(answer)])

    def _complete(self, **body: Any) -> Any:
        """``chat.completions.create``: an object with the message of each of its ``choices``."""
        if self.http is None or not body.keys().isdisjoint(_CHAT_OPTIONS) or body.get("tools"):
            return self._sdk.chat.completions.create(**body)
        answer = self.http.post("/chat/completions", body)
        choices = answer.get("choices") if isinstance(answer, dict) else None
        return SimpleNamespace(choices=[_choice(choice) for choice in choices or ()])


def _choice(choice: Mapping[str, Any]) -> SimpleNamespace:
    message = choice.get("message") or {}
    return SimpleNamespace(message=SimpleNamespace(content=message.get("content"), tool_calls=None))


class _Models:
    """``models`` of a client."""

    def __init__(self, http: OpenAIHttp) -> None:
        self._http = http

    def retrieve(self, model: str, timeout: float) -> Any:
        """What the service knows of a model; ``timeout`` in seconds."""
        return self._http.get(f"/models/{quote(model)}", timeout)


def _rows(answer: Any) -> list[tuple[int, Any]]:
    """Index and embedding of each row of an answer; an error page has none."""
    data = answer.get("data") if isinstance(answer, dict) else None
    rows = [row if isinstance(row, dict) else {} for row in (data if isinstance(data, list) else ())]
    indexes = [row.get("index") for row in rows]
    return [
        (index if isinstance(index, int) else place, row.get("embedding"))
        for place, (index, row) in enumerate(zip(indexes, rows, strict=True))
    ]


# -- embeddings without the SDK

_URL: Final = "https://api.openai.com/v1"
_MODEL: Final = "text-embedding-3-small"  # mem0's default
_MOST_TEXTS: Final = 100  # of one request, as mem0 has it
# What a service may answer that does not know base64: it then gets the request once more, as mem0 makes it.
_NO_BASE64: Final = frozenset({400, 415, 422, 500, 501})
# Lengths of real vectors are between these: other bytes read as floats (doubles, halves, integers) are not.
_SHORTEST, _LONGEST = 1e-3, 1e4


def openai_embeddings(provider: str, config: Mapping[str, Any], timeout_s: float) -> OpenAIEmbeddings | None:
    """The embedder of mem0's provider ``openai``; None for other providers, and where it cannot reach the address."""
    if provider != "openai" or not can_reach(config.get("openai_base_url") or _URL):
        return None
    return OpenAIEmbeddings(config, timeout_s)


class OpenAIEmbeddings:
    """mem0's ``OpenAIEmbedding``: the same requests from the same configuration.

    Args:
        config: the block's; checked already.
        timeout_s: seconds to connect, and for each wait for data.

    Attributes:
        config: with the ``model``, as mem0's objects have it.
        client: for ``clients``.
    """

    def __init__(self, config: Mapping[str, Any], timeout_s: float) -> None:
        self._http = OpenAIHttp(config.get("openai_base_url") or _URL, config["api_key"], timeout_s)
        self.config = SimpleNamespace(model=config.get("model") or _MODEL)
        self.client = SimpleNamespace(http=self._http, models=_Models(self._http), close=self._http.close)
        self._body = {"model": self.config.model}
        if config.get("embedding_dims") is not None:  # services whose models have one length only refuse the parameter
            self._body["dimensions"] = config["embedding_dims"]
        self._encoding = "base64"
        self._base64_works = False

    def embed(self, text: str, memory_action: str | None = None) -> Any:
        """The vector of ``text`` as the service answered it; None when it did not. ``memory_action`` is mem0's."""
        return next(iter(self.embed_batch([text], memory_action)), None)

    def embed_batch(self, texts: Sequence[str], memory_action: str | None = None) -> list[Any]:
        """The vectors of ``texts`` in their order, each a sequence of numbers, or whatever the service has sent."""
        lines = [text.replace("\n", " ") for text in texts]
        parts = [lines[start : start + _MOST_TEXTS] for start in range(0, len(lines), _MOST_TEXTS)]
        return [vector for part in parts for vector in self._vectors(part)]

    def _vectors(self, texts: list[str]) -> list[Any]:
        try:
            vectors = self._requested(texts, self._encoding)
        except APIStatusError as exc:
            if self._encoding == "float" or self._base64_works or exc.status_code not in _NO_BASE64:
                raise
            return self._with_floats(texts)
        if not any(isinstance(vector, str) for vector in vectors):
            self._encoding = "float"  # not heeded, or nothing answered: asked in its own way from now on
            return vectors
        decoded = [_decoded(vector) for vector in vectors]
        if not self._base64_works and not all(map(_plausible, decoded)):
            return self._with_floats(texts)
        self._base64_works = True
        return decoded

    def _with_floats(self, texts: list[str]) -> list[Any]:
        vectors = self._requested(texts, "float")
        self._encoding = "float"
        return vectors

    def _requested(self, texts: list[str], encoding: str) -> list[Any]:
        answer = self._http.post("/embeddings", {"input": texts, "encoding_format": encoding, **self._body})
        return [vector for _, vector in sorted(_rows(answer), key=lambda row: row[0])]


def _decoded(vector: Any) -> Any:
    """The numbers in a base64 text of single-precision floats, least significant byte first; None where it is none."""
    if not isinstance(vector, str):
        return vector
    try:
        numbers = array("f", base64.b64decode(vector, validate=True))
    except ValueError:
        return None
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers


def _plausible(vector: Any) -> bool:
    return isinstance(vector, array) and _SHORTEST < math.hypot(*vector) < _LONGEST
