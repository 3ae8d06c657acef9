"""The embedder: mem0's object, bounded in time, its vectors checked.

mem0's classes check nothing of what comes back: too few vectors, other lengths, numbers that are none. Here such an
answer is asked for once more and then an error. Methods block: call them through ``run_in_executor``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from utils.errors import ServiceRejected, UnusableAnswer
from utils.messages import Sentence
from utils.models.clients import close, mapping_errors, prepare_client, touch
from utils.models.prefixes import Prefixes
from utils.text import capped, clean

# Cost (``text.capped``) of an embedded text. OpenAI's models take 8,191 tokens; at this cost (measured) Chinese has
# 7,700, Hindi 7,200, Portuguese 6,700 and English 5,200.
MOST_EMBEDDED: Final = 24_000
_NO_PREFIXES: Final = Prefixes()


class Embedder:
    """An embedder of mem0's registry.

    Args:
        embedder: mem0's embedder object; its client is replaced by one with the time-out.
        provider: its name in mem0's registry.
        timeout_s: seconds one request may wait for the service.
        dims: how long every vector must be; None accepts any length.
        prefixes: what the model wants before a text.
    """

    def __init__(
        self, embedder: Any, provider: str, timeout_s: float, dims: int | None, prefixes: Prefixes = _NO_PREFIXES
    ) -> None:
        self._embedder = embedder
        self._provider = provider
        self._dims = dims
        self._prefixes = prefixes
        prepare_client(embedder, timeout_s)

    def embed(self, text: str) -> list[float]:
        """The vector of a text to search with. Blocks.

        Raises:
            ServiceError: part ``embedder``; ``ServiceRejected`` also for a blank text and for a wrong length.
        """
        fitted = self._fit(text, self._prefixes.query)
        return _asked_twice(lambda: self._checked([self._request(self._embedder.embed, fitted, "search")], 1))[0]

    def embed_batch(self, texts: Sequence[str]) -> list[list[float]]:
        """The vectors of ``texts``, in their order; of long ones the beginning counts. Blocks.

        Raises:
            ServiceError: as for :meth:`embed`.
        """
        if not texts:
            return []
        fitted = [self._fit(text, self._prefixes.passage) for text in texts]
        return _asked_twice(lambda: self._checked(self._request(self._embedder.embed_batch, fitted, "add"), len(texts)))

    def touch(self) -> None:
        """Use a connection, for nothing and free of charge (``clients.touch``). Blocks."""
        touch(self._embedder, "embedder")

    def close(self) -> None:
        """Close the client's connections. Idempotent."""
        close(self._embedder)

    def _request(self, method: Callable[..., Any], *args: Any) -> Any:
        with mapping_errors("embedder"):
            return method(*args)

    def _fit(self, text: str, prefix: str) -> str:
        fitted = clean(capped(clean(text), MOST_EMBEDDED))
        if not fitted:
            raise ServiceRejected("model_blank_text", part="embedder", reason="blank text")
        return prefix + fitted

    def _checked(self, vectors: Iterable[Any], expected: int) -> list[list[float]]:
        checked = [_floats(vector) for vector in vectors]
        if len(checked) != expected:
            raise _unusable("reason_vector_count", found=len(checked), expected=expected)
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


def _asked_twice[T](request: Callable[[], T]) -> T:
    """What ``request`` answers; it is made once more when the answer was none anybody could use."""
    try:
        return request()
    except UnusableAnswer:
        return request()


def _unusable(reason: str, **params: object) -> UnusableAnswer:
    return UnusableAnswer("service_unusable", part="embedder", reason=Sentence(reason, params))


def _floats(vector: Any) -> list[float]:
    """A vector as Python floats, which is what every store takes (numpy numbers and ints are refused by some)."""
    try:
        floats = list(map(float, vector))
    except (TypeError, ValueError) as exc:
        raise _unusable("reason_bad_vector") from exc
    # The sum is finite when every number is; looking at each costs four times as much.
    if not floats or not (math.isfinite(sum(floats)) or all(map(math.isfinite, floats))):
        raise _unusable("reason_bad_vector")
    return floats
