"""How the vector-store classes of mem0 2.2.1 are called, and in what each of them departs from the ordinary.

:class:`StoreAdapter` is the ordinary one. What is particular about one store stands in one subclass: the engines that
run inside this process and were measured have a module each (``qdrant``, ``chroma``, ``faiss``, ``milvus``), the
servers, whose classes were only read, are together in ``servers``. ``collection`` makes the promises of ``Store`` out
of an adapter and knows no store by name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, NamedTuple

from utils.errors import ServiceError
from utils.mem0.building import build_vector_store
from utils.messages import Sentence
from utils.stores.errors import engine_errors, is_missing, unavailable

if TYPE_CHECKING:
    from utils.stores.filters import Condition

type Config = Mapping[str, Any]
UNLIMITED: Final = 1_000_000  # rows; more than any one user has, and every store takes the number


class Hit(NamedTuple):
    """A row as mem0's classes answer it: any object with these three attributes will do."""

    id: str
    payload: Mapping[str, Any]
    score: float | None = None


class StoreAdapter:
    """One collection of a vector store, called as mem0's class of it wants to be called. Synchronous.

    Args:
        store: mem0's object, or what :meth:`build` makes in its place.
        config: its configuration.

    Attributes:
        blocks: its client blocks inside C although there is a server.
        grpc: its client speaks gRPC, which hangs in a gevent-patched process until it is told of it.
        search_cap: most rows one search can answer.
        list_cap: most rows one listing can answer.
        lists: a listing shows all of an owner's rows; where not, listing and deleting a user's memories is refused.
        finds_metadata: a listing can be asked for other keys than the owner's.
        scans: :meth:`scan` can begin after an id.
        post_filters: a search looks at the owner after it has cut off at ``top_k``.
        visible_after_s: seconds for which a listing may still show what was deleted.
        merges: an update keeps the keys that the new payload does not have.
        packs: metadata the store cannot keep as they are, see ``payloads``: ``nested`` values, all but texts
            (``typed``), or every key that is not mem0's own (``all``).
        breaks_on_fences: three backticks in a stored text make the row unreadable.
        quiet_inserts: an insert that failed is only logged.
        hides_outages: ``get`` and ``list`` turn an outage into an empty answer; :meth:`is_alive` tells.
        nested_query: a search takes a list of vectors.
        not_in_ids: characters an owner's id must not hold, as the store would split or refuse it.
    """

    blocks: ClassVar[bool] = False
    grpc: ClassVar[bool] = False
    search_cap: ClassVar[int] = UNLIMITED
    list_cap: ClassVar[int] = UNLIMITED
    lists: ClassVar[bool] = True
    finds_metadata: ClassVar[bool] = True
    scans: ClassVar[bool] = False
    post_filters: ClassVar[bool] = False
    visible_after_s: ClassVar[float] = 0.0
    merges: ClassVar[bool] = False
    packs: ClassVar[Literal["nothing", "nested", "typed", "all"]] = "nothing"
    breaks_on_fences: ClassVar[bool] = False
    quiet_inserts: ClassVar[bool] = False
    hides_outages: ClassVar[bool] = False
    nested_query: ClassVar[bool] = False
    not_in_ids: ClassVar[str] = ""

    def __init__(self, store: Any, config: Config) -> None:
        self.store = store
        self.config = config

    @property
    def collection_name(self) -> str:
        """The collection, for sentences."""
        return str(getattr(self.store, "collection_name", None) or self.config.get("collection_name") or "mem0")

    # -- before there is a store

    @classmethod
    def is_embedded(cls, config: Config) -> bool:
        """Whether under ``config`` the engine runs inside this process: it then blocks inside C."""
        return False

    @classmethod
    def shared_folder(cls, config: Config) -> str | None:
        """The folder, as a canonical path, that admits one client only, which all collections in it have to share."""
        return None

    @classmethod
    def open_client(cls, folder: str) -> Any:
        """The one client of a :meth:`shared_folder`; it has a ``close``."""
        raise NotImplementedError

    @classmethod
    def build(cls, provider: str, config: Config, embedding_dims: int | None, client: Any) -> Any:
        """The store object; connects, and creates the collection, on most.

        Args:
            provider: mem0's name of the store.
            config: its configuration.
            embedding_dims: length of the vectors, where ``config`` gives none.
            client: what :meth:`open_client` opened, if the store shares one.
        """
        return build_vector_store(provider, config, embedding_dims, client)

    # -- reading

    def get(self, memory_id: str) -> Any:
        """The row with this id, or another one, or None."""
        return self.store.get(memory_id)

    def search(self, vector: list[float], filters: dict[str, Any], top_k: int) -> list[Any]:
        """The nearest ``top_k`` rows to ``vector`` among those that match ``filters``."""
        vectors = [vector] if self.nested_query else vector
        # The text goes no further than a log line of some stores.
        return _rows(self.store.search(query="", vectors=vectors, top_k=top_k, filters=filters))

    def list_rows(self, filters: dict[str, Any], limit: int) -> list[Any]:
        """Any ``limit`` of the rows that match ``filters``."""
        return _rows(self.store.list(filters=filters, top_k=limit))

    def scan(self, filters: dict[str, Any], after_id: str | None, limit: int) -> list[Any]:
        """The first ``limit`` rows that match ``filters`` with an id above ``after_id``, by id; where it ``scans``."""
        raise NotImplementedError

    def pushdown(self, condition: Condition) -> dict[str, Any]:
        """What of a condition the store is asked for beside the owner, see ``pushdown``; by default nothing."""
        return {}

    def dims(self) -> int | None:
        """Length of the collection's vectors as the engine has it; None when it cannot tell."""
        return None

    def metric(self) -> str | None:
        """The collection's metric where the engine has another than is configured; None otherwise."""
        return None

    def is_alive(self) -> bool:
        """Whether the server answers; asked where the store ``hides_outages``."""
        return True

    # -- writing

    def insert(self, ids: list[str], vectors: list[list[float]], payloads: list[dict[str, Any]]) -> None:
        """Store rows whose ids are new."""
        self.store.insert(vectors=vectors, payloads=payloads, ids=ids)

    def update(self, memory_id: str, vector: list[float], payload: dict[str, Any]) -> None:
        """Replace vector and payload of a row that is there."""
        self.store.update(memory_id, vector=vector, payload=payload)

    def delete(self, ids: Sequence[str]) -> None:
        """Delete rows; mem0's classes take one at a time."""
        for memory_id in ids:
            try:
                with engine_errors():
                    self.store.delete(memory_id)
            except ServiceError as exc:
                if exc.__cause__ is None or not is_missing(exc.__cause__):
                    raise


def _rows(answer: Any) -> list[Any]:
    """The rows of an answer: a list, a list of one list, or Qdrant's pair of list and next offset."""
    if isinstance(answer, tuple):
        answer = answer[0]
    if answer is None:
        raise unavailable(Sentence("reason_no_answer", {}))
    rows = list(answer)
    return list(rows[0]) if rows and isinstance(rows[0], list) else rows
