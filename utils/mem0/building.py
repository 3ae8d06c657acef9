"""Building mem0's parts: LLM, embedder, vector store and reranker objects, from what a credential says.

What this module promises: no environment variable can replace or supply a key or an address, and a configuration that
a part refuses becomes a ``CredentialError`` whose sentence holds no value of that configuration (pydantic's and the
SDKs' own texts repeat keys). Other failures, such as a server that cannot be reached by a constructor that connects,
pass through as they are: the caller knows whether its part does that.
"""

from __future__ import annotations

import copy
import importlib
import os
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType
from typing import Any, Final

from utils.errors import CredentialError, ServiceRejected
from utils.mem0 import registry
from utils.mem0.environment import scrub_environment
from utils.mem0.packages import without_unused
from utils.mem0.registry import FORM_NAMES, Kind

_WORD: Final = re.compile(r"(?<![A-Za-z0-9_])[a-z][a-z0-9_]{1,40}(?![A-Za-z0-9_])")
_PLAIN_KEYS: Final = frozenset({"host", "port", "url", "path", "user", "model", "token", "endpoint", "database"})
_SHORTEST_SECRET: Final = 3  # characters; shorter values occur in any sentence by chance


def vector_store_keys(provider: str) -> frozenset[str]:
    """The keys mem0's config class of this vector store takes. Imports the store's package for most stores.

    Raises:
        CredentialError: that package cannot be imported.
    """
    with _refusals("vector_store", provider, {}):
        names = _vector_store_config().model_construct()._provider_configs  # its only list of config classes
        module = importlib.import_module(f"mem0.configs.vector_stores.{provider}")
        return frozenset(getattr(module, names[provider]).model_fields)


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
    with _refusals("llm", provider, config), without_unused(config):
        return _scrubbed_factories().LlmFactory.create(provider, copy.deepcopy(dict(config)))


def build_embedder(provider: str, config: Mapping[str, Any]) -> Any:
    """mem0's embedder object. Ollama's constructor asks the server for its models.

    Raises:
        CredentialError: the configuration is refused or a package is missing.
        ServiceRejected: Ollama does not have the model.
    """
    with _refusals("embedder", provider, config), without_unused(config):
        if provider == "ollama":
            _let_ollama_pull_nothing()
        return _scrubbed_factories().EmbedderFactory.create(provider, copy.deepcopy(dict(config)), None)


def build_reranker(provider: str, config: Mapping[str, Any]) -> Any:
    """mem0's reranker object. Local models are loaded, and at first downloaded, by the constructor.

    Raises:
        CredentialError: the configuration is refused or a package is missing.
    """
    with _refusals("reranker", provider, config):
        return _scrubbed_factories().RerankerFactory.create(provider, copy.deepcopy(dict(config)))


def build_vector_store(
    provider: str, config: Mapping[str, Any], embedding_dims: int | None = None, client: Any = None
) -> Any:
    """mem0's vector store object. Most constructors connect and create the collection: blocking I/O.

    Args:
        provider: a name of :func:`vector_store_registry`.
        config: its configuration; stays as it is.
        embedding_dims: length of the vectors, used where ``config`` gives none (mem0 would assume 1536).
        client: an open client of the store's package, to be used instead of a new one; for stores that take one.

    Raises:
        CredentialError: the configuration is refused or a package is missing. What goes wrong while connecting comes
            through as the store's client raises it.
    """
    settings = dict(config)
    if embedding_dims is not None and "embedding_model_dims" in vector_store_keys(provider):
        settings.setdefault("embedding_model_dims", embedding_dims)
    validated = _validated_store_config(provider, settings)
    if client is not None:
        validated.client = client
    try:
        return _scrubbed_factories().VectorStoreFactory.create(provider, validated)
    except ImportError as exc:
        raise _package_missing("vector_store", provider, exc) from exc


def _let_ollama_pull_nothing() -> None:
    """mem0's embedder fetches a model that is absent, gigabytes without a time-out, because of a misspelt name."""
    ollama = importlib.import_module("mem0.embeddings.ollama").OllamaEmbedding

    def require_model(embedder: Any) -> None:
        names = {str(model.get("model") or model.get("name")) for model in embedder.client.list()["models"]}
        wanted = ollama._normalize_model_name(embedder.config.model)
        if wanted not in {ollama._normalize_model_name(name) for name in names}:
            model = embedder.config.model
            raise ServiceRejected("model_not_in_ollama", part="embedder", reason="no such model", model=model)

    ollama._ensure_model_exists = require_model


def _scrubbed_factories() -> ModuleType:
    """The factories, with the environment clean again: something may have set a variable since the import."""
    scrub_environment()
    factories = registry.factories()  # which scrubs, too
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # else its import fetches a list of prices from GitHub
    return factories


def _vector_store_config() -> Any:
    registry.factories()
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
        raise _refused(kind, provider, _named_keys(exc, config)) from None  # its text may repeat keys: not even chained
    except _no_key_errors():
        raise _refused(kind, provider, "api_key") from None


def _no_key_errors() -> tuple[type[Exception], ...]:
    """What a vendor's client raises when it is built without a key. Looked up only while something is being raised."""
    openai = sys.modules.get("openai")
    return (openai.OpenAIError,) if openai is not None else ()


def _refused(kind: Kind, provider: str, keys: str) -> CredentialError:
    return CredentialError("credentials_refused", where=FORM_NAMES[kind], provider=provider, keys=keys)


def _package_missing(kind: Kind, provider: str, exc: ImportError) -> CredentialError:
    cause: BaseException | None = exc
    while isinstance(cause, ImportError) and not cause.name:  # mem0 wraps the error that has the name
        cause = cause.__context__
    name = (cause.name if isinstance(cause, ImportError) else None) or provider
    return CredentialError("credentials_package_missing", where=FORM_NAMES[kind], provider=provider, package=name)


def _named_keys(exc: Exception, config: Mapping[str, Any]) -> str:
    """Which keys the error is about. Its text itself is English, as long as it likes, and may repeat a secret."""
    if not hasattr(exc, "errors"):
        return ", ".join(_keys_in(str(exc), config)) or "config"
    details = exc.errors(include_url=False, include_context=False, include_input=False)
    named = [
        [".".join(map(str, detail["loc"]))] if detail["loc"] else _keys_in(detail["msg"], config) for detail in details
    ]
    return ", ".join(dict.fromkeys(key for keys in named for key in keys)) or "config"


def _keys_in(text: str, config: Mapping[str, Any]) -> list[str]:
    """The words of ``text`` that are keys of ``config``, or else look like keys; none of its values."""
    words = dict.fromkeys(_WORD.findall(text))
    given = [word for word in words if word in config]
    values = set(_leaves(config))
    return given or [word for word in words if (word in _PLAIN_KEYS or "_" in word) and word not in values]


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
