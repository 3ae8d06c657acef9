"""The provider form as one frozen, typed value.

:meth:`Settings.from_credentials` reads it once per set of credentials; everything after it can rely on what the types
say. The five blocks and what decides where data lives or goes are exact: a mistake is a ``CredentialError``. Numbers
and switches that only tune the plugin are exact while credentials are being saved, when somebody can mend them. Later a
mistake in one is a warning for the log and the default, so that it does not stop a workflow.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Self

from pydantic import BaseModel, ConfigDict, Field

from utils import messages
from utils.config import pgvector, values
from utils.config.blocks import Block, read_block
from utils.config.identity import Identity, identify, is_temporary
from utils.config.pgvector import PgvectorConfig
from utils.config.values import Where
from utils.errors import CredentialError
from utils.mem0.registry import FORM_NAMES, Kind

LOG_LEVELS: Final = ("INFO", "DEBUG", "WARNING", "ERROR")
DEFAULT_CONCURRENT_OPERATIONS: Final = 20
DEFAULT_HEARTBEAT_S: Final = 120
MIN_HEARTBEAT_S: Final = 30
DEFAULT_CHECKPOINT_TTL_DAYS: Final = 90
_MAX_CONCURRENT_OPERATIONS: Final = 10_000
_MAX_HEARTBEAT_S: Final = 24 * 3600
_MAX_DAYS: Final = 36_500
_REQUIRED: Final[tuple[Kind, ...]] = ("llm", "embedder", "vector_store")
_OPTIONAL: Final[tuple[Kind, ...]] = ("graph", "reranker")
_SUFFIX: Final = "_secret"  # the names of older forms are those of today without it


class Settings(BaseModel):
    """What the credentials say.

    Attributes:
        llm: the language model.
        embedder: the embedding model.
        vector_store: where memories live.
        graph: the graph database, if one is used.
        reranker: the reranker, if one is used.
        pgvector: ``vector_store`` read as a pgvector configuration, if it is one.
        async_mode: whether writes are accepted first and carried out in the background.
        max_concurrent_memory_operations: operations a lane runs at once.
        heartbeat_interval_s: seconds between keep-alives of idle connections.
        log_level: least severe level that is logged.
        memory_ttl_days: age at which a memory goes whatever its recalls; None: never for its age alone.
        checkpoint_ttl_days: age at which an extraction checkpoint goes.
        state_db_url: where the plugin's own state lives, if not derived; may hold a password.
        language: language of the tools' text messages.
        warnings: sentences for the log about values that were replaced by defaults. They hold no values.
        embedding_dims: length of the vectors as far as the credentials tell: the embedder's word, else the store's.
        identity: what these settings share with those of other credentials.
    """

    model_config = ConfigDict(frozen=True)

    llm: Block
    embedder: Block
    vector_store: Block
    graph: Block | None
    reranker: Block | None
    pgvector: PgvectorConfig | None
    async_mode: bool
    max_concurrent_memory_operations: int
    heartbeat_interval_s: int
    log_level: str
    memory_ttl_days: int | None
    checkpoint_ttl_days: int
    state_db_url: str | None = Field(repr=False)
    language: str
    warnings: tuple[str, ...]
    embedding_dims: int | None
    identity: Identity = Field(repr=False)

    @classmethod
    def from_credentials(cls, credentials: Mapping[str, Any], *, exact: bool = False) -> Self:
        """Read the provider form.

        Args:
            credentials: the form's values by name, as Dify hands them over. Unknown names are ignored.
            exact: refuse a tuning value that cannot be used, instead of taking the default with a warning.

        Raises:
            CredentialError: a value cannot be used; the sentence names it and never shows a secret.
        """
        llm, embedder, store = (_read(kind, credentials) for kind in _REQUIRED)
        graph, reranker = (_read_optional(kind, credentials) for kind in _OPTIONAL)
        where = Where(form_name("vector_store", credentials)).at("config")
        postgres = pgvector.read(store.config, where) if store.provider == "pgvector" else None
        embedding_dims = _embedding_dims(embedder, store, postgres, credentials)
        state_db_url = _state_db_url(credentials)
        tuning = _Tuning(credentials, exact)
        if is_temporary(store):
            tuning.warn("settings_vectors_in_tmp", where=str(where), provider=store.provider)
        return cls(
            llm=llm,
            embedder=embedder,
            vector_store=store,
            graph=graph,
            reranker=reranker,
            pgvector=postgres,
            async_mode=tuning.boolean("async_mode", True),
            max_concurrent_memory_operations=tuning.whole_number(
                "max_concurrent_memory_operations", DEFAULT_CONCURRENT_OPERATIONS, 1, _MAX_CONCURRENT_OPERATIONS
            ),
            heartbeat_interval_s=tuning.whole_number(
                "heartbeat_interval", DEFAULT_HEARTBEAT_S, MIN_HEARTBEAT_S, _MAX_HEARTBEAT_S
            ),
            log_level=tuning.choice("log_level", LOG_LEVELS[0], LOG_LEVELS),
            memory_ttl_days=_days("memory_ttl_days", credentials),
            checkpoint_ttl_days=_days("checkpoint_ttl_days", credentials) or DEFAULT_CHECKPOINT_TTL_DAYS,
            state_db_url=state_db_url,
            language=tuning.choice("language", messages.DEFAULT_LANGUAGE, messages.LANGUAGES),
            warnings=tuple(tuning.warnings),
            embedding_dims=embedding_dims,
            identity=identify(
                credentials, (llm, embedder, store, graph, reranker), store, postgres, embedding_dims, state_db_url
            ),
        )


class _Tuning:
    """Reads the credentials that only tune the plugin; refuses what it cannot use, or remembers it for the log."""

    def __init__(self, credentials: Mapping[str, Any], exact: bool) -> None:
        self._credentials = credentials
        self._exact = exact
        self.warnings: list[str] = []

    def warn(self, sentence: str, **params: object) -> None:
        self.warnings.append(messages.render(sentence, messages.DEFAULT_LANGUAGE, **params))

    def boolean(self, name: str, default: bool) -> bool:
        return self._read(name, default, values.boolean)

    def whole_number(self, name: str, default: int, low: int, high: int) -> int:
        return self._read(name, default, lambda value, where: values.whole_number(value, where, low, high))

    def choice(self, name: str, default: str, known: tuple[str, ...]) -> str:
        return self._read(name, default, lambda value, where: values.choice(value, where, known))

    def _read[T](self, name: str, default: T, read: Callable[[object, Where], T]) -> T:
        value = self._credentials.get(name)
        if values.is_missing(value):
            return default
        try:
            return read(value, Where(name))
        except CredentialError as exc:
            if self._exact:
                raise
            self.warn("settings_default_used", problem=str(exc), default=default)
            return default


def form_name(kind: Kind, credentials: Mapping[str, Any]) -> str:
    """The name under which this block is given: today's, or an older form's where today's is empty."""
    today = FORM_NAMES[kind]
    older = today.removesuffix(_SUFFIX)
    use_older = values.is_missing(credentials.get(today)) and not values.is_missing(credentials.get(older))
    return older if use_older else today


