"""The sentences people read, in four languages, loaded once from ``i18n/<language>.yaml``.

Each catalogue is a flat mapping of key to sentence with ``str.format`` placeholders, beside the section ``interface``:
what Dify's forms show, which ``make translations`` writes into the yaml files and nothing here reads. A contract test
holds the four catalogues to the same keys and placeholders, so rendering cannot fail for a key the code uses.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import yaml

LANGUAGES: Final = ("en_US", "zh_Hans", "ja_JP", "pt_BR")
DEFAULT_LANGUAGE: Final = "en_US"
_LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the one in C, where the wheel has it: ten times faster
_CATALOGUES: Final = Path(__file__).resolve().parent.parent / "i18n"


@cache
def catalogue(language: str) -> dict[str, str]:
    """All sentences of one language, by key; read from disk at first use."""
    read = yaml.load((_CATALOGUES / f"{language}.yaml").read_text(encoding="utf-8"), Loader=_LOADER)  # noqa: S506 both are safe
    return {key: sentence for key, sentence in read.items() if key != "interface"}


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence that is not in a language yet: a reason kept for later, or a part of another sentence.

    Attributes:
        key: its name in the catalogues.
        params: what its placeholders stand for: plain values, or sentences again.
    """

    key: str
    params: Mapping[str, object]

    def __str__(self) -> str:
        return render(self.key, DEFAULT_LANGUAGE, **self.params)

    def to_json(self) -> str:
        """The sentence as the state store keeps it; :func:`from_json` reads it."""
        return json.dumps(_plain(self), ensure_ascii=False)


def from_json(stored: str) -> Sentence | str:
    """The inverse of :meth:`Sentence.to_json`. What an earlier version stored as plain text stays that text."""
    try:
        read = json.loads(stored)
    except (ValueError, RecursionError):
        return stored
    found = _read(read)
    return found if isinstance(found, Sentence) else stored


def render(key: str, language: str, /, **params: object) -> str:
    """The sentence ``key`` in ``language`` (an unknown one falls back to English), with its placeholders filled.

    A parameter that is a :class:`Sentence` is said in the same language. The parameter ``part`` is named as the
    credentials form names it.
    """
    known = language if language in LANGUAGES else DEFAULT_LANGUAGE
    sentences = catalogue(known)
    shown = {
        name: render(one.key, known, **one.params) if isinstance(one, Sentence) else one for name, one in params.items()
    }
    if "part" in shown:
        shown["part"] = sentences.get(f"part_{shown['part']}", shown["part"])
    return sentences[key].format(**shown)


def said(text: str | Sentence, language: str) -> str:
    """A sentence in ``language``; a plain text as it is."""
    return render(text.key, language, **text.params) if isinstance(text, Sentence) else text


def _plain(value: object) -> object:
    if isinstance(value, Sentence):
        return {"key": value.key, "params": {name: _plain(param) for name, param in value.params.items()}}
    return value if value is None or isinstance(value, str | int | float) else str(value)


def _read(plain: Any) -> Any:
    """``plain`` with sentences where :func:`_plain` had them; one whose key or placeholders are unknown here stays."""
    if not isinstance(plain, dict) or plain.keys() != {"key", "params"} or not isinstance(plain["params"], dict):
        return plain
    sentence = Sentence(plain["key"], {name: _read(param) for name, param in plain["params"].items()})
    try:
        str(sentence)
    except (KeyError, TypeError, IndexError, ValueError):
        return str(plain)
    return sentence
