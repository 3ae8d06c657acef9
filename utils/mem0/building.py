"""The one door to mem0's package: its registries, its config classes and its factories.

mem0's own front door costs a second and 50 MB (it imports its memory flow, a vector store client, gRPC and telemetry)
and makes a folder in the home directory. Only the parts are wanted here, so a bare package named ``mem0`` is
registered first and the factories are imported below it; a test tells when a new mem0 no longer allows that.
Importing this module imports none of it.

What this module promises: telemetry is off and no environment variable can replace or supply a key or an address
before any part of mem0 runs; a configuration a part refuses becomes a ``CredentialError`` whose sentence holds no
value of that configuration (pydantic's and the SDKs' own texts repeat keys). Other failures, such as a server that
cannot be reached by a constructor that connects, pass through as they are: the caller knows whether its part does
that.
"""

from __future__ import annotations

import copy
import functools
import importlib
import importlib.util
import inspect
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, Final, Literal

from utils.errors import CredentialError

Kind = Literal["llm", "embedder", "vector_store", "graph", "reranker"]
FORM_NAMES: Final[dict[Kind, str]] = {
    "llm": "local_llm_json_secret",
    "embedder": "local_embedder_json_secret",
    "vector_store": "local_vector_db_json_secret",
    "graph": "local_graph_db_json_secret",
    "reranker": "local_reranker_json_secret",
}
GRAPH_PROVIDERS: Final = ("neo4j", "memgraph")  # mem0 2.x has no graph: these are the plugin's own

# Through these mem0's classes and the SDKs below them let the environment override or supply what the credentials
# must say. Prefixes, because the SDKs keep adding names (admin keys, custom headers, logs with request bodies).
_SCRUBBED_PREFIXES: Final = (
    "OPENAI_", "OPENROUTER_", "AZURE_OPENAI_", "LLM_AZURE_", "EMBEDDING_AZURE_", "ANTHROPIC_", "DEEPSEEK_", "XAI_",
    "MINIMAX_", "SARVAM_", "VLLM_", "OLLAMA_", "GROQ_", "TOGETHER_", "LITELLM_", "GEMINI_", "GOOGLE_API_KEY",
    "GOOGLE_GENAI_", "GOOGLE_GEMINI_", "GOOGLE_VERTEX_", "HUGGINGFACE_", "COHERE_", "CO_API_", "ZEROENTROPY_",
    "ZERO_ENTROPY_", "PINECONE_", "TURBOPUFFER_", "UPSTASH_VECTOR_", "MILVUS_", "CHROMA_", "WEAVIATE_", "QDRANT_",
    "DATABRICKS_", "MEM0_API_KEY", "AWS_BEARER_TOKEN_BEDROCK", "AWS_BEDROCK_BASE_URL",
)  # fmt: skip
# libpq's: PGHOSTADDR alone sends the password of the credentials to another machine.
_SCRUBBED_NAMES: Final = frozenset({
    "PGHOST", "PGHOSTADDR", "PGPORT", "PGDATABASE", "PGUSER", "PGPASSWORD", "PGPASSFILE", "PGSERVICE", "PGSERVICEFILE",
    "PGOPTIONS",
})  # fmt: skip
_SHORTEST_SECRET: Final = 3  # characters; shorter values occur in any sentence by chance


def scrub_environment() -> tuple[str, ...]:
    """Remove the variables by which the environment could override the credentials; proxies and cloud identities stay.

    Returns:
        The names that were removed, for the log.
    """
    names = tuple(name for name in os.environ if name in _SCRUBBED_NAMES or name.startswith(_SCRUBBED_PREFIXES))
    for name in names:
        del os.environ[name]
    return names


@functools.cache
def _factories() -> ModuleType:
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
    return {name: entry[0] for name, entry in _factories().LlmFactory.provider_to_class.items()}


def embedder_registry() -> dict[str, str]:
    """mem0's embedders: name to class path."""
    return dict(_factories().EmbedderFactory.provider_to_class)


