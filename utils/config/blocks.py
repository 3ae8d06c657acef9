"""One pasted JSON credential, read into a provider and the configuration mem0's class of it accepts.

Everything that can be known without a connection is checked here, so that a mistake is told as one sentence about a
named place and not by whatever a vendor's client does with it: names against mem0's own registries, keys against its
config classes, packages without importing them. What mem0 would let pass silently and then get wrong is refused too:
keys it ignores, a host without a port (it would quietly store in a local folder), a model left to a default that
changes with mem0's releases.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, get_args

from pydantic import BaseModel, ConfigDict, Field

from utils.config import pasted_json, values
from utils.config.values import Where
from utils.mem0 import building, registry
from utils.mem0.packages import missing_package
from utils.mem0.refused import REFUSED, refusal_of
from utils.mem0.registry import FORM_NAMES, Kind

MAX_TIMEOUT_S: Final = 600.0
_KEYS_OF_A_BLOCK: Final = ("provider", "config")
_AZURE: Final = frozenset({"azure_openai", "azure_openai_structured"})
# Providers whose client cannot be built, or whose server never answers, without this key in the config.
_NEEDS_API_KEY: Final[dict[Kind, frozenset[str]]] = {
    "llm": frozenset({
        "openai", "openai_structured", "deepseek", "minimax", "xai", "groq", "together", "anthropic", "sarvam",
        "gemini",
    }),
    "embedder": frozenset({"openai", "together", "gemini"}),
    "reranker": frozenset({"cohere", "zero_entropy"}),
}  # fmt: skip
# Stores whose config classes are content with an environment variable, which the plugin removes.
_NEEDED_BY_STORE: Final = {"pinecone": ("api_key",), "turbopuffer": ("api_key",), "upstash_vector": ("url", "token")}
_HOST_NEEDS_PORT: Final = frozenset({"qdrant", "chroma"})  # else mem0 falls back to a folder under /tmp
_COMMON: Final = ("openai", "ollama", "pgvector", "qdrant", "cohere")  # named first where a sentence lists providers
_READ_BESIDE: Final = ("api_key", "model", "temperature", "max_tokens")  # all llm_reranker hands on without a block
_NUMBERS: Final = frozenset({"temperature", "top_p"})
_SENT_AS_HEADERS: Final = frozenset({"api_key", "token"})
_WHOLE_NUMBERS: Final = frozenset({"max_tokens", "top_k", "embedding_dims", "embedding_model_dims"})
_MAX_WHOLE_NUMBER: Final = 10_000_000
_MOST_CACHED: Final = 100_000


def _is_none(value: object) -> bool:
    return value is None


class Block(BaseModel):
    """One part of mem0 as a credential describes it.

    Attributes:
        provider: the part's name in mem0's registry.
        config: what mem0's config class takes; holds keys and passwords, so it never shows; read-only by agreement.
        timeout_s: seconds the part may take for one request, if the credential says so.
        keyword_order: of a vector store: whether the words of a query count in the order of what is found.
        query_prefix: of an embedder: what its model wants before a text to search with, if the credential says so.
        passage_prefix: of an embedder: what its model wants before a text to store, if the credential says so.
        cache_size: of an embedder: how many of the latest vectors are kept.
    """

    model_config = ConfigDict(frozen=True)

    provider: str
    config: dict[str, Any] = Field(repr=False)
    timeout_s: float | None = None
    # The state store knows clients by a digest of all fields (config/identity.py): a new one must not show in it where
    # it says nothing new, or accepted writes would be nobody's.
    keyword_order: bool = Field(default=True, exclude=True)
    query_prefix: str | None = Field(default=None, exclude_if=_is_none)
    passage_prefix: str | None = Field(default=None, exclude_if=_is_none)
    cache_size: int = Field(default=512, exclude=True)


def read_block(kind: Kind, pasted: object, credential: str | None = None) -> Block:
    """The block in one credential.

    Args:
        kind: which part it is for.
        pasted: what the form holds: text, or an object parsed already.
        credential: the name it has in the form, if not the usual one.

    Raises:
        CredentialError: it cannot be used as it stands.
    """
    where = Where(credential or FORM_NAMES[kind])
    return _block(kind, pasted_json.read_object(pasted, where), where)


def _block(kind: Kind, block: dict[str, Any], where: Where) -> Block:
    provider = _provider(kind, block.get("provider"), where)
    values.only_known_keys(block, _KEYS_OF_A_BLOCK, where, provider)
    given = block.get("config")
    if package := missing_package(kind, provider, given if isinstance(given, dict) else None):
        raise where.error("credentials_package_missing", provider=provider, package=package)
    inside = where.at("config")
    config = dict(values.mapping(given, inside))
    timeout = None if kind in ("vector_store", "graph") else config.pop("timeout", None)
    timeout_s = None if timeout is None else values.seconds(timeout, inside.at("timeout"), MAX_TIMEOUT_S)
    own = _take_own(kind, config, inside)
    return Block(provider=provider, config=_CHECKS[kind](provider, config, inside), timeout_s=timeout_s, **own)


def _take_own(kind: Kind, config: dict[str, Any], where: Where) -> dict[str, Any]:
    """What of the config is meant for the plugin, which mem0's class does not know; taken out of it."""
    own = {key: config.pop(key) for key in _OWN_KEYS.get(kind, {}) if key in config}
    return {key: _OWN_KEYS[kind][key](value, where.at(key)) for key, value in own.items() if value is not None}


