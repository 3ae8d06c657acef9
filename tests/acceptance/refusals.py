"""How credentials are refused, as Dify's console shows it: one sentence, in the language of the form."""

from __future__ import annotations

import re
from typing import Any

from playground.credentials import Endpoint, credential_set, pgvector_block
from playground.dify_host import PluginProcess
from playground.postgres import Database
from tests.plugin import TRIES
from utils import messages

LONGEST = 300  # characters of a sentence in Dify's toast
EASTERN = re.compile(r"[\u3000-\u30ff\u3400-\u9fff\uff00-\uffef]")
# Small words that stand in no name or setting: they show that a sentence, or a part of one, is in this language.
WORDS = {
    "en_US": frozenset(re.findall(r"\w+", "the is of and to must with was not check this its has be an belongs needs")),
    "pt_BR": frozenset(re.findall(r"\w+", "de do da que em para um uma é ou não deve confira aqui disso")),
}
STORE, STATE = "local_vector_db_json_secret", "state_db_url"
GRAPH = "local_graph_db_json_secret"
LLM, EMBEDDER, RERANKER = "local_llm_json_secret", "local_embedder_json_secret", "local_reranker_json_secret"


def refusal_in_every_language(process: PluginProcess, credentials: dict[str, Any]) -> str:
    """The sentence in English; those in the other languages are looked at, too."""
    said = {language: refusal(process, {**credentials, "language": language}) for language in messages.LANGUAGES}
    assert len(set(said.values())) == len(said)
    for language, sentence in said.items():
        assert len(sentence) <= LONGEST, sentence
        assert _languages_in(sentence) == {language}, sentence
    return said["en_US"]


def refusal(process: PluginProcess, credentials: dict[str, Any]) -> str:
    """The sentence. A part that is late, as the machine is busy, is let pass with a warning: then it is asked anew."""
    for _ in range(TRIES):
        said_before = len(process.logs)
        answer = process.validate(credentials)
        if not any("let pass" in line.message for line in list(process.logs)[said_before:]):
            break
    assert answer.error_type == "CredentialsValidateFailedError", (answer.error_type, answer.error)
    assert answer.error is not None
    assert "canary" not in process.raw_lines[-2] and "During handling" not in process.raw_lines[-2]
    return answer.error


def _languages_in(sentence: str) -> set[str]:
    words = {word for word in re.findall(r"\w+", sentence.lower()) if word.isalpha()}  # not the "be" of test_be12
    found = {language for language, telling in WORDS.items() if words & telling}
    if EASTERN.search(sentence):
        found.add("ja_JP" if re.search(r"[\u3040-\u30ff]", sentence) else "zh_Hans")
    return found


def with_store(endpoint: Endpoint, database: Database, **config: Any) -> dict[str, Any]:
    return credential_set(endpoint, pgvector_block(database, **config))


def dead(port: int) -> dict[str, Any]:
    config = {"model": "m", "api_key": "canary", "openai_base_url": f"http://127.0.0.1:{port}/v1"}
    return {"provider": "openai", "config": config}