def vector_store_registry() -> dict[str, str]:
    """mem0's vector stores: name to class path."""
    return dict(_factories().VectorStoreFactory.provider_to_class)


def reranker_registry() -> dict[str, str]:
    """mem0's rerankers: name to class path."""
    return {name: entry[0] for name, entry in _factories().RerankerFactory.provider_to_class.items()}


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
    _, config_class = _factories().LlmFactory.provider_to_class[provider]
    keys = _parameters(config_class)
    if any(
        parameter.kind is parameter.VAR_KEYWORD for parameter in inspect.signature(config_class).parameters.values()
    ):
        keys |= _parameters(_factories().BaseLlmConfig)  # it hands the rest on to its base
    return keys


def embedder_keys() -> frozenset[str]:
    """The keys mem0's config class of embedders takes: one class for all providers."""
    return _parameters(_factories().BaseEmbedderConfig)


def azure_keys() -> frozenset[str]:
    """The keys of ``azure_kwargs``; mem0 itself ignores others silently."""
    _factories()
    return frozenset(importlib.import_module("mem0.configs.base").AzureConfig.model_fields)


def vector_store_keys(provider: str) -> frozenset[str]:
    """The keys mem0's config class of this vector store takes. Imports the store's package for most stores.

    Raises:
        CredentialError: that package cannot be imported.
    """
    with _refusals("vector_store", provider, {}):
        names = _vector_store_config().model_construct()._provider_configs  # its only list of config classes
        module = importlib.import_module(f"mem0.configs.vector_stores.{provider}")
        return frozenset(getattr(module, names[provider]).model_fields)


def reranker_keys(provider: str) -> frozenset[str]:
    """The keys mem0's config class of this reranker takes; mem0 itself ignores others silently."""
    return frozenset(_factories().RerankerFactory.provider_to_class[provider][1].model_fields)


def _parameters(config_class: type) -> frozenset[str]:
    parameters = inspect.signature(config_class).parameters.values()
    return frozenset(parameter.name for parameter in parameters if parameter.kind is not parameter.VAR_KEYWORD)


def check_vector_store(provider: str, config: Mapping[str, Any]) -> None:
    """Let mem0's config class of the store judge ``config``, which stays as it is.

    Raises:
        CredentialError: it refuses.
    """
    _validated_store_config(provider, config)


def build_llm(provider: str, config: Mapping[str, Any]) -> Any:
    """mem0's LLM object. Constructors of LLMs make no request, that of Bedrock excepted.

    Raises:
        CredentialError: the configuration is refused or a package is missing.
    """
    with _refusals("llm", provider, config):
        return _scrubbed_factories().LlmFactory.create(provider, copy.deepcopy(dict(config)))


def build_embedder(provider: str, config: Mapping[str, Any]) -> Any:
    """mem0's embedder object. Ollama's constructor asks the server for its models and pulls an absent one.

    Raises:
        CredentialError: the configuration is refused or a package is missing.
    """
    with _refusals("embedder", provider, config):
        return _scrubbed_factories().EmbedderFactory.create(provider, copy.deepcopy(dict(config)), None)


def build_reranker(provider: str, config: Mapping[str, Any]) -> Any:
    """mem0's reranker object. Local models are loaded, and at first downloaded, by the constructor.

    Raises:
        CredentialError: the configuration is refused or a package is missing.
    """
    with _refusals("reranker", provider, config):
        return _scrubbed_factories().RerankerFactory.create(provider, copy.deepcopy(dict(config)))