def _read(kind: Kind, credentials: Mapping[str, Any]) -> Block:
    name = form_name(kind, credentials)
    return read_block(kind, credentials.get(name), name)


def _read_optional(kind: Kind, credentials: Mapping[str, Any]) -> Block | None:
    return None if values.is_missing(credentials.get(form_name(kind, credentials))) else _read(kind, credentials)


def _days(name: str, credentials: Mapping[str, Any]) -> int | None:
    """A maximum age. Exact, because what it is wrong about gets deleted."""
    value = credentials.get(name)
    return None if values.is_missing(value) else values.whole_number(value, Where(name), 1, _MAX_DAYS)


def _state_db_url(credentials: Mapping[str, Any]) -> str | None:
    value = credentials.get("state_db_url")
    if values.is_missing(value):
        return None
    return values.text(value, Where("state_db_url")).strip()


def _embedding_dims(
    embedder: Block, store: Block, postgres: PgvectorConfig | None, credentials: Mapping[str, Any]
) -> int | None:
    """The length of the vectors: the embedder's word, else the store's. Two that differ are refused."""
    made = embedder.config.get("embedding_dims")
    kept = postgres.embedding_model_dims if postgres else store.config.get("embedding_model_dims")
    if made is not None and kept is not None and made != kept:
        other = Where(form_name("vector_store", credentials)).at("config.embedding_model_dims")
        place = Where(form_name("embedder", credentials)).at("config.embedding_dims")
        raise place.error("credentials_dims_differ", dims=made, other=str(other), other_dims=kept)
    return made or kept
