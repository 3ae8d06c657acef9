"""Which models get a prefix, and what reaches the service with one."""

from __future__ import annotations

from typing import Any

import pytest

from utils.models.embedder import Embedder
from utils.models.prefixes import Prefixes, prefixes_of


class Recorder:
    """Stands where mem0's embedder stands."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def embed(self, text: str, memory_action: str) -> list[float]:
        self.texts.append(text)
        return [1.0]

    def embed_batch(self, texts: list[str], memory_action: str) -> list[list[float]]:
        self.texts += texts
        return [[1.0]] * len(texts)


@pytest.mark.parametrize(
    ("model", "query", "passage"),
    [
        ("intfloat/multilingual-e5-small", "query: ", "passage: "),
        ("multilingual_e5_large", "query: ", "passage: "),
        ("e5-base-v2", "query: ", "passage: "),
        ("nomic-embed-text:latest", "search_query: ", "search_document: "),
        ("nomic-ai/nomic-embed-text-v1.5", "search_query: ", "search_document: "),
        ("BAAI/bge-base-en-v1.5", "Represent this sentence for searching relevant passages: ", ""),
        ("BAAI/bge-large-zh-v1.5", "为这个句子生成表示以用于检索相关文章：", ""),
        ("mxbai-embed-large", "Represent this sentence for searching relevant passages: ", ""),
        ("snowflake-arctic-embed2", "query: ", ""),
        ("Snowflake/snowflake-arctic-embed-l-v2.0", "query: ", ""),
        ("embeddinggemma", "task: search result | query: ", "title: none | text: "),
    ],
)
def test_known_models_get_theirs(model: str, query: str, passage: str) -> None:
    assert prefixes_of(model, None, None) == Prefixes(query, passage)


@pytest.mark.parametrize("model", ["intfloat/multilingual-e5-large-instruct", "Qwen3-Embedding-0.6B", "gte-Qwen2-7B"])
def test_instructed_models_get_an_instruction_before_queries_only(model: str) -> None:
    prefixes = prefixes_of(model, None, None)
    assert prefixes.query.startswith("Instruct: ") and prefixes.passage == ""


@pytest.mark.parametrize("model", ["text-embedding-3-small", "bge-m3", "all-MiniLM-L6-v2", "gte-large", "", None, 5])
def test_others_get_nothing(model: Any) -> None:
    assert prefixes_of(model, None, None) == Prefixes()


def test_the_block_has_the_last_word() -> None:
    assert prefixes_of("e5-small", "", None) == Prefixes("", "passage: ")
    assert prefixes_of("e5-small", None, "doc: ") == Prefixes("query: ", "doc: ")
    assert prefixes_of("unknown", "q: ", "p: ") == Prefixes("q: ", "p: ")


def test_queries_and_stored_texts_get_their_own() -> None:
    recorder = Recorder()
    embedder = Embedder(recorder, "openai", 1.0, None, Prefixes("query: ", "passage: "))
    embedder.embed(" tea ")
    embedder.embed_batch(["tea", "chess"])
    assert recorder.texts == ["query: tea", "passage: tea", "passage: chess"]
