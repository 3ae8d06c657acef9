"""Vectors of texts embedded a moment ago: agents search the same text again with other filters, and what a message is
compared with is often what was just stored.

A cache belongs to one credential set, and so to one model. It is in memory only, and holds no text: a text is known by
its digest.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Sequence


class EmbeddingCache:
    """The vectors of the latest texts. Used on the loop only.

    Args:
        size: how many; 0 keeps none.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._vectors: dict[bytes, array[float]] = {}  # least recently used first

    def get(self, purpose: str, text: str) -> list[float] | None:
        """The vector of ``text``, if it is kept.

        Args:
            purpose: some models embed what is stored and what is searched for in two ways.
            text: as it was given.
        """
        if not self._size:
            return None
        key = _key(purpose, text)
        vector = self._vectors.pop(key, None)
        if vector is None:
            return None
        self._vectors[key] = vector
        return vector.tolist()

    def put(self, purpose: str, text: str, vector: Sequence[float]) -> None:
        """Keep a vector; the least recently used one goes when there are too many."""
        if not self._size:
            return
        key = _key(purpose, text)
        self._vectors.pop(key, None)
        self._vectors[key] = array("d", vector)
        if len(self._vectors) > self._size:
            del self._vectors[next(iter(self._vectors))]


def _key(purpose: str, text: str) -> bytes:
    return hashlib.blake2b(f"{purpose}\n{text}".encode("utf-8", "surrogatepass"), digest_size=16).digest()
