"""The order of found memories: by similarity and by the words they share with the query, together.

A vector finds what is meant, words find names, numbers and rare terms; an order by both finds more than either
(benchmarks/README.md). The words are counted over the found rows alone, so this needs no index and works the same on
every store, and there is no language in it: a text is compared by three letters at a time inside its words, by two
characters at a time in Chinese, Japanese and Korean. Pure functions; the time grows linearly with the texts, up to a
bound for all of them together, since it is spent on the loop.

**What a shared piece counts** is the square of its rarity, ``ln((n + 1) / (df + 0.5))``, where ``df`` of the ``n``
rows have it. **keyword_score** is the share of the query's whole weight that a row has: pieces that no row has count in
the whole, so a row that shares nothing but "what is the" stays near 0. **The order** is by the similarity, scaled to
0..1 over the rows, plus :data:`KEYWORD_WEIGHT` times that share. Scaled, because embedders differ: the cosines of one
lie between 0.1 and 0.6, of another between 0.8 and 0.9. Rank fusion has no such brake: it lets the list of words have
its way also where the embedder is the better one.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain, zip_longest
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from utils.stores.protocol import Row

KEYWORD_WEIGHT: Final = 1.5  # chosen on halves for tuning, benchmarks/README.md
_QUERY_CHARS: Final = 600  # of longer queries the beginning gives the words
_WINDOW_CHARS: Final = 2_000  # a part of a message is compared in the whole: any of its sentences may have a twin
_TEXT_CHARS: Final = 4_000  # of longer memories the beginning is compared
_MOST_CHARS: Final = 120_000  # of all texts of one search; they take about 15 ms of everybody's time
_SHORT_WORD: Final = 3  # letters; such words are mostly articles and the like
_BEGINNING: Final = 5  # letters; what follows is mostly an ending
_WITHOUT_SPACES: Final = "\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff"  # kana, han, hangul
_WORD: Final = re.compile(f"[{_WITHOUT_SPACES}]+|[^\\W_{_WITHOUT_SPACES}]+")

type _Piece = tuple[str, ...]  # of single characters, as zip gives them


def by_similarity_and_keywords(query: str, rows: Sequence[Row]) -> list[Row]:
    """``rows`` with their ``keyword_score``, best first; rows that are equally good stay in their order.

    Args:
        query: what was searched for.
        rows: what was found, with similarities; the rarity of a word is counted over them.
    """
    shares = keyword_shares(query, [row.text for row in rows])
    values = combined([row.score or 0.0 for row in rows], shares)
    order = sorted(range(len(rows)), key=lambda index: -values[index])
    return [replace(rows[index], keyword_score=shares[index]) for index in order]


def nearest_in_turns(queries: Sequence[str], found: Sequence[Sequence[Row]], most: int) -> list[Row]:
    """The rows nearest to any of the queries: the most similar, the one with most words in common, the second of
    either, and so on; each row once.

    Args:
        queries: parts of one text.
        found: what was found for each, with similarities.
        most: how many rows at most.
    """
    similar: dict[str, Row] = {}
    shares: dict[str, float] = {}
    for query, rows in zip(queries, found, strict=True):
        compared = keyword_shares(query, [row.text for row in rows], _MOST_CHARS // len(queries), _WINDOW_CHARS)
        for row, share in zip(rows, compared, strict=True):
            shares[row.id] = max(share, shares.get(row.id, 0.0))
            if row.id not in similar or (row.score or 0.0) > (similar[row.id].score or 0.0):
                similar[row.id] = row
    by_vector = sorted(similar.values(), key=lambda row: (-(row.score or 0.0), row.id))
    by_words = sorted((row for row in by_vector if shares[row.id] > 0.0), key=lambda row: -shares[row.id])
    in_turns = chain.from_iterable(zip_longest(by_vector, by_words))
    return list({row.id: row for row in in_turns if row is not None}.values())[:most]


def combined(similarities: Sequence[float], shares: Sequence[float]) -> list[float]:
    """What the order goes by: each similarity, scaled to 0..1 over all, and the weighed share of keywords.

    Args:
        similarities: 0..1 each.
        shares: 0..1 each, of the same rows.
    """
    if not similarities:
        return []
    low = min(similarities)
    span = max(similarities) - low or 1.0
    return [
        (similarity - low) / span + KEYWORD_WEIGHT * share
        for similarity, share in zip(similarities, shares, strict=True)
    ]


def keyword_shares(
    query: str, texts: Sequence[str], most_chars: int = _MOST_CHARS, query_chars: int = _QUERY_CHARS
) -> list[float]:
    """Which share of the query's words each text has, by weight, 0..1.

    Args:
        query: any text in any language.
        texts: what it is compared with, and over what rarity is counted.
        most_chars: how many characters of all texts together are compared; where they have more, the beginnings of
            the longest are.
        query_chars: how many characters of the query give the words.
    """
    pieces = _pieces(_folded(query, query_chars))
    cut = _longest_compared([len(text) for text in texts], most_chars)
    folded = [_folded(text, cut) for text in texts]
    cut = _longest_compared([len(text) for text in folded], most_chars)  # folding can make a text longer
    found = [_pieces_in(text[:cut], pieces) for text in folded]
    having = Counter(chain.from_iterable(found))
    weights = {piece: _weight(having[piece], len(texts)) for piece in pieces}
    whole = math.fsum(weights.values())
    if whole <= 0.0:
        return [0.0] * len(texts)
    # A set has no order: fsum gives the same sum in any, so that texts with the same pieces stay equal.
    return [math.fsum(weights[piece] for piece in has) / whole for has in found]


def beginnings(query: str) -> list[str]:
    """What a store may look for in texts to find rows that a vector does not: the beginnings of the query's longer
    words, pairs of characters in Chinese, Japanese and Korean. A word that is not ASCII comes with a capital as well:
    a store may know capitals of ASCII only.
    """
    found: dict[str, None] = {}
    for word in _WORD.findall(_folded(query, _QUERY_CHARS)):
        if word[0] > "\u3000":
            found |= dict.fromkeys(word[start : start + 2] for start in range(len(word) - 1))
        elif len(word) > _SHORT_WORD or word.isdecimal():
            beginning = word[:_BEGINNING]
            found |= dict.fromkeys([beginning] if beginning.isascii() else [beginning, beginning.capitalize()])
    return list(found)


def _weight(having: int, rows: int) -> float:
    """The square of the rarity of a piece that so many of the rows have; 0 for one that all have."""
    return max(0.0, math.log((rows + 1) / (having + 0.5))) ** 2


def _folded(text: str, most: int) -> str:
    """The beginning of ``text`` without differences of case and width, at most ``most`` characters."""
    text = text[:most]
    if text.isascii():
        return text.casefold()
    return unicodedata.normalize("NFKC", text).casefold()[:most]  # one character can become eighteen


def _longest_compared(lengths: Sequence[int], most_chars: int) -> int:
    """How many characters of each text are compared, so that all together are at most ``most_chars``: short texts are
    compared in the whole, the longer ones share what these leave.
    """
    left = most_chars
    for place, length in enumerate(sorted(lengths)):
        share = left // (len(lengths) - place)
        if min(length, _TEXT_CHARS) > share:
            return share
        left -= min(length, _TEXT_CHARS)
    return _TEXT_CHARS


def _pieces_in(folded: str, pieces: frozenset[_Piece]) -> frozenset[_Piece]:
    """Which of ``pieces`` a text has: one pass for each of their widths, however many they are."""
    widths = {len(piece) for piece in pieces}
    runs = (zip(*(folded[start:] for start in range(width)), strict=False) for width in widths)
    return pieces.intersection(chain.from_iterable(runs))


def _pieces(folded: str) -> frozenset[_Piece]:
    """The different pieces of a text's words. A word too short for a piece is one itself where it is a number; other
    such words are mostly articles, and would be found inside any longer one.
    """
    pieces: set[_Piece] = set()
    for word in _WORD.findall(folded):
        width = 2 if word[0] > "\u3000" else 3
        if len(word) < width and (width == 2 or word.isdecimal()):
            pieces.add(tuple(word))
        pieces.update(tuple(word[start : start + width]) for start in range(len(word) - width + 1))
    return frozenset(pieces)
