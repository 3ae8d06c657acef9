"""Do these credentials work? One live round trip to every part that is filled in, side by side, within 15 seconds.

It runs on parts that are built for it and closed after it, so that it neither uses nor disturbs a set that is open: no
memory is written, no accepted write is carried out. An empty collection and the empty tables of the state store are
made where they are missing, because only making them shows that this user may. A store other than pgvector comes from
the runtime's registry of open stores: an engine in a folder admits one client, and a set may have it open.

What fails is told by the credential's name in the form, with a cause a person can do something about. A part that can
be reached but is slow is let pass, with a warning in the log.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Coroutine, Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from typing import Any, Final

from utils.aio.blocking import ThreadPool, run_in_executor, use_pool
from utils.aio.gather import gather
from utils.aio.reachability import shortened
from utils.config.blocks import Block
from utils.config.settings import Settings, form_name
from utils.config.state_location import PostgresLocation
from utils.errors import (
    CredentialError,
    Overloaded,
    PluginError,
    ServiceError,
    ServiceRefused,
    ServiceRejected,
    ServiceUnavailable,
    UnusableAnswer,
)
from utils.mem0.registry import FORM_NAMES, Kind
from utils.models.models import Models
from utils.models.sdk_errors import status_of
from utils.runtime.model_answer import explain_answer
from utils.runtime.service_address import embedded_folder, explain_address, may_write
from utils.runtime.shared import Shared
from utils.state.engine import StateStore
from utils.stores.building import build_store
from utils.stores.protocol import Store

_log = logging.getLogger(__name__)

# Seconds. The embedder and then the store, as the store is asked for the length of the embedder's vectors; the others
# beside them. With the search for a cause and the close: 14 at most, of the 15 a validation may take (SPEC 2).
_EMBEDDER_S: Final = 5.0
_STORE_S: Final = 5.0
_PART_S: Final = 10.0
_EXPLAIN_S: Final = 3.0
_CLOSE_S: Final = 1.0
_PATIENCE_S: Final = 30.0  # of the SDKs: more than any part is waited for, so that a slow one is seen to be slow
_CALLS_AT_ONCE: Final = 8
_TEXT: Final = "connection check"
_TOO_MANY_REQUESTS: Final = 429
_READ_ONLY: Final = "25006"  # PostgreSQL's code for a change where none is taken
_GENERAL: Final = ("service_unavailable", "service_refused", "service_rejected", "service_unusable")
# What is said of a fault without a cause or a sentence of its own, by its kind and by what was asked.
_SENTENCES: Final[Mapping[type[ServiceError], str]] = {
    ServiceUnavailable: "check_unavailable",
    ServiceRefused: "check_key_refused",
    ServiceRejected: "check_rejected",
    UnusableAnswer: "check_unusable",
}
_PGVECTOR_SENTENCES: Final = {**_SENTENCES, **dict.fromkeys((ServiceRefused, ServiceRejected), "check_pg_collection")}
_STATE_SENTENCES: Final = {**_SENTENCES, **dict.fromkeys((ServiceRefused, ServiceRejected), "check_pg_state")}
_FILE_SENTENCES: Final = dict.fromkeys(_SENTENCES, "check_state_file")
_CODE: Final = re.compile(r"HTTP \d{3}|\w*[A-Z_]\w*( [0-9A-Z]{5})?")  # what needs no translation in a reason
_still_closing: Final[set[asyncio.Task[None]]] = set()


class PartFailed(CredentialError):
    """A part's own sentence, with the credential's name before it.

    Args:
        where: the credential's name in the form.
        cause: what the part said.
    """

    def __init__(self, where: str, cause: PluginError) -> None:
        self._where = where
        super().__init__(cause.key, **cause.params)

    def sentence(self, language: str) -> str:
        """The error as one sentence in ``language``."""
        return f"{self._where}: {super().sentence(language)}"


async def validate(settings: Settings, credentials: Mapping[str, Any], stores: Shared[Store]) -> None:
    """Ask every part that is filled in for one small thing.

    Args:
        settings: the credentials, read.
        credentials: the form's values, for the names they came under.
        stores: the stores that are open in this process.

    Raises:
        CredentialError: the first part, in the order of the form, that does not work.
    """
    pool = ThreadPool("mem0-validation", _CALLS_AT_ONCE)
    use_pool(pool)
    opened = AsyncExitStack()
    try:
        problems = await _Validation(settings, credentials, stores, opened).problems()
    finally:
        closing = asyncio.ensure_future(opened.aclose())
        _still_closing.add(closing)  # the loop itself keeps no task alive
        closing.add_done_callback(_still_closing.discard)
        await asyncio.wait([closing], timeout=_CLOSE_S)
        pool.close()
    for problem in problems:
        raise problem


class _Validation:
    """The checks of one credential set. What they open goes into ``opened``, which its owner closes."""

    def __init__(
        self, settings: Settings, credentials: Mapping[str, Any], stores: Shared[Store], opened: AsyncExitStack
    ) -> None:
        self._settings = settings
        self._names = {kind: form_name(kind, credentials) for kind in FORM_NAMES}
        self._stores = stores
        self._opened = opened
        self._dims: int | None = None

    async def problems(self) -> list[CredentialError]:
        """Everything that does not work, in the order of the form."""
        found = await gather(self._llm(), self._vectors(), self._graph(), self._reranker(), self._state())
        return [problem for problem in found if problem is not None]

    # -- models

    async def _llm(self) -> CredentialError | None:
        return await self._checked_model("llm", self._settings.llm, _PART_S, self._complete())

    async def _complete(self) -> None:
        """One completion of one token; with the block's own limit where a model refuses so short an answer."""
        block = self._settings.llm
        try:
            await self._complete_with(block.model_copy(update={"config": block.config | {"max_tokens": 1}}))
        except (ServiceRejected, UnusableAnswer):
            await self._complete_with(block)

    async def _complete_with(self, llm: Block) -> None:
        chat_model = await self._models(llm=llm).chat_model()
        await run_in_executor(chat_model.ping)

    async def _embed(self) -> None:
        self._dims = len(await self._models(embedder=self._settings.embedder).embed(_TEXT))

    async def _reranker(self) -> CredentialError | None:
        block = self._settings.reranker
        if block is None:
            return None
        return await self._checked_model("reranker", block, _PART_S, self._rerank(block))

    async def _rerank(self, block: Block) -> None:
        await self._models(reranker=block).rerank(_TEXT, [_TEXT])

    def _models(self, **blocks: Block) -> Models:
        """Models of the validation's own. One object per part: a part that loads long would hold the others up."""
        patient = {kind: block.model_copy(update={"timeout_s": _PATIENCE_S}) for kind, block in blocks.items()}
        models = Models(self._settings.model_copy(update=patient))
        self._opened.callback(models.close)
        return models

    async def _checked_model(
        self, kind: Kind, block: Block, timeout_s: float, work: Coroutine[Any, Any, None]
    ) -> CredentialError | None:
        where = self._names[kind]
        explain = partial(explain_address, block.config, where)
        return await _checked(where, timeout_s, work, explain, judge=partial(explain_answer, kind, block.config, where))

    # -- where memories live

    async def _vectors(self) -> CredentialError | None:
        """The embedder, then the store with the length of its vectors."""
        where, embedder = self._names["vector_store"], self._settings.embedder
        problem = await self._checked_model("embedder", embedder, _EMBEDDER_S, self._embed())
        if self._settings.pgvector is not None:
            conninfo = self._settings.pgvector.conninfo
            store_problem = await _checked(
                where,
                _STORE_S,
                self._check_pgvector(),
                lambda: _explain_connection(conninfo, where),
                _PGVECTOR_SENTENCES,
            )
            return problem or store_problem
        if problem is not None:
            return problem  # most stores make their collection when they are opened: not of a doubtful length
        block = self._settings.vector_store
        if (folder := embedded_folder(block.config)) and not may_write(folder):
            return CredentialError("check_store_folder", where=where, folder=shortened(folder))
        return await self._checked_model("vector_store", block, _STORE_S, self._check_other_store())

    async def _check_pgvector(self) -> None:
        from utils.stores.pgvector.store import PgvectorStore

        assert self._settings.pgvector is not None  # noqa: S101 - for the type checker; the caller asked
        # Neither length of the form counts here: a table is made for vectors as the embedder makes them, or not at all.
        config = replace(self._settings.pgvector, minconn=0, embedding_model_dims=None)
        store = PgvectorStore(config, None, int(_STORE_S * 1000))
        self._opened.push_async_callback(store.close)
        await store.check(self._dims)

    async def _check_other_store(self) -> None:
        key, dims = self._settings.identity.connection, self._dims or self._settings.embedding_dims
        settings = self._settings.model_copy(update={"embedding_dims": dims})
        store = await self._stores.acquire(key, lambda: build_store(settings))
        self._opened.push_async_callback(self._stores.release, key)
        await store.check(dims)

    async def _graph(self) -> CredentialError | None:
        block = self._settings.graph
        if block is None:
            return None
        from utils.graph.store import GraphStore

        store = GraphStore(block.provider, block.config, "", _PATIENCE_S)
        self._opened.push_async_callback(store.close)
        return await self._checked_model("graph", block, _PART_S, store.check())

    # -- the state store

    async def _state(self) -> CredentialError | None:
        location = self._settings.identity.state
        derived = self._settings.state_db_url is None and self._settings.pgvector is not None
        where = self._names["vector_store"] if derived else "state_db_url"
        state = StateStore(location)
        self._opened.push_async_callback(state.close)
        if isinstance(location, PostgresLocation):
            return await _checked(
                where,
                _PART_S,
                state.open(),
                lambda: _explain_connection(location.conninfo, where),
                _STATE_SENTENCES,
            )
        return await _checked(where, _PART_S, state.open(), lambda: None, _FILE_SENTENCES)


