"""One collection of a mem0 store object, made to keep the promises of ``Store``; synchronous, called on the engine's
thread.

The store is sent the owner as plain equality, and of a filter only what it is known to understand: no id of a caller's
choosing that it could take for a wildcard or a query. What comes back is compared with the owner again, filtered by
``Condition.matches``, and asked for in growing numbers until ``top_k`` is full or the owner's rows are exhausted. Where
a store hides an outage as an empty answer, an empty answer is believed only after the server has proved to be alive.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from utils.stores.errors import is_missing, rejected, unavailable
from utils.stores.mem0.payloads import decode, encode, without_leftovers
from utils.stores.mem0.traits import StoreTraits
from utils.stores.protocol import Owner, Row
from utils.stores.scores import Scale, unit
from utils.stores.values import is_encodable, is_memory_id, newest_first

if TYPE_CHECKING:
    from utils.stores.filters import Condition

_LARGEST: Final = 3.4028234e38  # of single precision, which every engine stores
_GROWTH: Final = 4  # each further try asks for this many times more: at most a third is asked twice
_FIRST_LISTING: Final = 1000


class Collection:
    """The operations of ``Store`` over a store object of mem0.

    Args:
        store: the object.
        provider: mem0's name of it, for sentences.
        config: its configuration.
        traits: how it departs from the ordinary.
        scale: what its scores mean.
    """

    def __init__(self, store: Any, provider: str, config: Mapping[str, Any], traits: StoreTraits, scale: Scale) -> None:
        self._store = store
        self._provider = provider
        self._config = config
        self._traits = traits
        self._scale = scale
        self._dims: int | None = None

    # -- reading

    def get(self, memory_id: str) -> Row | None:
        """See ``Store.get``."""
        found = self._get(memory_id)
        return None if found is None else self._row(found)

    def search(self, vector: Sequence[float], owner: Owner, top_k: int, condition: Condition | None) -> list[Row]:
        """See ``Store.search``."""
        query = self._vector(vector)
        if top_k < 1 or not self._storable(owner):
            return []
        rows: list[Row] = []
        reachable = top_k
        for tries, asked in enumerate(self._growing(top_k if condition is None else top_k * _GROWTH)):
            hits = self._query(query, owner, asked, condition)
            rows = _matching(self._owned(owner, hits), condition)
            if tries == 0 and len(rows) < top_k:
                reachable = self._reachable(owner, top_k, condition)
            if len(rows) >= reachable or (len(hits) < asked and not self._traits.post_filters):
                break
        if not rows:
            self._make_sure_it_is_alive()
        return sorted(rows, key=lambda row: -(row.score or 0.0))[:top_k]

    def page(self, owner: Owner, limit: int, offset: int, condition: Condition | None) -> tuple[list[Row], int]:
        """See ``Store.page``.

        Raises:
            ServiceRejected: the store cannot list, or the owner has more rows than it lists.
        """
        rows = _matching(self._all(owner, condition), condition)
        rows.sort(key=lambda row: newest_first(row.payload, row.id))
        start = max(offset, 0)
        return rows[start : start + max(limit, 0)], len(rows)

    def scan(self, owner: Owner, after_id: str | None, limit: int) -> list[Row]:
        """See ``Store.scan``; each page lists all of the owner's rows.

        Where the store lists no more than some at a time, only the start can be asked for: that is enough to delete
        them all.
        """
        self._must_list()
        if limit < 1 or not self._storable(owner):
            return []
        rows, complete = self._listing(owner, None)
        if not complete and (after_id is not None or not rows):
            raise self._cannot_list()
        if not rows:
            self._confirm_empty(owner, None)
        return sorted((row for row in rows if row.id > (after_id or "")), key=lambda row: row.id)[:limit]

    def check(self, dims: int | None) -> None:
        """See ``Store.check``."""
        if dims is not None:
            self._fits(dims, asked_now=True)
        metric = self._traits.metric(self._store, self._config)
        if metric is not None:
            raise rejected("store_other_metric", "metric", collection=self._name(), found=metric)
        if self._traits.alive is not None:
            self._make_sure_it_is_alive()
        elif self._traits.lists:
            self._list(Owner("00000000-0000-0000-0000-000000000000"), max(1, self._traits.list_at_least))

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
        self._store.insert(
            vectors=[vector for vector, _ in fresh.values()],
            payloads=[payload for _, payload in fresh.values()],
            ids=list(fresh),
        )
        if self._traits.quiet_inserts and any(self._find(memory_id) is None for memory_id in fresh):
            raise unavailable("insert not confirmed")

    def update(self, row: Row, vector: Sequence[float]) -> None:
        """See ``Store.update``: always vector and payload, as one alone loses the other on some stores."""
        prepared, payload = self._vector(vector), self._payload(row)
        found = self._get(row.id)
        if found is None:
            return
        if self._traits.merges:
            payload = without_leftovers(payload, found.payload or {})
        self._store.update(row.id, vector=prepared, payload=payload)

    def delete(self, memory_ids: Sequence[str]) -> None:
        """See ``Store.delete``."""
        known = list(filter(is_memory_id, memory_ids))
        if self._traits.delete is not None:
            if known:
                self._traits.delete(self._store, known)
            return
        for memory_id in known:
            try:
                self._store.delete(memory_id)
            except Exception as exc:
                if not is_missing(exc):
                    raise

    # -- what the store is asked

    def _get(self, memory_id: str) -> Any:
        """The store's own row with exactly this id; None only when the server says so."""
        found = self._find(memory_id)
        if found is None and is_memory_id(memory_id):
            self._make_sure_it_is_alive()
        return found

    def _find(self, memory_id: str) -> Any:
        """The same, but None may also mean an outage."""
        if not is_memory_id(memory_id):
            return None
        try:
            found = self._store.get(memory_id)
        except KeyError:
            if self._traits.missing_is_key_error:
                return None
            raise
        return found if found is not None and str(found.id) == memory_id else None

    def _query(self, vector: list[float], owner: Owner, asked: int, condition: Condition | None = None) -> list[Any]:
        vectors = [vector] if self._traits.nested_query else vector
        # The text goes no further than a log line of some stores.
        return _rows(self._store.search(query="", vectors=vectors, top_k=asked, filters=self._asked(owner, condition)))

    def _list(self, owner: Owner, asked: int, condition: Condition | None = None) -> list[Any]:
        return _rows(self._store.list(filters=self._asked(owner, condition), top_k=asked))

    def _asked(self, owner: Owner, condition: Condition | None) -> dict[str, Any]:
        """The store's filter; a new one each time, some stores change what they are given. The owner always wins."""
        agent = {} if owner.agent_id is None else {"agent_id": owner.agent_id}
        narrowed = {} if condition is None else self._traits.narrows(condition)
        return {**narrowed, "user_id": owner.user_id, **agent}

    def _all(self, owner: Owner, condition: Condition | None) -> list[Row]:
        """All of the owner's rows that the store does not know to be others than are asked for, each once.

        Raises:
            ServiceRejected: the store cannot list, or not so many.
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
        listed: list[Any] = []
        for asked in self._growing(max(_FIRST_LISTING, self._traits.list_at_least), self._traits.list_cap):
            listed = self._list(owner, asked, condition)
            if len(listed) < asked:
                return self._owned(owner, listed), True
        return self._owned(owner, listed), False

    def _reachable(self, owner: Owner, top_k: int, condition: Condition | None) -> int:
        """How many rows a search can bring that is cut off before it looks at the owner: what a listing shows."""
        if not (self._traits.post_filters and self._traits.lists):
            return top_k
        rows, complete = self._listing(owner, condition)
        return min(top_k, len(_matching(rows, condition))) if complete else top_k

    def _growing(self, first: int, cap: int | None = None) -> Iterator[int]:
        """Growing numbers to ask for, up to ``cap``, which is the most that a search answers unless given."""
        cap = self._traits.search_cap if cap is None else cap
        asked = min(first, cap)
        yield asked
        while asked < cap:
            asked = min(asked * _GROWTH, cap)
            yield asked

    # -- what comes back

    def _owned(self, owner: Owner, found: Sequence[Any]) -> list[Row]:
        """The rows that are the owner's, each id once, the first one counting."""
        rows = {row.id: row for row in map(self._row, reversed(found)) if owner.owns(row.payload)}
        return list(reversed(rows.values()))

    def _row(self, found: Any) -> Row:
        score = getattr(found, "score", None)
        payload = decode(found.payload, self._traits)
        return Row(str(found.id), payload, None if score is None else self._scale.similarity(float(score)))

    def _confirm_empty(self, owner: Owner, condition: Condition | None) -> None:
        """A listing that came back empty: some stores answer that to an outage, or to a query they refuse."""
        self._make_sure_it_is_alive()
        if self._traits.alive is None or self._dims is None:
            return
        if self._owned(owner, self._query([1.0] + [0.0] * (self._dims - 1), owner, 1, condition)):
            raise self._cannot_list()

    def _make_sure_it_is_alive(self) -> None:
        if self._traits.alive is not None and not self._traits.alive(self._store):
            raise unavailable("no answer")

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
        return encode(row.payload, self._traits)

    def _fits(self, dims: int, *, asked_now: bool = False) -> None:
        """Compare with the engine's length (FAISS deletes a row it cannot update), else the configured one."""
        if self._dims is None or asked_now:
            self._dims = self._traits.dims(self._store) or self._config.get("embedding_model_dims")
        if self._dims is not None and self._dims != dims:
            raise rejected("store_other_dims", "dimensions", collection=self._name(), found=dims, expected=self._dims)

    def _storable(self, owner: Owner) -> bool:
        """Whether these ids can be sent to the store and mean themselves there; others own nothing."""
        return all(
            text.strip() not in ("", "*")
            and is_encodable(text)
            and not any(ord(char) < ord(" ") or char == "\x7f" or char in self._traits.not_in_ids for char in text)
            for text in (owner.user_id, *(() if owner.agent_id is None else (owner.agent_id,)))
        )

    def _must_list(self) -> None:
        if not self._traits.lists:
            raise self._cannot_list()

    def _cannot_list(self) -> Exception:
        return rejected("store_cannot_list", "list", provider=self._provider)

    def _name(self) -> str:
        return str(getattr(self._store, "collection_name", None) or self._config.get("collection_name") or "mem0")


def _matching(rows: Sequence[Row], condition: Condition | None) -> list[Row]:
    return [row for row in rows if condition is None or condition.matches(row.payload)]


def _rows(answer: Any) -> list[Any]:
    """The rows of an answer: a list, a list of one list, or Qdrant's pair of list and next offset."""
    if isinstance(answer, tuple):
        answer = answer[0]
    if answer is None:
        raise unavailable("no answer")
    rows = list(answer)
    return list(rows[0]) if rows and isinstance(rows[0], list) else rows
