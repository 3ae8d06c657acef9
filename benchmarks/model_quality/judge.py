"""What one pair's outcome is worth, judged by keywords and letters alone: no model judges a model here."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from benchmarks.model_quality.pairs import Pair

# Facts of the examples our prompt has had, and whatever looks like a placeholder of one.
_EXAMPLES: Final = re.compile(
    r"<[^<>\n]*>|peanut|lisbo[na]|\bporto\b|amendoim|花生|ピーナッツ|里斯本|リスボン", re.IGNORECASE
)
_ROLE: Final = re.compile(
    r"\s*(user|assistant|ai|usuário|assistente|用户|助手|ユーザー|アシスタント)\s*[:：]", re.IGNORECASE
)
_HAN: Final = re.compile(r"[\u4e00-\u9fff]")
_KANA: Final = re.compile(r"[\u3041-\u30ff]")
# Small words that tell one language from the other.
_ENGLISH_WORDS: Final = """
the a an is are was has have had in of to from for with and lives works user user's moved adopted likes plays named my i
takes learning started
"""
_PORTUGUESE_WORDS: Final = """
o a os as um uma é são foi tem em de do da dos das no na para por com e que se meu minha mora trabalha usuário sou toca
gosta mudou adotou chamado começou toma
"""
_ENGLISH: Final = frozenset(_ENGLISH_WORDS.split())
_PORTUGUESE: Final = frozenset(_PORTUGUESE_WORDS.split())


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one pair.

    Attributes:
        status: of the add.
        answers: the model's, each with ``text`` and why it ended (``finish``).
        events: ``results`` of the add.
        memories: texts of the user's memories afterwards.
        elapsed_s: how long the add took.
    """

    pair: Pair
    status: str
    answers: Sequence[Mapping[str, str]]
    events: Sequence[Mapping[str, str]]
    memories: Sequence[str]
    elapsed_s: float

    def to_json(self) -> dict[str, Any]:
        """The outcome, for a person to look at."""
        return {**asdict(self), "marks": asdict(mark(self))}


@dataclass(slots=True)
class Marks:
    """Counts of one outcome, or of many together (:meth:`add`)."""

    adds: int = 0
    failed: int = 0
    answers: int = 0
    valid_answers: int = 0
    new_texts: int = 0
    in_the_users_language: int = 0
    example_facts: int = 0
    assistant_verbatim: int = 0
    wrong_stored: int = 0
    facts: int = 0
    true_facts_stored: int = 0
    to_forget: int = 0
    forgotten: int = 0
    to_keep: int = 0
    lost: int = 0
    small_talk_stored: int = 0
    seconds: list[float] = field(default_factory=list)

    def add(self, other: Marks) -> None:
        """Count ``other``'s, too."""
        for name in self.__slots__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


def mark(outcome: Outcome) -> Marks:
    """Judge one outcome."""
    pair, texts = outcome.pair, outcome.memories
    new = [event["memory"] for event in outcome.events if event["event"] in {"ADD", "UPDATE"}]
    return Marks(
        adds=1,
        failed=int(outcome.status != "SUCCESS"),
        answers=len(outcome.answers),
        valid_answers=sum(_is_valid(answer) for answer in outcome.answers),
        new_texts=len(new),
        in_the_users_language=sum(_is_in(pair.language, text) for text in new),
        example_facts=sum(_EXAMPLES.search(text) is not None for text in new),
        assistant_verbatim=sum(_is_the_assistants(text, pair) for text in new),
        wrong_stored=sum(_holds(keywords, new) for keywords in pair.wrong),
        facts=len(pair.facts),
        true_facts_stored=sum(_holds(keywords, texts) for keywords in pair.facts),
        to_forget=int(bool(pair.forgotten)),
        forgotten=int(bool(pair.forgotten) and not _holds(pair.forgotten, texts)),
        to_keep=len(pair.kept),
        lost=sum(not _holds(keywords, texts) for keywords in pair.kept),
        small_talk_stored=len(new) if pair.kind in {"small talk", "general question"} else 0,
        seconds=[outcome.elapsed_s],
    )


def _is_valid(answer: Mapping[str, str]) -> bool:
    """Whether an answer is one JSON object of the shape asked for, and whole."""
    try:
        entries = json.loads(answer["text"])["memory"]
    except (ValueError, KeyError, TypeError):
        return False
    return answer["finish"] == "stop" and isinstance(entries, list) and all(map(_is_entry, entries))


def _is_entry(entry: Any) -> bool:
    if not isinstance(entry, dict):
        return False
    needs = {"ADD": {"text"}, "UPDATE": {"id", "text"}, "DELETE": {"id"}, "NONE": set()}.get(entry.get("event"))
    return needs is not None and needs <= entry.keys()


def _holds(keywords: str, texts: Iterable[str]) -> bool:
    """Whether one text holds all of ``keywords`` (``+`` between them; ``a|b`` is either), case aside."""
    wanted = [part.split("|") for part in keywords.casefold().split("+")]
    return any(all(any(word in text.casefold() for word in either) for either in wanted) for text in texts)


def _is_the_assistants(text: str, pair: Pair) -> bool:
    said = _letters(text)
    return _ROLE.match(text) is not None or (
        bool(said) and said in _letters(pair.assistant) and said not in _letters(pair.user)
    )


def _letters(text: str) -> str:
    return "".join(filter(str.isalnum, text.casefold()))


def _is_in(language: str, text: str) -> bool:
    """Whether ``text`` is in ``language``; a text without a word that tells (a name, say) counts as if it were."""
    if language in {"zh", "ja"}:
        # Kanji alone may be either: 東京在住.
        return (
            bool(_HAN.search(text)) and not _KANA.search(text)
            if language == "zh"
            else bool(_KANA.search(text) or _HAN.search(text))
        )
    words = re.findall(r"[^\W\d_]+(?:'s)?", text.casefold())
    english, portuguese = sum(word in _ENGLISH for word in words), sum(word in _PORTUGUESE for word in words)
    if _HAN.search(text) or _KANA.search(text):
        return False
    return english >= portuguese if language == "en" else portuguese >= english