async def _checked(
    where: str,
    timeout_s: float,
    work: Coroutine[Any, Any, None],
    explain: Callable[[], CredentialError | None],
    sentences: Mapping[type[ServiceError], str] = _SENTENCES,
    judge: Callable[[ServiceError], CredentialError | None] = lambda _: None,
) -> CredentialError | None:
    """What is wrong with a part, if anything.

    Args:
        where: the credential's name in the form.
        timeout_s: seconds after which the part is slow.
        work: asks the part for one small thing.
        explain: looks for the cause of a failed connection; blocks.
        sentences: for faults without a cause or a sentence of their own.
        judge: finds the cause in what came back.
    """
    try:
        async with asyncio.timeout(timeout_s):
            await work
    except TimeoutError:
        problem = await _explained(explain)
        if problem is None:
            _log.warning("%s: no answer within %.0f s while it was checked; let pass", where, timeout_s)
        return problem
    except ServiceError as exc:
        problem = judge(exc)
        if problem is None and isinstance(exc, ServiceUnavailable | ServiceRefused):
            problem = await _explained(explain)
        if problem is None and _is_only_slow(exc):
            _log.warning("%s: the service was busy while it was checked (%s); let pass", where, exc.reason)
            return None
        return problem or _service_problem(where, exc, sentences)
    except CredentialError as exc:
        return exc
    except Overloaded as exc:
        _log.warning("%s: the service was busy while it was checked (%s); let pass", where, exc)
    return None


