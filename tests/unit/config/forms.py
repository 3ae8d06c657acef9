"""Provider forms for tests: a complete one, and what reading it with something changed gives."""

from __future__ import annotations

import json
from typing import Any

import pytest

from utils.config.settings import Settings
from utils.errors import CredentialError
from utils.mem0.registry import FORM_NAMES

LLM = {"provider": "openai", "config": {"model": "gpt", "api_key": "sk-llm", "timeout": 20}}
EMBEDDER = {"provider": "openai", "config": {"model": "small", "api_key": "sk-embedder"}}
POSTGRES = {"user": "alice", "password": "pw", "host": "db.example", "dbname": "memories"}


def credentials(**changed: Any) -> dict[str, Any]:
    """A complete form on pgvector; a keyword replaces a value, blocks by their short name."""
    named = {FORM_NAMES.get(name, name): value for name, value in changed.items()}  # type: ignore[call-overload]
    form = {
        "local_llm_json_secret": json.dumps(LLM),
        "local_embedder_json_secret": json.dumps(EMBEDDER),
        "local_vector_db_json_secret": store("pgvector", **POSTGRES),
    }
    return form | named


def store(provider: str, /, **config: Any) -> str:
    return json.dumps({"provider": provider, "config": config})


def embedder(**config: Any) -> str:
    return json.dumps({"provider": "openai", "config": EMBEDDER["config"] | config})  # type: ignore[operator]


def read(**changed: Any) -> Settings:
    return Settings.from_credentials(credentials(**changed))


def refusal(**changed: Any) -> str:
    with pytest.raises(CredentialError) as caught:
        read(**changed)
    return str(caught.value)
