"""What an embedding model wants before a text: many were trained with one word before queries and another before
passages, and find much less without them.

The table holds what the models' own cards say, by the name people give them at OpenAI-compatible services and Ollama. A
model that is not in it gets nothing, and a block that sets ``query_prefix`` or ``passage_prefix`` has the last word.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Prefixes:
    """What stands before a text that is embedded.

    Attributes:
        query: before a text to search with.
        passage: before a text that is stored, or compared with stored ones as one of their kind.
    """

    query: str = ""
    passage: str = ""


_SENTENCE: Final = Prefixes("Represent this sentence for searching relevant passages: ")
_INSTRUCT: Final = Prefixes(
    "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery: "
)
# The first that occurs in the model's name (lower case, "_" as "-") counts.
_KNOWN: Final = tuple(
    (re.compile(name), prefixes)
    for name, prefixes in (
        (r"\be5-(mistral|large-instruct)|\be5-.*instruct", _INSTRUCT),
        (r"\be5-(small|base|large)", Prefixes("query: ", "passage: ")),
        (r"\bbge-(small|base|large)-en", _SENTENCE),
        (r"\bbge-(small|base|large)-zh", Prefixes("为这个句子生成表示以用于检索相关文章：")),
        (r"\bbge-large\b", _SENTENCE),  # Ollama's name of bge-large-en-v1.5
        (r"\bnomic-embed-text", Prefixes("search_query: ", "search_document: ")),
        (r"\bgte-qwen|\bqwen3-embedding", _INSTRUCT),
        (r"\bmxbai-embed-large", _SENTENCE),
        (r"\barctic-embed-?(2|.*-v2)", Prefixes("query: ")),
        (r"\barctic-embed", _SENTENCE),
        (r"\bembedding-?gemma", Prefixes("task: search result | query: ", "title: none | text: ")),
    )
)


def prefixes_of(model: object, query_prefix: str | None, passage_prefix: str | None) -> Prefixes:
    """The prefixes for a model.

    Args:
        model: its name as configured; anything but a text is no known model.
        query_prefix: as the block sets it; None where it does not.
        passage_prefix: likewise.
    """
    name = model.lower().replace("_", "-") if isinstance(model, str) else ""
    known = next((prefixes for pattern, prefixes in _KNOWN if pattern.search(name)), Prefixes())
    return Prefixes(
        known.query if query_prefix is None else query_prefix,
        known.passage if passage_prefix is None else passage_prefix,
    )
