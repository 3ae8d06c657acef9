"""Finding memories again: search with the compiled filters, put in order by similarity and keywords, rerank.

A reranker is asked once in a search, and never costs it its answer: where it fails or takes too long, the order there
was is the answer's, and the answer says so.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from utils.aio.deadline import time_left_s
from utils.errors import CredentialError, PluginError, ServiceError
from utils.graph.relations import Relations
from utils.memory.ranking import beginnings, by_similarity_and_keywords
from utils.messages import Sentence
from utils.state.recalls import Recall
from utils.stores.protocol import Owner, Row

if TYPE_CHECKING:
    from utils.models.models import Models
    from utils.stores.filters import Condition
    from utils.stores.protocol import Question, Store

_log = logging.getLogger(__name__)

_DEPTH: Final = 100  # the nearest rows that are put in order by keywords, too
_RERANKED: Final = 3  # a reranker sees this many times top_k rows, so that it can lift one from below the cut
_MOST_RERANKED: Final = 100  # or as many, if that is less; services charge by the hundred texts
_ANSWER_S: Final = 0.3  # of a search's time, left for what comes after the reranker


@dataclass(frozen=True, slots=True)
class Page:
    """Memories of one owner as a read hands them out.

    Attributes:
        rows: the memories, in the order they are shown.
        total: how many match in all.
        pending_writes: accepted writes of the user that are still to be carried out.
        failed_writes: writes of the user that failed for good.
        recalls: what is recorded of the memories' recalls, by their ids; None when it was not asked for.
        relations: what a search found beside them in the graph.
        rerank_failure: why the reranker has not put them in order; None when it has, or there is none.
    """

    rows: list[Row]
    total: int
    pending_writes: int
    failed_writes: int
    recalls: Mapping[str, Recall] | None = None
    relations: Relations = field(default_factory=Relations)
    rerank_failure: Sentence | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """What a search finds.

    Attributes:
        rows: the memories, best first.
        rerank_failure: as in :class:`Page`.
    """

    rows: list[Row]
    rerank_failure: Sentence | None = None


async def search(
    models: Models,
    store: Store,
    query: str,
    vector: Sequence[float],
    owner: Owner,
    *,
    top_k: int,
    threshold: float | None,
    condition: Condition | None,
    keyword_order: bool,
    beside: Question | None = None,
) -> Found:
    """The owner's memories that are nearest to ``query``, best first.

    The order is that of the hundred nearest, however few are asked for: a shorter answer is the beginning of a longer
    one.

    Args:
        models: for the reranker.
        store: where the memories are.
        query: text to search for.
        vector: its embedding.
        owner: whose memories.
        top_k: how many at most.
        threshold: least similarity (0..1) a result must have; None for any.
        condition: compiled filters.
        keyword_order: whether the words of the query count beside its vector (see ``ranking``).
        beside: asked in the same round trip (see ``Store.search``).

    Raises:
        ServiceError: the store failed. A failing reranker only leaves the order there was.
    """
    wanted = max(top_k, min(top_k * _RERANKED, _MOST_RERANKED)) if models.reranks else top_k
    depth, words = (max(wanted, _DEPTH), beginnings(query)) if keyword_order else (wanted, [])
    rows = await store.search(vector, owner, depth, condition, enough=wanted, words=words, beside=beside)
    if keyword_order:
        rows = by_similarity_and_keywords(query, rows)
    if threshold is not None:
        rows = [row for row in rows if (row.score or 0.0) >= threshold]
    if models.reranks and rows:
        found = await _reranked(models, query, rows[:wanted])
        return replace(found, rows=found.rows[:top_k])
    return Found(rows[:top_k])


async def _reranked(models: Models, query: str, rows: list[Row]) -> Found:
    """``rows`` in the reranker's order; in their own when it fails, which is said in the answer and in the log."""
    left_s = time_left_s()
    patience_s = models.rerank_timeout_s if left_s is None else min(models.rerank_timeout_s, left_s - _ANSWER_S)
    try:
        async with asyncio.timeout(patience_s):
            scores = await models.rerank(query, [row.text for row in rows])
    except (ServiceError, CredentialError) as exc:
        return _not_reranked(rows, _reason(exc))
    except TimeoutError:
        return _not_reranked(rows, Sentence("reason_no_answer", {}))
    best_first = sorted(zip(scores, rows, strict=True), key=lambda pair: -pair[0])
    return Found([replace(row, rerank_score=score) for score, row in best_first])


def _not_reranked(rows: list[Row], reason: object) -> Found:
    _log.warning("reranker failed (%s); results are in the order there was", reason)
    return Found(rows, Sentence("result_rerank_failed", {"reason": reason}))


def _reason(exc: PluginError) -> object:
    """What a service's failure is, in a word; of a credential that cannot be used the whole sentence."""
    return exc.params["reason"] if isinstance(exc, ServiceError) else Sentence(exc.key, exc.params)
