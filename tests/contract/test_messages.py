"""The catalogues of ``i18n/`` fit each other and the code: same keys and placeholders, nothing missing or left over."""

from __future__ import annotations

import ast
import re
import string
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from utils import errors, messages

ROOT: Final = Path(__file__).resolve().parents[2]
OTHERS: Final = [language for language in messages.LANGUAGES if language != messages.DEFAULT_LANGUAGE]
ENGLISH: Final = messages.catalogue(messages.DEFAULT_LANGUAGE)


def _sources() -> list[Path]:
    """The plugin's own Python files."""
    folders = ("utils", "tools", "provider")
    return [*ROOT.glob("*.py"), *(path for folder in folders for path in sorted((ROOT / folder).rglob("*.py")))]


@cache
def _trees() -> dict[str, ast.Module]:
    """The syntax trees of those files, by path."""
    return {path.relative_to(ROOT).as_posix(): ast.parse(path.read_text(encoding="utf-8")) for path in _sources()}


# The parts an error names, and the field of the credentials form that each is called like.
PART_NAMES: Final = {
    "part_llm": "local_llm_json_secret",
    "part_embedder": "local_embedder_json_secret",
    "part_vector_store": "local_vector_db_json_secret",
    "part_graph_store": "local_graph_db_json_secret",
    "part_reranker": "local_reranker_json_secret",
    "part_state_store": "state_db_url",
}
# A part that no credential names: a tool's parameters do.
OTHER_PARTS: Final = {"part_dify_api"}
KEY: Final = re.compile(r"[a-z]+(_[a-z0-9]+)+")


def _placeholders(sentence: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(sentence) if name is not None}


def _error_classes() -> set[str]:
    """Names of the classes that carry a sentence: ``PluginError`` and whatever derives from it, wherever it stands."""
    bases = {
        node.name: {base.id if isinstance(base, ast.Name) else getattr(base, "attr", "") for base in node.bases}
        for tree in _trees().values()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
    }
    known = {"PluginError"}
    while found := {name for name, parents in bases.items() if parents & known} - known:
        known |= found
    return known


def _uses() -> Iterator[tuple[str, str, set[str | None]]]:
    """Every place that names a sentence by a literal: where, which key, and the parameters it gives.

    Sentences are named by errors, by ``messages.render`` and by the helpers that stand for them: ``Where.error``, which
    adds the parameter ``where``, and ``warn`` of the settings.
    """
    carriers = _error_classes() | {"render", "error", "warn"}
    for path, tree in _trees().items():
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call) or not node.args or not isinstance(node.args[0], ast.Constant):
                continue
            name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
            key = node.args[0].value
            if name in carriers and isinstance(key, str) and KEY.fullmatch(key):  # `_log.error("…")` has blanks
                given = {keyword.arg for keyword in node.keywords} | ({"where"} if name == "error" else set())
                yield f"{path}:{node.lineno}", key, given


def test_catalogues_hold_no_key_twice() -> None:
    for language in messages.LANGUAGES:
        document = yaml.compose((ROOT / "i18n" / f"{language}.yaml").read_text(encoding="utf-8"))
        assert isinstance(document, yaml.MappingNode)
        counts = Counter(key.value for key, _ in document.value)
        assert [key for key, count in counts.items() if count > 1] == [], language


@pytest.mark.parametrize("language", OTHERS)
def test_catalogue_has_the_english_keys(language: str) -> None:
    assert set(messages.catalogue(language)) == set(ENGLISH)


@pytest.mark.parametrize("language", OTHERS)
def test_catalogue_has_the_english_placeholders(language: str) -> None:
    for key, sentence in messages.catalogue(language).items():
        assert _placeholders(sentence) == _placeholders(ENGLISH[key]), key


@pytest.mark.parametrize("language", OTHERS)
def test_every_sentence_is_translated(language: str) -> None:
    sentences = {key: text for key, text in messages.catalogue(language).items() if key not in PART_NAMES}
    same = [key for key, sentence in sentences.items() if sentence == ENGLISH[key]]
    assert same == []


@pytest.mark.parametrize("language", messages.LANGUAGES)
def test_every_sentence_can_be_rendered(language: str) -> None:
    for key, sentence in messages.catalogue(language).items():
        filling: dict[str, Any] = {name: f"<{name}>" for name in _placeholders(sentence)}
        shown = messages.render(key, language, **filling)
        assert shown.strip(), key
        assert all(value in shown for value in filling.values()), key


