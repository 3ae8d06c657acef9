"""A vector on its way to the server, in pgvector's binary or text format."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from typing import Final

from psycopg import pq
from psycopg.adapt import Buffer, Dumper

from utils.stores.errors import rejected

_HEADER: Final = struct.Struct(">HH")  # dimensions, unused


class Vector:
    """A vector in pgvector's binary format; takes any sequence of numbers, numpy's included.

    Raises:
        ServiceRejected: it holds something that is no number, or one beyond single precision.
    """

    __slots__ = ("packed",)

    def __init__(self, values: Sequence[float]) -> None:
        try:
            self.packed = struct.pack(f">HH{len(values)}f", len(values), 0, *values)
        except (struct.error, OverflowError, TypeError) as exc:
            raise rejected("store_bad_row", type(exc).__name__) from exc

    def as_text(self) -> str:
        """The same vector in pgvector's text format, for a connection that does not know this class.

        Raises:
            ServiceRejected: a number is infinite or none.
        """
        values = struct.unpack_from(f">{(len(self.packed) - _HEADER.size) // 4}f", self.packed, _HEADER.size)
        if not all(map(math.isfinite, values)):
            raise rejected("store_bad_row", "vector")
        # Nine digits give every single-precision number back.
        return f"[{','.join(f'{value:.9g}' for value in values)}]"


class VectorBinaryDumper(Dumper):
    """Hands psycopg a :class:`Vector` as it is."""

    format = pq.Format.BINARY
    oid = 0  # unknown: the extension's type has another number in every database; the cast in the statement tells

    def dump(self, obj: Vector) -> Buffer | None:
        """The vector's bytes."""
        return obj.packed


class VectorTextDumper(Dumper):
    """The same for parameters that are written into the statement."""

    def dump(self, obj: Vector) -> Buffer | None:
        """The vector's text."""
        return obj.as_text().encode()
