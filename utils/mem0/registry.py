"""mem0's own lists: which providers it knows, and which keys their configurations take.

mem0's front door costs a second and 50 MB (it imports its memory flow, a vector store client, gRPC and telemetry) and
makes a folder in the home directory. Only the parts are wanted here, so a bare package named ``mem0`` is registered
first and the factories are imported below it; a test tells when a new mem0 no longer allows that. Importing this
module imports none of it.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import inspect
import os
import sys
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Final, Literal

from utils.mem0.environment import scrub_environment

Kind = Literal["llm", "embedder", "vector_store", "graph", "reranker"]
FORM_NAMES: Final[dict[Kind, str]] = {
    "llm": "local_llm_json_secret",
    "embedder": "local_embedder_json_secret",
    "vector_store": "local_vector_db_json_secret",
    "graph": "local_graph_db_json_secret",
    "reranker": "local_reranker_json_secret",
}
GRAPH_PROVIDERS: Final = ("neo4j", "memgraph")  # mem0 2.x has no graph: these are the plugin's own


@functools.cache
def factories() -> ModuleType:
    """mem0's module of factories, imported without the rest of mem0."""
    os.environ["MEM0_TELEMETRY"] = "False"
    os.environ.setdefault("MEM0_DIR", str(Path(tempfile.gettempdir(), "mem0_dify")))  # should anything import the rest
    scrub_environment()
    if "mem0" not in sys.modules:
        sys.modules["mem0"] = _bare_package("mem0")
    return importlib.import_module("mem0.utils.factory")


def _bare_package(name: str) -> ModuleType:
    """A package whose submodules can be imported while its own ``__init__`` never runs."""
    spec = importlib.util.find_spec(name)
    if spec is None or spec.submodule_search_locations is None:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    package = ModuleType(name)
    package.__path__ = list(spec.submodule_search_locations)
    package.__spec__ = spec
    return package


def llm_registry() -> dict[str, str]:
    """mem0's LLM providers: name to class path."""
    return {name: entry[0] for name, entry in factories().LlmFactory.provider_to_class.items()}


def embedder_registry() -> dict[str, str]:
    """mem0's embedders: name to class path."""
    return dict(factories().EmbedderFactory.provider_to_class)


def vector_store_registry() -> dict[str, str]:
    """mem0's vector stores: name to class path."""
    return dict(factories().VectorStoreFactory.provider_to_class)


def reranker_registry() -> dict[str, str]:
    """mem0's rerankers: name to class path."""
    return {name: entry[0] for name, entry in factories().RerankerFactory.provider_to_class.items()}


def providers(kind: Kind) -> frozenset[str]:
    """The names accepted in the credential of this kind."""
    if kind == "graph":
        return frozenset(GRAPH_PROVIDERS)
    registry = {
        "llm": llm_registry,
        "embedder": embedder_registry,
        "vector_store": vector_store_registry,
        "reranker": reranker_registry,
    }[kind]
    return frozenset(registry())


def llm_keys(provider: str) -> frozenset[str]:
    """The keys mem0's config class of this LLM provider takes."""
    _, config_class = factories().LlmFactory.provider_to_class[provider]
    keys = _parameters(config_class)
    if any(
        parameter.kind is parameter.VAR_KEYWORD for parameter in inspect.signature(config_class).parameters.values()
    ):
        keys |= _parameters(factories().BaseLlmConfig)  # it hands the rest on to its base
    return keys


def embedder_keys() -> frozenset[str]:
    """The keys mem0's config class of embedders takes: one class for all providers."""
    return _parameters(factories().BaseEmbedderConfig)


def azure_keys() -> frozenset[str]:
    """The keys of ``azure_kwargs``; mem0 itself ignores others silently."""
    factories()
    return frozenset(importlib.import_module("mem0.configs.base").AzureConfig.model_fields)


def reranker_keys(provider: str) -> frozenset[str]:
    """The keys mem0's config class of this reranker takes; mem0 itself ignores others silently."""
    return frozenset(factories().RerankerFactory.provider_to_class[provider][1].model_fields)


def _parameters(config_class: type) -> frozenset[str]:
    parameters = inspect.signature(config_class).parameters.values()
    return frozenset(parameter.name for parameter in parameters if parameter.kind is not parameter.VAR_KEYWORD)