# What may stand in a sentence about a credential, at its longest.
_LONGEST: Final = {
    "where": "local_embedder_json_secret: config.azure_kwargs.azure_endpoint",
    "provider": "vertex_ai_vector_search",
    "known": "x" * 100,
    "nearest": "embedding_model_dims, embedding_dims, model_dims",
    "example": '{"provider": "...", "config": {...}}',
    "keys": "host, port, url, api_key, path",
    "box": "local_embedder_json_secret, local_llm_json_secret",
    "other": "local_vector_db_json_secret: config.embedding_model_dims",
    "reason": "AuthenticationError, HTTP 401, invalid_api_key",
    "host": "h" * 40,
    "address": f"{'h' * 40}:5432",
    "user": "u" * 20,
    "database": "d" * 20,
    "collection": "c" * 30,
}
_ABOUT_CREDENTIALS: Final = ("credentials_", "check_", "store_", "model_", "state_")


@pytest.mark.parametrize("language", messages.LANGUAGES)
def test_no_sentence_about_a_credential_is_longer_than_a_toast(language: str) -> None:
    long = {}
    for key, sentence in messages.catalogue(language).items():
        if key.startswith(_ABOUT_CREDENTIALS):
            filling: dict[str, Any] = {name: _LONGEST.get(name, "12345") for name in _placeholders(sentence)}
            if len(shown := messages.render(key, language, **filling)) > 300:
                long[key] = (len(shown), shown)
    assert long == {}


def test_every_sentence_the_code_names_exists() -> None:
    missing = [f"{place}: {key}" for place, key, _ in _uses() if key not in ENGLISH]
    assert missing == []


def test_every_result_the_code_names_has_a_sentence() -> None:
    assert {literal for literal in _literals() if re.fullmatch(r"(result|reason)_\w+", literal)} - set(ENGLISH) == set()


def test_every_sentence_gets_what_its_placeholders_need() -> None:
    starved = []
    for place, key, given in _uses():
        lacking = _placeholders(ENGLISH.get(key, "")) - given
        if lacking and None not in given:  # `**params` may hold anything
            starved.append(f"{place}: {key} lacks {sorted(lacking)}")
    assert starved == []


def test_every_sentence_is_used() -> None:
    assert sorted(set(ENGLISH) - _literals() - PART_NAMES.keys() - OTHER_PARTS) == []


def _literals() -> set[str]:
    """Every text that stands in the code."""
    nodes = (node for tree in _trees().values() for node in ast.walk(tree))
    return {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}


def test_an_unknown_language_is_answered_in_english() -> None:
    assert messages.render("result_get", "xx_XX") == ENGLISH["result_get"]


def test_parts_are_called_as_the_credentials_form_calls_them() -> None:
    form = yaml.safe_load((ROOT / "provider/mem0ai.yaml").read_text(encoding="utf-8"))["credentials_for_provider"]
    for key, field in PART_NAMES.items():
        for language in messages.LANGUAGES:
            name = messages.catalogue(language)[key]
            assert name.casefold() in form[field]["label"][language].casefold(), (key, language)


@pytest.mark.parametrize("language", messages.LANGUAGES)
def test_a_stored_reason_is_said_in_the_language_of_whoever_asks(language: str) -> None:
    reason = messages.Sentence("reason_vector_count", {"found": "5", "expected": "6"})
    error = errors.ServiceUnavailable("service_unavailable", part="embedder", reason=reason)
    shown = errors.stored_sentence(error.to_json(), language)
    assert shown == error.sentence(language)
    assert messages.render("part_embedder", language) in shown
    assert messages.render("reason_vector_count", language, found="5", expected="6") in shown
    told = errors.PluginError("error_write_failed", write_id="w", reason=messages.from_json(error.to_json()))
    assert shown in told.sentence(language)


@pytest.mark.parametrize("stored", ["The llm failed.", '{"key": "no_such", "params": {}}', "[", "5", '{"a": 1}', ""])
def test_what_an_earlier_version_stored_stays_as_it_is(stored: str) -> None:
    assert errors.stored_sentence(stored, "ja_JP") == stored


def test_a_sentence_of_another_version_stays_readable() -> None:
    stored = '{"key": "error_timeout", "params": {"hours": 5}}'
    assert errors.stored_sentence(stored, "en_US") == stored
