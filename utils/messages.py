"""The sentences people read, in four languages, loaded once from ``i18n/<language>.yaml``.

Each catalogue is a flat mapping of key to sentence with ``str.format`` placeholders. A contract test holds the four
catalogues to the same keys and placeholders, so rendering cannot fail for a key the code uses.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Final

import yaml

LANGUAGES: Final = ("en_US", "zh_Hans", "ja_JP", "pt_BR")
DEFAULT_LANGUAGE: Final = "en_US"
_CATALOGUES: Final = Path(__file__).resolve().parent.parent / "i18n"


@cache
def catalogue(language: str) -> dict[str, str]:
    """All sentences of one language, by key; read from disk at first use."""
    sentences: dict[str, str] = yaml.safe_load((_CATALOGUES / f"{language}.yaml").read_text(encoding="utf-8"))
    return sentences


def render(key: str, language: str, /, **params: object) -> str:
    """The sentence ``key`` in ``language`` (an unknown one falls back to English), with its placeholders filled."""
    known = language if language in LANGUAGES else DEFAULT_LANGUAGE
    return catalogue(known)[key].format(**params)
