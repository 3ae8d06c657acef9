"""What Dify's forms show stands in one catalogue per language, is translated, and is what the yaml files hold."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest

from scripts import translations
from utils import messages
from utils.messages import DEFAULT_LANGUAGE, LANGUAGES

CATALOGUES: Final = translations.catalogues()
ENGLISH: Final = CATALOGUES[DEFAULT_LANGUAGE]
OTHERS: Final = [language for language in LANGUAGES if language != DEFAULT_LANGUAGE]
# Beside translations.SAME_IN_ALL_LANGUAGES: words that Portuguese has taken from English.
ALIKE: Final = {
    ("pt_BR", "provider.credentials_for_provider.local_llm_json_secret.label"): "LLM (JSON)",
    ("pt_BR", "provider.credentials_for_provider.local_reranker_json_secret.label"): "Reranker (JSON)",
    ("pt_BR", "tools.search_memory.parameters.top_k.label"): "Top K",
}
# Han, kana: what a Chinese or Japanese text is written in.
CHINESE_OR_JAPANESE: Final = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]")
NOT_WRITTEN_IN_THEM: Final = {
    "provider.credentials_for_provider.local_llm_json_secret.label",
}


def _names(path: Path) -> set[str]:
    source = path.read_text(encoding="utf-8")
    return {place.name for place in translations.places(source, translations.root_name(path))}


@pytest.mark.parametrize("path", translations.files(), ids=lambda path: path.stem)
def test_the_file_holds_the_texts_of_the_catalogues(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    wanted = translations.with_texts(source, translations.root_name(path), CATALOGUES)
    assert source == wanted, "run `make translations`"


@pytest.mark.parametrize("language", OTHERS)
def test_every_text_is_in_every_catalogue(language: str) -> None:
    wanted = {name for name in ENGLISH if not translations.same_in_all_languages(name)}
    assert set(CATALOGUES[language]) == wanted


def test_every_text_of_the_catalogues_is_shown() -> None:
    shown = set().union(*(_names(path) for path in translations.files()))
    own = {name for name in ENGLISH if not name.startswith("every_tool.")}
    assert own - shown == set()
    shared = {re.sub(r"^tools\.\w+", "every_tool", name) for name in shown - own}
    assert set(ENGLISH) - own == shared


@pytest.mark.parametrize("language", OTHERS)
def test_no_text_is_left_in_english(language: str) -> None:
    alike = {name: said for name, said in CATALOGUES[language].items() if said == ENGLISH[name]}
    assert alike == {name: said for (where, name), said in ALIKE.items() if where == language}


@pytest.mark.parametrize("language", ["zh_Hans", "ja_JP"])
def test_every_text_is_written_in_its_own_script(language: str) -> None:
    latin = {name for name, said in CATALOGUES[language].items() if not CHINESE_OR_JAPANESE.search(said)}
    assert latin == NOT_WRITTEN_IN_THEM


def test_a_tool_has_a_text_of_its_own_only_where_it_differs() -> None:
    for name, said in ENGLISH.items():
        shared = re.sub(r"^tools\.\w+", "every_tool", name)
        if shared != name and ENGLISH.get(shared) == said:
            assert any(CATALOGUES[one][name] != CATALOGUES[one][shared] for one in OTHERS), name


# Beside the word that is used: others for the same thing, which would puzzle whoever meets both.
OTHER_WORDS: Final = {
    "zh_Hans": r"检索|代理 ?ID|令牌|Token",
    "ja_JP": r"長期記憶|エージェントID|記憶は|記憶を|記憶の",
    "pt_BR": r"\bescritas?\b|\bpesquis|pontos? de controle|\bapps?\b|\bdeletar",
}


@pytest.mark.parametrize("language", OTHER_WORDS)
def test_one_thing_has_one_word(language: str) -> None:
    said = {**CATALOGUES[language], **messages.catalogue(language)}
    found = {name: words for name, words in said.items() if re.search(OTHER_WORDS[language], words)}
    assert found == {}


def test_all_but_the_texts_stays_as_it_was_written() -> None:
    source = """# A comment.
identity:
  name: search_memory   # another
  label:
    en_US: Old
    zh_Hans: >-
      Old,
      folded
    ja_JP: Old
    pt_BR: "Old"

  description: {}
parameters:
  - {name: query, required: true}
"""
    known = {
        language: {"tools.search_memory.identity.label": f"Say: {language}", "every_tool.identity.description": "New"}
        for language in LANGUAGES
    }
    assert (
        translations.with_texts(source, "tools.search_memory", known)
        == """# A comment.
identity:
  name: search_memory   # another
  label:
    en_US: 'Say: en_US'
    zh_Hans: 'Say: zh_Hans'
    ja_JP: 'Say: ja_JP'
    pt_BR: 'Say: pt_BR'

  description:
    en_US: New
    zh_Hans: New
    ja_JP: New
    pt_BR: New
parameters:
  - {name: query, required: true}
"""
    )


def test_a_text_that_a_catalogue_lacks_is_named() -> None:
    with pytest.raises(KeyError, match=r"i18n/en_US\.yaml has no interface text manifest\.label"):
        translations.with_texts("label: {}", "manifest", {language: {} for language in LANGUAGES})
