"""Embeddings of OpenAI's SDK as the JSON they come in.

The SDK turns an answer into objects and looks at every number of a vector on its way: with 256 dimensions that is a
third of what a call costs, with 1,536 most of it (measured). Here the very same client asks, with its connections,
time-out, retries and errors, and the numbers stay as they were parsed; ``embedder.Embedder`` checks them.
"""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any, Final

_BODY: Final = {"input", "model", "dimensions", "encoding_format"}


def use_plain_answers(embedder: Any) -> None:
    """Replace the client in mem0's ``embedder`` by one that does so, if it is OpenAI's or Azure's."""
    openai = sys.modules.get("openai")
    client = getattr(embedder, "client", None)
    if openai is not None and isinstance(client, openai.OpenAI):
        embedder.client = _PlainClient(client)


class _PlainClient:
    """As much of ``openai.OpenAI`` as mem0's embedders and ``clients`` use."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.embeddings = self
        self.close = client.close

    @property
    def models(self) -> Any:
        """``models`` as it is."""
        return self._client.models

    def create(self, **body: Any) -> Any:
        """``embeddings.create``: an object whose ``data`` holds ``index`` and ``embedding`` of each text."""
        if not body.keys() <= _BODY:  # options of the SDK's own, as model_kwargs may hold
            return self._client.embeddings.create(**body)
        answer = self._client.post("/embeddings", body=body, cast_to=object)
        rows = answer.get("data") if isinstance(answer, dict) else None  # an error page has none: mem0 misses it
        return SimpleNamespace(data=[_vector(place, row) for place, row in enumerate(rows or ())])


def _vector(place: int, row: dict[str, Any]) -> SimpleNamespace:
    return SimpleNamespace(index=row.get("index", place), embedding=row.get("embedding"))