def _prefix(value: object, where: Where) -> str:
    """A prefix as it stands: blanks at its end belong to it, and an empty one is one, too."""
    if not isinstance(value, str):
        raise where.error("credentials_need_text", found=values.found(value))
    return value


def _cache_size(value: object, where: Where) -> int:
    return values.whole_number(value, where, 0, _MOST_CACHED)


def _provider(kind: Kind, named: object, where: Where) -> str:
    known = registry.providers(kind) - REFUSED.get(kind, {}).keys()
    accepted = values.listed(sorted(known, key=lambda name: (name not in _COMMON, name)))
    if values.is_missing(named):
        raise where.error("credentials_provider_missing", known=accepted)
    name = values.text(named, where.at("provider")).strip()
    if name in known:
        return name
    if (sentence := refusal_of(kind, name)) and name in registry.providers(kind):
        raise where.error(sentence, provider=name, known=accepted)
    if boxes := [FORM_NAMES[other] for other in get_args(Kind) if name in registry.providers(other)]:
        raise where.error("credentials_wrong_box", provider=name, box=", ".join(boxes), known=accepted)
    raise where.error(
        "credentials_provider_unknown",
        provider=values.shown(name),
        nearest=values.nearest(name, known),
        known=accepted,
    )


def _check_llm(provider: str, config: dict[str, Any], where: Where, model_is_needed: bool = True) -> dict[str, Any]:
    values.only_known_keys(config, registry.llm_keys(provider), where, provider)
    return _check_model("llm", provider, config, where, model_is_needed)


def _check_embedder(provider: str, config: dict[str, Any], where: Where) -> dict[str, Any]:
    values.only_known_keys(config, registry.embedder_keys(), where, provider)
    return _check_model("embedder", provider, config, where)


def _check_model(
    kind: Kind, provider: str, config: dict[str, Any], where: Where, model_is_needed: bool = True
) -> dict[str, Any]:
    """What LLMs and embedders have in common."""
    if provider in _AZURE:
        _check_azure(provider, config, where)
    elif model_is_needed:
        _need(config, "model", where, provider)
    if config.get("model") is not None:
        values.text(config["model"], where.at("model"))
    if provider in _NEEDS_API_KEY[kind] and not config.get("vertexai"):  # Gemini by way of Vertex has no key
        _need_text(config, "api_key", where, provider)
    return _typed(config, where)


def _check_azure(provider: str, config: Mapping[str, Any], where: Where) -> None:
    """Azure's settings stand in ``azure_kwargs``. Its key may be absent: then the machine's Azure identity is used."""
    inside = where.at("azure_kwargs")
    azure = values.mapping(config.get("azure_kwargs"), inside)
    values.only_known_keys(azure, registry.azure_keys(), inside, provider)
    for key in ("azure_endpoint", "api_version"):
        _need_text(azure, key, inside, provider)
    values.web_address(azure["azure_endpoint"], inside.at("azure_endpoint"))
    if values.is_missing(config.get("model")):
        _need_text(azure, "azure_deployment", inside, provider)
    if not values.is_missing(config.get("api_key")) and values.is_missing(azure.get("api_key")):
        raise where.at("api_key").error("credentials_key_elsewhere", provider=provider, right="azure_kwargs.api_key")


def _check_store(provider: str, config: dict[str, Any], where: Where) -> dict[str, Any]:
    if provider == "pgvector":
        return config  # has a module of its own
    values.only_known_keys(config, building.vector_store_keys(provider), where, provider)
    for key in _NEEDED_BY_STORE.get(provider, ()):
        _need_text(config, key, where, provider)
    if provider in _HOST_NEEDS_PORT and not values.is_missing(config.get("host")):
        _need(config, "port", where, provider)
    config = _typed(config, where)
    building.check_vector_store(provider, config)
    return config


