"""Run in a process of its own: reads one credential block and builds what it names, as far as that makes no request.

``python tests/contract/build_provider.py '["llm", "groq", {"model": "m", "api_key": "k"}]'`` prints how it went, as
JSON: null, or the key and the parameters of the sentence.
"""

from __future__ import annotations

import importlib
import json
import sys
from typing import Any

from utils.config.blocks import Block, read_block
from utils.errors import PluginError
from utils.mem0 import building, registry
from utils.models.reranker import build_reranker

_BUILD = {"llm": building.build_llm, "embedder": building.build_embedder}


def build(kind: registry.Kind, block: Block) -> None:
    if kind in _BUILD:
        _BUILD[kind](block.provider, block.config)
    elif kind == "reranker":
        build_reranker(block, 1.0, 1.0)
    elif kind == "vector_store":  # constructors connect; that the class can be imported is what a package is for
        module, name = registry.vector_store_registry()[block.provider].rsplit(".", 1)
        getattr(importlib.import_module(module), name)


def outcome(kind: registry.Kind, provider: str, config: dict[str, Any]) -> list[Any] | None:
    try:
        build(kind, read_block(kind, {"provider": provider, "config": config}))
    except PluginError as exc:
        return [exc.key, {name: str(value) for name, value in exc.params.items()}]
    return None


if __name__ == "__main__":
    print(json.dumps(outcome(*json.loads(sys.argv[1]))))
