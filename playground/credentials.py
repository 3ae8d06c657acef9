"""What a person would paste into the provider's form to use the playground's database and model endpoint.

Blocks are JSON text, as the form holds them; a credential set is a plain dictionary of them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from playground.postgres import Database
from playground.stand_in_model import CHAT_MODEL, EMBEDDING_MODEL
from playground.stand_in_model.embeddings import DEFAULT_DIMENSIONS


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An endpoint that speaks OpenAI's protocol, and the models to use there; by default the stand-in's.

    Attributes:
        base_url: ends in ``/v1``.
        dimensions: length of the vectors ``embedding_model`` makes.
    """

    base_url: str
    api_key: str = "stand-in"
    model: str = CHAT_MODEL
    embedding_model: str = EMBEDDING_MODEL
    dimensions: int = DEFAULT_DIMENSIONS


def block(provider: str, **config: Any) -> str:
    """One credential block."""
    return json.dumps({"provider": provider, "config": config})


def pgvector_block(database: Database, dimensions: int = DEFAULT_DIMENSIONS, **config: Any) -> str:
    """The vector-store block for ``database``; ``config`` adds keys or replaces them."""
    address = {
        "host": database.host,
        "port": database.port,
        "user": database.user,
        "password": database.password,
        "dbname": database.dbname,
    }
    return block("pgvector", **{**address, "embedding_model_dims": dimensions, **config})


def qdrant_block(folder: Path, dimensions: int = DEFAULT_DIMENSIONS, **config: Any) -> str:
    """The vector-store block for an embedded Qdrant that keeps its files in ``folder``."""
    return block("qdrant", **{"path": str(folder), "on_disk": True, "embedding_model_dims": dimensions, **config})


def credential_set(endpoint: Endpoint, vector_store: str, **others: Any) -> dict[str, Any]:
    """A whole credential set: both models at ``endpoint``, ``vector_store`` as a block, ``others`` by their names."""
    service = {"api_key": endpoint.api_key, "openai_base_url": endpoint.base_url}
    return {
        "local_llm_json_secret": block("openai", model=endpoint.model, **service),
        "local_embedder_json_secret": block(
            "openai", model=endpoint.embedding_model, embedding_dims=endpoint.dimensions, **service
        ),
        "local_vector_db_json_secret": vector_store,
        **others,
    }