def _check_reranker(provider: str, config: dict[str, Any], where: Where) -> dict[str, Any]:
    # A service's address is a key of ours: mem0's classes know the vendors' alone.
    own = {f"{provider}_base_url"} if provider in _NEEDS_API_KEY["reranker"] else set()
    values.only_known_keys(config, registry.reranker_keys(provider) | own, where, provider)
    if config.get("model") is not None:
        values.text(config["model"], where.at("model"))
    if provider == "llm_reranker":
        return _check_llm_reranker(config, where)
    if provider in _NEEDS_API_KEY["reranker"]:
        _need_text(config, "api_key", where, provider)
    return _typed(config, where)


def _check_llm_reranker(config: dict[str, Any], where: Where) -> dict[str, Any]:
    """Its model is an LLM block under ``llm``, or an LLM provider's name, model and key beside each other."""
    named = config.get("provider", "openai")  # mem0's default
    if config.get("llm") is None and str(named) not in _AZURE:  # Azure's settings fit into a block only
        beside: dict[str, Any] = {key: config[key] for key in _READ_BESIDE if key in config}
        _llm_of_reranker(named, beside, where, where)
        return _typed(config, where)
    inside = where.at("llm")
    block = {"provider": named} | values.mapping(config.get("llm"), inside)
    values.only_known_keys(block, _KEYS_OF_A_BLOCK, inside, "llm_reranker")
    nested = dict(values.mapping(block.get("config"), inside.at("config")))
    inherited = {key: config[key] for key in ("api_key", "model") if key in config}
    provider = _llm_of_reranker(block["provider"], inherited | nested, inside, inside.at("config"))
    return _typed(config, where) | {"llm": {"provider": provider, "config": _typed(nested, inside.at("config"))}}


def _llm_of_reranker(named: object, config: dict[str, Any], where: Where, inside: Where) -> str:
    provider = _provider("llm", named, where)
    if package := missing_package("llm", provider, config):
        raise where.error("credentials_package_missing", provider=provider, package=package)
    _check_llm(provider, config, inside, model_is_needed=False)
    return provider


def _check_graph(provider: str, config: dict[str, Any], where: Where) -> dict[str, Any]:
    """Shape only; Memgraph runs without users by default, Neo4j does not."""
    values.only_known_keys(config, ("url", "username", "password", "database"), where, provider)
    _need_text(config, "url", where, provider)
    if not config["url"].strip().startswith(_BOLT_SCHEMES):
        raise where.at("url").error("credentials_graph_url", known=", ".join(_BOLT_SCHEMES))
    for key in ("username", "password"):
        if provider == "neo4j":
            _need_text(config, key, where, provider)
        if not isinstance(config.get(key), str | None):
            raise where.at(key).error("credentials_need_text", found=values.found(config[key]))
    if config.get("database") is not None:
        values.text(config["database"], where.at("database"))
    return config


_BOLT_SCHEMES: Final = tuple(f"{name}{tls}://" for name in ("bolt", "neo4j") for tls in ("", "+s", "+ssc"))
_CHECKS: Final[dict[Kind, Callable[[str, dict[str, Any], Where], dict[str, Any]]]] = {
    "llm": _check_llm,
    "embedder": _check_embedder,
    "vector_store": _check_store,
    "graph": _check_graph,
    "reranker": _check_reranker,
}


_OWN_KEYS: Final[dict[Kind, dict[str, Callable[[object, Where], Any]]]] = {
    "embedder": {"query_prefix": _prefix, "passage_prefix": _prefix, "cache_size": _cache_size},
    "vector_store": {"keyword_order": values.boolean},
}


def _need(config: Mapping[str, Any], key: str, where: Where, provider: str) -> None:
    if values.is_missing(config.get(key)):
        raise where.at(key).error("credentials_key_missing", provider=provider)


def _need_text(config: Mapping[str, Any], key: str, where: Where, provider: str) -> None:
    _need(config, key, where, provider)
    values.text(config[key], where.at(key))


def _typed(config: Mapping[str, Any], where: Where) -> dict[str, Any]:
    """The config with its numbers as numbers; addresses and numbers of the wrong kind are refused."""
    return {key: _typed_value(key, value, where.at(key)) for key, value in config.items()}


def _typed_value(key: str, value: Any, where: Where) -> Any:
    if value is None:
        return None
    if key in _NUMBERS:
        values.number_or_null(value, where)
    elif key in _WHOLE_NUMBERS:
        return values.whole_number(value, where, 1, _MAX_WHOLE_NUMBER)
    elif key in _SENT_AS_HEADERS and isinstance(value, str):
        return values.key(value, where)
    elif key == "azure_kwargs" and isinstance(value, dict):
        return _typed(value, where)
    elif key.endswith("_base_url"):
        return values.web_address(value, where)
    return value