def _is_only_slow(exc: ServiceError) -> bool:
    """Whether the service knows these credentials but has no time, or takes long to begin: a database that slept."""
    too_many = exc.__cause__ is not None and status_of(exc.__cause__) == _TOO_MANY_REQUESTS
    return isinstance(exc, ServiceUnavailable) and (too_many or exc.reason == "ConnectionTimeout")


async def _explained(explain: Callable[[], CredentialError | None]) -> CredentialError | None:
    try:
        async with asyncio.timeout(_EXPLAIN_S):
            return await run_in_executor(explain)
    except TimeoutError:
        return None


def _explain_connection(conninfo: str, where: str) -> CredentialError | None:
    from utils.stores.pgvector.diagnosis import explain_connection

    return explain_connection(conninfo, where)


def _service_problem(where: str, exc: ServiceError, sentences: Mapping[type[ServiceError], str]) -> CredentialError:
    """A part's fault as a sentence about its credential: its own where it has one."""
    if exc.key not in _GENERAL:
        return PartFailed(where, exc)
    if _READ_ONLY in exc.reason:
        return PartFailed(where, ServiceRejected("store_read_only", part=exc.part, reason=exc.reason))
    codes = [code for code in exc.reason.split(", ") if _CODE.fullmatch(code)]
    return CredentialError(sentences[type(exc)], where=where, reason=", ".join(codes) or exc.code)
