"""Conversations with questions about them, to measure what a search finds: our own in ``data/recall``, or LoCoMo's.

The set was written before any ranking was tried, in four languages: twenty people with twenty memories each, and two
hundred questions, half of which have no word in common with what answers them. LoCoMo (snap-research/locomo, CC BY-NC
4.0) is read from wherever the caller has it, and is never part of the project.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

OWN_SET: Final = Path(__file__).parent / "data" / "recall"
LANGUAGES: Final = ("en", "pt", "zh", "ja")
_LOCOMO_CATEGORIES: Final = {1: "multi-hop", 2: "temporal", 3: "open-domain", 4: "single-hop"}  # as in the data


@dataclass(frozen=True, slots=True)
class Question:
    """One question.

    Attributes:
        text: the question.
        answered_by: the ids of the memories that answer it; at least one.
        groups: what it counts for beside all questions.
    """

    text: str
    answered_by: tuple[str, ...]
    groups: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Dialogue:
    """What is remembered of one person.

    Attributes:
        user_id: whose memories they are.
        memories: texts by id.
        questions: about them.
    """

    user_id: str
    memories: Mapping[str, str]
    questions: tuple[Question, ...]


def own_set() -> list[Dialogue]:
    """The set that comes with the benchmarks; groups are the language, the half, and whether words are shared."""
    return [
        Dialogue(person["person"], person["memories"], tuple(_question(language, person, one) for one in asked))
        for language in LANGUAGES
        for person in yaml.safe_load((OWN_SET / f"{language}.yaml").read_text())
        for asked in (person["questions"],)
    ]


def _question(language: str, person: Mapping[str, Any], asked: Mapping[str, Any]) -> Question:
    words = "a word in common" if asked["words"] == "shared" else "no word in common"
    return Question(asked["q"], tuple(asked["answer"]), (language, person["half"].replace("_", " "), words))


def locomo(file: Path) -> list[Dialogue]:
    """A LoCoMo file: ``[{name, turns: [{id, text}], questions: [{q, category, evidence}]}]``; a turn is a memory.

    Args:
        file: where it is.
    """
    return [
        Dialogue(
            f"locomo-{dialogue['name']}",
            {turn["id"]: turn["text"] for turn in dialogue["turns"]},
            tuple(
                Question(asked["q"], tuple(asked["evidence"]), (_LOCOMO_CATEGORIES[asked["category"]],))
                for asked in dialogue["questions"]
                if asked["evidence"]
            ),
        )
        for dialogue in json.loads(file.read_text())
    ]
