"""One collection of a mem0 store, made to keep the promises of ``Store``; synchronous, called on the connection's
thread.

The store is sent the owner as plain equality, and of a filter only what it is known to understand: no id of a caller's
choosing that it could take for a wildcard or a query. What comes back is compared with the owner again, filtered by
``Condition.matches``, and asked for in growing numbers until ``top_k`` is full or the owner's rows are exhausted. Where
a store hides an outage as an empty answer, an empty answer is believed only after the server has proved to be alive.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from utils.errors import CannotList
from utils.messages import Sentence
from utils.stores.errors import PART, rejected, unavailable
from utils.stores.mem0.adapter import StoreAdapter
from utils.stores.mem0.payloads import decode, encode, without_leftovers
from utils.stores.protocol import Owner, Row
from utils.stores.scores import Scale, unit
from utils.stores.values import is_encodable, is_memory_id, newest_first
from utils.stores.visibility import is_expired, is_memory

if TYPE_CHECKING:
    from utils.stores.filters import Condition

_LARGEST: Final = 3.4028234e38  # of single precision, which every engine stores
_GROWTH: Final = 4  # each further try asks for this many times more: at most a third is asked twice
_FIRST_LISTING: Final = 1000
_NOBODY: Final = Owner("00000000-0000-0000-0000-000000000000")


class Collection:
    """The operations of ``Store`` over one adapter.

    Args:
        adapter: the store, and how it departs from the ordinary.
        provider: mem0's name of it, for sentences.
        scale: what its scores mean.
    """

    def __init__(self, adapter: StoreAdapter, provider: str, scale: Scale) -> None:
        self._adapter = adapter
        self._provider = provider
        self._scale = scale
        self._dims: int | None = None

    # -- reading

    def get(self, memory_id: str) -> Row | None:
        """See ``Store.get``."""
        found = self._get(memory_id)
        row = None if found is None else self._row(found)
        return row if row is not None and is_memory(row.payload) else None

    def search(
        self, vector: Sequence[float], owner: Owner, top_k: int, condition: Condition | None, enough: int | None = None
    ) -> list[Row]:
        """See ``Store.search``."""
        query = self._vector(vector)
        if top_k < 1 or not self._storable(owner):
            return []
        asked = self._capped(top_k if condition is None else top_k * _GROWTH)
        rows, complete = self._nearest(query, owner, asked, condition)
        enough = top_k if enough is None else min(enough, top_k)
        wanted = enough if complete or len(rows) >= enough else self._reachable(owner, enough, condition)
        while not complete and len(rows) < wanted:
            asked = self._capped(asked * _GROWTH)
            rows, complete = self._nearest(query, owner, asked, condition)
        if not rows:
            self._make_sure_it_is_alive()
        return sorted(rows, key=lambda row: -(row.score or 0.0))[:top_k]

    def page(self, owner: Owner, limit: int, offset: int, condition: Condition | None) -> tuple[list[Row], int]:
        """See ``Store.page``.

        Raises:
            CannotList: the store cannot list, or the owner has more rows than it lists.
        """
        rows = _matching(self._all(owner, condition), condition)
        rows.sort(key=lambda row: newest_first(row.payload, row.id))
        start = max(offset, 0)
        return rows[start : start + max(limit, 0)], len(rows)

    def scan(self, owner: Owner, after_id: str | None, limit: int) -> list[Row]:
        """See ``Store.scan``.

        Raises:
            CannotList: the store cannot list, or cannot go on, as the owner has more rows than it lists. The first
                page is answered all the same: who deletes what it holds and asks again gets to the end.
        """
        self._must_list()
        if limit < 1 or not self._storable(owner):
            return []
        page = self._engine_page if self._adapter.scans else self._listing_page
        rows = page(owner, after_id, limit)
        if rows:
            return rows
        if after_id is None:
            self._confirm_empty(owner, None)
        else:
            self._make_sure_it_is_alive()
        return []

    def internal_rows(self, kinds: Sequence[str], after_id: str | None, limit: int) -> list[Row]:
        """See ``Store.internal_rows``."""
        if not (self._adapter.lists and self._adapter.finds_metadata):
            return []
        found = [self._row(hit) for kind in kinds for hit in self._listed({"internal_type": kind})[0]]
        if not found:
            self._make_sure_it_is_alive()
        rows = {row.id: row for row in found if not is_memory(row.payload)}
        return [rows[row_id] for row_id in sorted(rows) if after_id is None or row_id > after_id][:limit]

    def check(self, dims: int | None) -> None:
        """See ``Store.check``."""
        if dims is not None:
            self._fits(dims, asked_now=True)
        metric = self._adapter.metric()
        if metric is not None:
            raise rejected("store_other_metric", "metric", collection=self._adapter.collection_name, found=metric)
        if self._adapter.hides_outages:
            self._make_sure_it_is_alive()
        elif self._adapter.lists:
            self._adapter.list_rows(self._filters(_NOBODY), 1)

    # -- writing

    def insert(self, rows: Sequence[Row], vectors: Sequence[Sequence[float]]) -> None:
        """See ``Store.insert``."""
        fresh: dict[str, tuple[list[float], dict[str, Any]]] = {}
        for row, vector in zip(rows, vectors, strict=True):
            prepared = self._vector(vector), self._payload(row)
            if row.id not in fresh and self._find(row.id) is None:
                fresh[row.id] = prepared
        if not fresh:
            return
        self._make_sure_it_is_alive()
        prepared_vectors, payloads = map(list, zip(*fresh.values(), strict=True))
        self._adapter.insert(list(fresh), prepared_vectors, payloads)
        if self._adapter.quiet_inserts and any(self._find(memory_id) is None for memory_id in fresh):
            raise unavailable(Sentence("reason_not_confirmed", {}))

    def update(self, row: Row, vector: Sequence[float]) -> None:
        """See ``Store.update``: always vector and payload, as one alone loses the other on some stores."""
        prepared, payload = self._vector(vector), self._payload(row)
        found = self._get(row.id)
        if found is None:
            return
        if self._adapter.merges:
            payload = without_leftovers(payload, found.payload or {})
        self._adapter.update(row.id, prepared, payload)

    def delete(self, memory_ids: Sequence[str]) -> None:
        """See ``Store.delete``."""
        known = list(filter(is_memory_id, memory_ids))
        if known:
            self._adapter.delete(known)

    # -- what the store is asked

    def _get(self, memory_id: str) -> Any:
        """The store's own row with exactly this id; None only when the server says so."""
        found = self._find(memory_id)
        if found is None and is_memory_id(memory_id):
            self._make_sure_it_is_alive()
        return found

    def _find(self, memory_id: str) -> Any:
        """The same, but None may also mean an outage."""
        found = self._adapter.get(memory_id) if is_memory_id(memory_id) else None
        return found if found is not None and str(found.id) == memory_id else None

    def _nearest(
        self, query: list[float], owner: Owner, asked: int, condition: Condition | None
    ) -> tuple[list[Row], bool]:
        """The rows that count among the nearest ``asked`` of the store, and whether asking for more would be vain."""
        hits = self._adapter.search(query, self._filters(owner, condition), asked)
        exhausted = len(hits) < asked and not self._adapter.post_filters
        return _matching(self._owned(owner, hits), condition), exhausted or asked == self._adapter.search_cap

    def _capped(self, count: int) -> int:
        return min(count, self._adapter.search_cap)

    def _filters(self, owner: Owner, condition: Condition | None = None) -> dict[str, Any]:
        """The store's filter; a new one each time, some stores change what they are given. The owner always wins."""
        agent = {} if owner.agent_id is None else {"agent_id": owner.agent_id}
        narrowed = {} if condition is None else self._adapter.pushdown(condition)
        return {**narrowed, "user_id": owner.user_id, **agent}

    def _all(self, owner: Owner, condition: Condition | None) -> list[Row]:
        """All of the owner's rows that the store does not know to be others than are asked for, each once.

        Raises:
            CannotList: the store cannot list, or not so many.
        """
        self._must_list()
        if not self._storable(owner):
            return []
        rows, complete = self._listing(owner, condition)
        if not complete:
            raise self._cannot_list()
        if not rows:
            self._confirm_empty(owner, condition)
        return rows

    def _listing(self, owner: Owner, condition: Condition | None) -> tuple[list[Row], bool]:
        """The owner's rows as far as the store lists them, and whether that is all."""
        listed, complete = self._listed(self._filters(owner, condition))
        return self._owned(owner, listed), complete

    def _listed(self, filters: dict[str, Any]) -> tuple[list[Any], bool]:
        """What matches ``filters`` as far as the store lists it, and whether that is all."""
        cap = self._adapter.list_cap
        asked = min(_FIRST_LISTING, cap)
        listed = self._adapter.list_rows(dict(filters), asked)
        while len(listed) >= asked and asked < cap:
            asked = min(asked * _GROWTH, cap)
            listed = self._adapter.list_rows(dict(filters), asked)
        return listed, len(listed) < asked

    def _listing_page(self, owner: Owner, after_id: str | None, limit: int) -> list[Row]:
        """A page of :meth:`scan` out of a listing of everything, for a store that cannot begin at an id."""
        rows, complete = self._listing(owner, None)
        if not complete and (after_id is not None or not rows):
            raise self._cannot_list()
        return sorted((row for row in rows if after_id is None or row.id > after_id), key=lambda row: row.id)[:limit]

    def _engine_page(self, owner: Owner, after_id: str | None, limit: int) -> list[Row]:
        """A page of :meth:`scan` as the store gives it, read on where it holds nothing of the owner's."""
        while hits := self._adapter.scan(self._filters(owner), after_id, limit):
            if rows := self._owned(owner, hits):
                return rows
            after_id = str(hits[-1].id)
        return []

    def _reachable(self, owner: Owner, top_k: int, condition: Condition | None) -> int:
        """How many rows a search can bring that is cut off before it looks at the owner: what a listing shows."""
        if not (self._adapter.post_filters and self._adapter.lists):
            return top_k
        rows, complete = self._listing(owner, condition)
        return min(top_k, len(_matching(rows, condition))) if complete else top_k

    # -- what comes back

    def _owned(self, owner: Owner, found: Sequence[Any]) -> list[Row]:
        """The memories that are the owner's, each id once, the first one counting."""
        found_rows = map(self._row, reversed(found))
        rows = {row.id: row for row in found_rows if owner.owns(row.payload) and is_memory(row.payload)}
        return list(reversed(rows.values()))

    def _row(self, found: Any) -> Row:
        score = getattr(found, "score", None)
        payload = decode(found.payload, self._adapter)
        return Row(str(found.id), payload, None if score is None else self._scale.similarity(float(score)))

    def _confirm_empty(self, owner: Owner, condition: Condition | None) -> None:
        """A listing that came back empty: some stores answer that to an outage, or to a query they refuse."""
        self._make_sure_it_is_alive()
        if not self._adapter.hides_outages or self._dims is None:
            return
        found, _ = self._nearest([1.0] + [0.0] * (self._dims - 1), owner, 1, condition)
        if found:
            raise self._cannot_list()

    def _make_sure_it_is_alive(self) -> None:
        if not self._adapter.is_alive():
            raise unavailable(Sentence("reason_no_answer", {}))

    # -- what goes in

    def _vector(self, vector: Sequence[float]) -> list[float]:
        self._fits(len(vector))
        values = [float(value) for value in vector]
        if not all(abs(value) <= _LARGEST for value in values):  # false for NaN, too
            raise rejected("store_bad_row", "vector")
        return unit(values) if self._scale.unit else values

    def _payload(self, row: Row) -> dict[str, Any]:
        owner = Owner(str(row.payload.get("user_id") or ""), row.payload.get("agent_id"))
        if not is_memory_id(row.id) or not self._storable(owner):
            raise rejected("store_bad_row", "id")
        return encode(row.payload, self._adapter)

    def _fits(self, dims: int, *, asked_now: bool = False) -> None:
        """Compare with the engine's length (some engines fail half-way through a change), else the configured one."""
        if self._dims is None or asked_now:
            self._dims = self._adapter.dims() or self._adapter.config.get("embedding_model_dims")
        if self._dims is not None and self._dims != dims:
            raise rejected(
                "store_other_dims",
                "dimensions",
                collection=self._adapter.collection_name,
                found=dims,
                expected=self._dims,
            )

    def _storable(self, owner: Owner) -> bool:
        """Whether these ids can be sent to the store and mean themselves there; others own nothing."""
        return all(
            text.strip() not in ("", "*")
            and is_encodable(text)
            and not any(ord(char) < ord(" ") or char == "\x7f" or char in self._adapter.not_in_ids for char in text)
            for text in (owner.user_id, *(() if owner.agent_id is None else (owner.agent_id,)))
        )

    def _must_list(self) -> None:
        if not self._adapter.lists:
            raise self._cannot_list()

    def _cannot_list(self) -> CannotList:
        return CannotList("store_cannot_list", part=PART, reason="list", provider=self._provider)


def _matching(rows: Sequence[Row], condition: Condition | None) -> list[Row]:
    """Those that satisfy the condition and have not expired."""
    shown = (row for row in rows if not is_expired(row.payload))
    return [row for row in shown if condition is None or condition.matches(row.payload)]
