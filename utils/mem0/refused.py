"""Providers of mem0 that are refused, whatever is installed, and why: each has a sentence in the catalogues.

They lose memories, or show them to others, in ways that nothing around mem0's class of them can make up for (read in
mem0 2.2.1), or need what a form cannot hold. To be refused when the credentials are saved is better than to find out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

# kind -> provider -> its sentence
REFUSED: Final[Mapping[str, Mapping[str, str]]] = {
    "llm": {"langchain": "credentials_provider_unusable"},  # wants a live Python object, which no JSON can hold
    "embedder": {"langchain": "credentials_provider_unusable"},
    "vector_store": {
        "langchain": "credentials_provider_unusable",
        # Answers "no rows" to an outage; listings are cut off before the owner is looked at, so a deletion of all of a
        # user's memories leaves some; its driver's C reactor knows nothing of gevent.
        "cassandra": "credentials_refused_cassandra",
        # Rows are put into a table that nothing synchronises with the index; a changed text is dropped silently.
        "databricks": "credentials_refused_databricks",
        # gRPC inside a gevent process; `get` answers the nearest neighbour; an update without a vector empties the row;
        # filters that are no plain value restrict nothing.
        "vertex_ai_vector_search": "credentials_refused_vertex_ai_vector_search",
        # gRPC inside a gevent process; user ids are compared word by word, so `alice` meets `alice@example.com`;
        # metadata that are not mem0's own never come back.
        "weaviate": "credentials_refused_weaviate",
    },
}


def refusal_of(kind: str, provider: str) -> str | None:
    """The key of the sentence that says why this provider is refused; None: it is not."""
    return REFUSED.get(kind, {}).get(provider)
