"""Text as the memory flow needs it: cleaned for storage, cut into windows and to length, compared for sameness.

Pure functions, for any language: sentence ends and punctuation are those of Latin, CJK, Devanagari and Arabic
scripts. Nothing here ever raises for a ``str``, whatever code points it holds.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

# Where a window may end, best first: after a blank line, a line, a sentence, a word. A Latin full stop ends a
# sentence only before a blank (3.14, example.com), a CJK one always. The quantifiers are possessive and a run of full
# stops is tried from its beginning alone: otherwise "....." takes quadratic time, 11 s for 200,000 of them.
_BREAKS: Final = (
    re.compile(r"\n[^\S\n]*+\n\s*+"),
    re.compile(r"\n\s*+"),
    re.compile(r"[。！？｡…]++[」』”’）】]*+|(?<![.!?।؟۔])[.!?।؟۔]++[\"')\]]*+(?=\s)"),
    re.compile(r"[\s、，；]++"),
)
_FINAL_PUNCTUATION: Final = " .!?。、,;:…·।؟۔،؛"
_MAX_MARKS: Final = 30
# Scripts written without blanks between words; a blank beside one of them carries no meaning.
_UNSPACED: Final = "\u2e80-\u303f\u3041-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_FREE_BLANK: Final = re.compile(rf"(?<=[{_UNSPACED}]) | (?=[{_UNSPACED}])")


def clean(text: str) -> str:
    """``text`` without NUL, lone surrogates and outer blanks: what every store and every HTTP body can hold.

    Two surrogates that form a pair (a model's ``\\ud83d\\ude00``, read one by one) become the character they stand
    for.
    """
    if not text.isascii():
        text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "ignore")
    return text.replace("\0", "").strip()


def normalized(text: str) -> str:
    """``text`` without blanks that mean nothing, case, letter width and final punctuation: equal for texts that say the
    same.
    """
    bounded = text if text.isascii() else _with_few_marks(text)
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", bounded).casefold())
    spaced = " ".join(folded.split())
    return _FREE_BLANK.sub("", spaced).rstrip(_FINAL_PUNCTUATION)


def _with_few_marks(text: str) -> str:
    """``text`` with at most 30 combining marks in a row, which no language exceeds (UAX 15, Stream-Safe Text Format).

    Python puts the marks on a letter in order by insertion: 200,000 in a row take it half a minute (measured).
    """
    kept: list[str] = []
    marks = 0
    for character in text:
        marks = marks + 1 if unicodedata.combining(character) else 0
        if marks <= _MAX_MARKS:
            kept.append(character)
    return "".join(kept)


def cost(text: str) -> int:
    """What a text costs a model: an ASCII character 1, any other 4.

    The weights follow tokenisers: about four ASCII characters make a token, while a CJK character is one or more of
    its own.
    """
    return len(text) if text.isascii() else sum(1 if character.isascii() else 4 for character in text)


def capped(text: str, most: int) -> str:
    """The beginning of ``text`` whose :func:`cost` is at most ``most``."""
    if 4 * len(text) <= most:
        return text
    spent = 0
    for position, character in enumerate(text):
        spent += 1 if character.isascii() else 4
        if spent > most:
            return text[:position]
    return text


def windows(text: str, size_chars: int = 2000, most: int = 12) -> list[str]:
    """``text`` in pieces to search candidates with, each embedded on its own so that a detail is not averaged away.

    Args:
        text: any text; a blank one has no windows.
        size_chars: the longest window, in characters (at least 1). Windows end at a paragraph, line, sentence or
            word end where their second half has one.
        most: how many windows at most (at least 1). Of a longer text windows are taken at even distances, the first
            and the last always, since the rest of the flow only needs to find what the text may concern.

    Returns:
        Windows in the order of the text, none of them blank.
    """
    pieces: list[str] = []
    start = 0
    while start < len(text):
        end = _window_end(text, start, size_chars)
        pieces.append(text[start:end].strip())
        start = end
    return _evenly([piece for piece in pieces if piece], most)


def halved(text: str) -> tuple[str, str]:
    """``text`` cut in about its middle, at a paragraph, line, sentence or word end where there is one before that."""
    end = _window_end(text, 0, max((len(text) + 1) // 2, 1))
    return text[:end], text[end:]


def _window_end(text: str, start: int, size_chars: int) -> int:
    limit = start + size_chars
    if limit >= len(text):
        return len(text)
    earliest = start + (size_chars + 1) // 2
    for pattern in _BREAKS:
        # One character past the limit is shown to the pattern, so that a full stop at the limit sees the blank
        # behind it.
        ends = [match.end() for match in pattern.finditer(text, start, limit + 1) if earliest <= match.end() <= limit]
        if ends:
            return ends[-1]
    return limit


def _evenly[T](items: list[T], most: int) -> list[T]:
    if len(items) <= most:
        return items
    if most == 1:
        return items[:1]
    return [items[index * (len(items) - 1) // (most - 1)] for index in range(most)]
