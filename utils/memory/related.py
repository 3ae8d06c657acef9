"""What a text has to do with a memory: whether it can stand in its place, and whether it says the same again.

What has nothing to do with a memory must not replace it. Small models name the wrong one: "Toca violino" over "Trabalha
como enfermeiro em Natal". No fixed similarity tells: of two embedders one gives unrelated facts 0.1, the other 0.85. So
the similarity is compared with what the same embedder gives the new text and sentences that certainly have nothing to
do with it, in its own language. Texts that share words are never asked about.

Measured on multilingual-e5-small with ten facts in each of four languages: none of 40 true updates was taken for
unrelated, and 263 of 360 false ones were found. On all-MiniLM-L6-v2, which knows English only: none of 10 and 66 of 90
in English, 10 of 30 and 202 of 270 in the other languages. Pure.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Final

from utils.text import normalized

# Sentences that say nothing about anybody whose memories these may be; one row for each language of the plugin.
UNRELATED: Final = (
    ("The shop opens at nine", "Her brother studies physics", "He flew to Canada in winter",
     "They never watch television", "The kitchen was painted yellow", "Prefers short answers"),
    ("A loja abre às nove", "O irmão dela estuda física", "Viajou para o Canadá no inverno",
     "Nunca veem televisão", "A cozinha foi pintada de amarelo", "Prefere respostas curtas"),
    ("商店九点开门", "她的哥哥学物理", "冬天飞去了加拿大", "他们从不看电视", "厨房刷成了黄色", "更喜欢简短的回答"),
    ("店は9時に開く", "彼女の兄は物理を学んでいる", "冬にカナダへ飛んだ", "テレビは全く見ない",
     "台所を黄色に塗った", "短い答えを好む"),
)  # fmt: skip
_SHARED: Final = 0.2  # of the shorter text's trigrams; 13 of the 360 unrelated pairs have as many
# Above the mean similarity of what is unrelated: 0 finds a fifth less, 1 took a true update on e5 for unrelated.
_DEVIATIONS: Final = 0.5
_TRIGRAM: Final = 3


def shares_words(old: str, new: str) -> bool:
    """Whether two texts have so many trigrams in common that they are about one thing."""
    ours, theirs = _trigrams(old), _trigrams(new)
    return len(ours & theirs) >= _SHARED * min(len(ours), len(theirs))


def repeated(memories: Mapping[str, str], messages: Sequence[str]) -> set[str]:
    """The keys of those ``memories`` that ``messages`` say word for word: models leave these out of their answer."""
    said = "\n".join(map(normalized, messages))
    texts = {key: normalized(text) for key, text in memories.items()}
    return {key for key, text in texts.items() if text and re.search(rf"(?<!\w){re.escape(text)}(?!\w)", said)}


def is_unrelated(new: Sequence[float], old: Sequence[float], unrelated: Sequence[Sequence[Sequence[float]]]) -> bool:
    """Whether a new text is hardly more similar to an old one than to what is unrelated.

    Args:
        new: the new text's vector, of any length but 0.
        old: the old text's.
        unrelated: the vectors of :data:`UNRELATED`, a row for each language; the row most similar to the new text is
            taken for its language.
    """
    rows = [[cosine(new, vector) for vector in row] for row in unrelated]
    mean, similarities = max((sum(row) / len(row), row) for row in rows)
    deviation = math.sqrt(sum((each - mean) ** 2 for each in similarities) / len(similarities))
    return cosine(new, old) < mean + _DEVIATIONS * deviation


def _trigrams(text: str) -> set[str]:
    padded = f" {normalized(text)} "
    return {padded[start : start + _TRIGRAM] for start in range(len(padded) - _TRIGRAM + 1)}


def cosine(one: Sequence[float], other: Sequence[float]) -> float:
    """The cosine of two vectors of one length, -1..1; 0 where one of them is zero."""
    length = math.hypot(*one) * math.hypot(*other)
    return math.sumprod(one, other) / length if length else 0.0
