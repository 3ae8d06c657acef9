"""Memories for the suites in this folder: payloads as the plugin writes them, vectors at known cosines."""

from __future__ import annotations

import math
import uuid
from typing import Any

from utils.stores.protocol import Row, text_hash

DIMS = 8
QUERY = [1.0] + [0.0] * (DIMS - 1)


def new_id() -> str:
    return str(uuid.uuid4())


def someone() -> str:
    """A user nobody else in this run has."""
    return f"user-{uuid.uuid4().hex[:12]}"


def memory(user_id: str, text: str = "likes tea", /, memory_id: str | None = None, **more: Any) -> Row:
    times = {"created_at": "2026-01-01T00:00:00+00:00"}
    payload = {"data": text, "hash": text_hash(text), "user_id": user_id, **times, **more}
    return Row(memory_id or new_id(), payload)


def at_cosine(cosine: float, axis: int = 1) -> list[float]:
    """A vector of length 1 whose cosine to ``QUERY`` is ``cosine``."""
    vector = [0.0] * DIMS
    vector[0], vector[axis] = cosine, math.sqrt(1.0 - cosine * cosine)
    return vector


def spread(count: int) -> list[list[float]]:
    """So many different vectors, from near the query to far from it."""
    return [at_cosine(1.0 - 1.5 * position / max(count, 2), 1 + position % (DIMS - 1)) for position in range(count)]