def build_vector_store(provider: str, config: Mapping[str, Any], embedding_dims: int | None = None) -> Any:
    """mem0's vector store object. Most constructors connect and create the collection: blocking I/O.

    Args:
        provider: a name of :func:`vector_store_registry`.
        config: its configuration; stays as it is.
        embedding_dims: length of the vectors, used where ``config`` gives none (mem0 would assume 1536).

    Raises:
        CredentialError: the configuration is refused or a package is missing. What goes wrong while connecting comes
            through as the
            store's client raises it.
    """
    settings = dict(config)
    if embedding_dims is not None and "embedding_model_dims" in vector_store_keys(provider):
        settings.setdefault("embedding_model_dims", embedding_dims)
    validated = _validated_store_config(provider, settings)
    try:
        return _scrubbed_factories().VectorStoreFactory.create(provider, validated)
    except ImportError as exc:
        raise _package_missing("vector_store", provider, exc) from exc


def _scrubbed_factories() -> ModuleType:
    """The factories, with the environment clean again: something may have set a variable since the import."""
    scrub_environment()
    return _factories()


def _vector_store_config() -> Any:
    _factories()
    return importlib.import_module("mem0.vector_stores.configs").VectorStoreConfig


def _validated_store_config(provider: str, config: Mapping[str, Any]) -> Any:
    scrub_environment()
    with _refusals("vector_store", provider, config):
        # a deep copy: mem0 writes a default `path` into the dict it is given
        return _vector_store_config()(provider=provider, config=copy.deepcopy(dict(config))).config


@contextmanager
def _refusals(kind: Kind, provider: str, config: Mapping[str, Any]) -> Iterator[None]:
    """Turn what mem0's config classes and constructors raise about ``config`` into a CredentialError."""
    try:
        yield
    except ImportError as exc:
        raise _package_missing(kind, provider, exc) from exc
    except (TypeError, ValueError) as exc:  # pydantic's ValidationError is a ValueError
        raise _refused(kind, provider, _reason(exc, config)) from None  # its text may repeat keys: not even chained
    except _no_key_errors() as exc:
        raise _refused(kind, provider, type(exc).__name__) from None


def _no_key_errors() -> tuple[type[Exception], ...]:
    """What a vendor's client raises when it is built without a key. Looked up only while something is being raised."""
    openai = sys.modules.get("openai")
    return (openai.OpenAIError,) if openai is not None else ()


def _refused(kind: Kind, provider: str, reason: str) -> CredentialError:
    return CredentialError("credentials_refused", where=FORM_NAMES[kind], provider=provider, reason=reason)


def _package_missing(kind: Kind, provider: str, exc: ImportError) -> CredentialError:
    cause: BaseException | None = exc
    while isinstance(cause, ImportError) and not cause.name:  # mem0 wraps the error that has the name
        cause = cause.__context__
    name = (cause.name if isinstance(cause, ImportError) else None) or provider
    return CredentialError("credentials_package_missing", where=FORM_NAMES[kind], provider=provider, package=name)


def _reason(exc: Exception, config: Mapping[str, Any]) -> str:
    """What the error says, unless it repeats any value of ``config``; then only its kind."""
    if not hasattr(exc, "errors"):
        return _unless_leaking(str(exc), type(exc).__name__, config)
    details = exc.errors(include_url=False, include_context=False, include_input=False)
    return "; ".join(_unless_leaking(_detail(detail), detail["type"], config) for detail in details)


def _detail(detail: Mapping[str, Any]) -> str:
    place = ".".join(map(str, detail["loc"]))
    said = str(detail["msg"]).removeprefix("Value error, ")
    return f"{place}: {said}" if place else said


def _unless_leaking(text: str, instead: str, config: Mapping[str, Any]) -> str:
    return instead if any(leaf in text for leaf in _leaves(config)) else text


def _leaves(value: object) -> Iterator[str]:
    """Every scalar in a structure, as text, long enough to be recognised."""
    if isinstance(value, Mapping):
        for child in value.values():
            yield from _leaves(child)
    elif isinstance(value, list | tuple):
        for child in value:
            yield from _leaves(child)
    elif value is not None and not isinstance(value, bool) and len(str(value)) >= _SHORTEST_SECRET:
        yield str(value)
        yield repr(value).strip("'\"")  # as error texts quote it
