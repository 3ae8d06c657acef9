"""Finding memories again: embed, search with the compiled filters, put in order by similarity and keywords, rerank."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from utils.errors import ServiceError
from utils.memory.ranking import beginnings, by_similarity_and_keywords
from utils.state.recalls import Recall
from utils.stores.protocol import Owner, Row

if TYPE_CHECKING:
    from utils.models.models import Models
    from utils.stores.filters import Condition
    from utils.stores.protocol import Question, Store

_log = logging.getLogger(__name__)

_DEPTH: Final = 100  # the nearest rows that are put in order by keywords, too
_RERANKED: Final = 3  # a reranker sees this many times top_k rows, so that it can lift one from below the cut


@dataclass(frozen=True, slots=True)
class Page:
    """Memories of one owner as a read hands them out.

    Attributes:
        rows: the memories, in the order they are shown.
        total: how many match in all.
        pending_writes: accepted writes of the user that are still to be carried out.
        failed_writes: writes of the user that failed for good.
        recalls: what is recorded of the memories' recalls, by their ids; None when it was not asked for.
    """

    rows: list[Row]
    total: int
    pending_writes: int
    failed_writes: int
    recalls: Mapping[str, Recall] | None = None


async def search(
    models: Models,
    store: Store,
    query: str,
    owner: Owner,
    *,
    top_k: int,
    threshold: float | None,
    condition: Condition | None,
    keyword_order: bool,
    beside: Question | None = None,
) -> list[Row]:
    """The owner's memories that are nearest to ``query``, best first.

    The order is that of the hundred nearest, however few are asked for: a shorter answer is the beginning of a longer
    one.

    Args:
        models: embedder and reranker.
        store: where the memories are.
        query: text to search for.
        owner: whose memories.
        top_k: how many at most.
        threshold: least similarity (0..1) a result must have; None for any.
        condition: compiled filters.
        keyword_order: whether the words of the query count beside its vector (see ``ranking``).
        beside: asked in the same round trip (see ``Store.search``).

    Raises:
        ServiceError: embedder or store failed. A failing reranker only leaves the order there was.
    """
    vector = await models.embed(query)
    wanted = top_k * _RERANKED if models.reranks else top_k
    depth, words = (max(wanted, _DEPTH), beginnings(query)) if keyword_order else (wanted, [])
    rows = await store.search(vector, owner, depth, condition, enough=wanted, words=words, beside=beside)
    if keyword_order:
        rows = by_similarity_and_keywords(query, rows)
    if threshold is not None:
        rows = [row for row in rows if (row.score or 0.0) >= threshold]
    if models.reranks and rows:
        rows = await _reranked(models, query, rows[:wanted])
    return rows[:top_k]


async def _reranked(models: Models, query: str, rows: list[Row]) -> list[Row]:
    """``rows`` in the reranker's order; in their own when it fails, which is said in the log."""
    try:
        async with asyncio.timeout(models.rerank_timeout_s):
            scores = await models.rerank(query, [row.text for row in rows])
    except (ServiceError, TimeoutError) as exc:
        reason = exc.reason if isinstance(exc, ServiceError) else f"no answer within {models.rerank_timeout_s:g} s"
        _log.warning("reranker failed (%s); results are in the order there was", reason)
        return rows
    best_first = sorted(zip(scores, rows, strict=True), key=lambda pair: -pair[0])
    return [replace(row, rerank_score=score) for score, row in best_first]
