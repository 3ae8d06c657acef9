"""Counting and cutting text in tokens of cl100k_base, without the network.

Its vocabulary lies in ``_assets/tiktoken`` under the name that tiktoken looks for; ``main.py`` points tiktoken there.
tiktoken itself would download a vocabulary it does not find, and wait for that without bound: here that is an error.
The vocabulary is loaded by the first count (0.3 s, some 50 MB), so that a process without extraction does without it,
and long texts are counted on an OS thread of their own, since tiktoken does not yield.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from utils.aio.blocking import run_blocking

if TYPE_CHECKING:
    import tiktoken

_ENCODING: Final = "cl100k_base"
_VOCABULARY: Final = "9b5ad71b2ce5302211f9c61530b329a4922fc6a4"  # SHA-1 of the address it is published at
_PIECE_CHARS: Final = 50_000  # texts are counted in pieces, so that a long one is never a list of all its tokens
_SHORT_CHARS: Final = 2_000  # takes less than the hop to another thread and back


async def count_tokens(texts: Sequence[str]) -> list[int]:
    """How many tokens each text has; at most one more for each 50,000 characters than if counted in one."""
    if _loaded() and sum(map(len, texts)) <= _SHORT_CHARS:
        return _count_all(texts)
    return await run_blocking(_count_all, texts)


async def cut_to_tokens(text: str, limit: int) -> str:
    """The beginning of ``text`` with at most ``limit`` tokens, and no half of a character at its end."""
    return await run_blocking(_cut, text, limit)


def _count_all(texts: Sequence[str]) -> list[int]:
    encoding = _encoding()
    return [sum(len(encoding.encode_ordinary(piece)) for piece in _pieces(text)) for text in texts]


def _cut(text: str, limit: int) -> str:
    encoding, kept = _encoding(), []
    for piece in _pieces(text):
        tokens = encoding.encode_ordinary(piece)
        if len(tokens) > limit:
            kept.append(encoding.decode_bytes(tokens[: max(limit, 0)]).decode("utf-8", "ignore"))
            break
        kept.append(piece)
        limit -= len(tokens)
    return "".join(kept)


def _pieces(text: str) -> Iterator[str]:
    return (text[start : start + _PIECE_CHARS] for start in range(0, len(text), _PIECE_CHARS))


@functools.cache
def _encoding() -> tiktoken.Encoding:
    vocabulary = Path(os.environ.get("TIKTOKEN_CACHE_DIR", "")) / _VOCABULARY
    if not vocabulary.is_file():
        raise FileNotFoundError(vocabulary)
    import tiktoken

    return tiktoken.get_encoding(_ENCODING)


def _loaded() -> bool:
    return _encoding.cache_info().currsize > 0
