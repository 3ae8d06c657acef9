"""Vectors in JSON: base64 of their float32 values, which is a third of their decimal digits and what stores keep."""

from __future__ import annotations

import base64
import sys
from array import array
from collections.abc import Sequence


def packed(vector: Sequence[float]) -> str:
    """``vector`` as a text; the same on every machine."""
    values = array("f", vector)
    if sys.byteorder == "big":
        values.byteswap()
    return base64.b64encode(values.tobytes()).decode("ascii")


def unpacked(text: str) -> tuple[float, ...]:
    """The inverse of :func:`packed`, to float32 precision."""
    values = array("f", base64.b64decode(text))
    if sys.byteorder == "big":
        values.byteswap()
    return tuple(values)
