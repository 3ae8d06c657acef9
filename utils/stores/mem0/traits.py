"""What is particular about each vector store of mem0 2.2.1, in one table; everything not in it is a
:class:`StoreTraits` default.

The table is what was measured on the stores that run without a server (Qdrant, Chroma, FAISS, Milvus Lite) and read in
mem0's classes for the others. ``mem0_store`` reads it and knows no provider by name.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from utils.stores.mem0.narrowing import equalities

if TYPE_CHECKING:
    from utils.stores.filters import Condition

type Config = Mapping[str, Any]
_SAME_VECTOR: Final = 0.01  # more than rounding makes of a distance of 0, far less than a cosine of 1
UNLIMITED: Final = 1_000_000  # rows; more than any one user has, and every store takes the number


@dataclass(frozen=True, slots=True)
class StoreTraits:
    """How one store departs from the ordinary.

    Attributes:
        embedded: under this configuration the engine runs in this process, over a folder or file that is its alone. It
            then blocks inside C or breaks under concurrency, unless it is reached by gRPC all the same.
        blocks: its client blocks inside C although there is a server.
        grpc: its client speaks gRPC, which hangs in a gevent-patched process until it is told of it.
        search_cap: most rows one search can answer.
        list_cap: most rows one listing can answer.
        list_at_least: ask no listing for fewer: it cuts off before it looks at the owner.
        lists: a listing shows all of an owner's rows; where not, listing and deleting a user's memories is refused.
        post_filters: a search looks at the owner after it has cut off at ``top_k``.
        merges: an update keeps the keys that the new payload does not have.
        packs: metadata the store cannot keep as they are, see ``store_payloads``: ``nested`` values, all but texts
            (``typed``), or every key that is not mem0's own (``all``).
        pack_key: the payload key under which these are kept as JSON.
        breaks_on_fences: three backticks in a stored text make the row unreadable.
        missing_is_key_error: ``get`` of an unknown id raises ``KeyError``.
        quiet_inserts: an insert that failed is only logged.
        nested_query: a search takes a list of vectors.
        narrows: what of a filter the store is asked for, too, see ``store_filters``; by default nothing.
        not_in_ids: characters an owner's id must not hold, as the store would split or refuse it.
        delete: deletes many rows in one call of the client's own; mem0's classes delete one at a time.
        alive: True when the server answers; given where ``get`` and ``list`` turn an outage into an empty answer.
        dims: vector length of the collection as the engine has it; None when it cannot tell.
        metric: the collection's metric where the engine has another than is configured; None otherwise.
        note: what a user of this store should know.
    """

    embedded: Callable[[Config], bool] = lambda config: False
    blocks: bool = False
    grpc: bool = False
    search_cap: int = UNLIMITED
    list_cap: int = UNLIMITED
    list_at_least: int = 1
    lists: bool = True
    post_filters: bool = False
    merges: bool = False
    packs: Literal["nothing", "nested", "typed", "all"] = "nothing"
    pack_key: str = "mem0_dify_json"
    breaks_on_fences: bool = False
    missing_is_key_error: bool = False
    quiet_inserts: bool = False
    nested_query: bool = False
    narrows: Callable[[Condition], dict[str, Any]] = lambda condition: {}
    not_in_ids: str = ""
    delete: Callable[[Any, list[str]], None] | None = None
    alive: Callable[[Any], bool] | None = None
    dims: Callable[[Any], int | None] = lambda store: None
    metric: Callable[[Any, Config], str | None] = lambda store, config: None
    note: str = ""


def _over_a_file(config: Config) -> bool:
    return "url" in config and "://" not in str(config["url"])


def _without_server(*keys: str) -> Callable[[Config], bool]:
    """Embedded, unless one of these keys names a server."""
    return lambda config: not any(config.get(key) for key in keys)


def _info_answers(store: Any) -> bool:
    """Alive if ``col_info`` neither raises nor answers its empty excuse."""
    return bool(store.col_info())


def _named_info_answers(store: Any) -> bool:
    return bool(store.col_info(store.collection_name))


def _namespaces_answer(store: Any) -> bool:
    next(iter(store.client.namespaces()), None)
    return True


def _qdrant_dims(store: Any) -> int | None:
    vectors = store.client.get_collection(store.collection_name).config.params.vectors
    return getattr(vectors.get("") if isinstance(vectors, dict) else vectors, "size", None)


def _qdrant_metric(store: Any, config: Config) -> str | None:
    """Empty, mem0's own choice, for a collection by cosine."""
    vectors = store.client.get_collection(store.collection_name).config.params.vectors
    distance = getattr(vectors.get("") if isinstance(vectors, dict) else vectors, "distance", None)
    return None if distance is None or distance == "Cosine" else str(distance)


def _chroma_dims(store: Any) -> int | None:
    found = store.collection.get(limit=1, include=["embeddings"])["embeddings"]
    return len(found[0]) if found is not None and len(found) else None


def _milvus_field(store: Any) -> Mapping[str, Any]:
    fields = store.client.describe_collection(store.collection_name)["fields"]
    return next((field["params"] for field in fields if field["name"] == "vectors"), {})


def _milvus_dims(store: Any) -> int | None:
    dims = _milvus_field(store).get("dim")
    return None if dims is None else int(dims)


def _milvus_metric(store: Any, config: Config) -> str | None:
    """Found by asking with a vector that is there, as Milvus Lite describes no index beside another: L2 answers 0."""
    stored = store.client.query(collection_name=store.collection_name, limit=1, output_fields=["vectors"])
    if not stored:
        return None
    found = store.client.search(store.collection_name, [stored[0]["vectors"]], limit=1, anns_field="vectors")
    is_l2 = abs(found[0][0]["distance"]) < _SAME_VECTOR
    wanted_l2 = str(config.get("metric_type") or "L2") == "L2"
    return None if is_l2 == wanted_l2 else "L2" if is_l2 else "COSINE"


def _qdrant_delete(store: Any, ids: list[str]) -> None:
    store.client.delete(collection_name=store.collection_name, points_selector=ids)


def _chroma_delete(store: Any, ids: list[str]) -> None:
    store.collection.delete(ids=ids)


def _milvus_delete(store: Any, ids: list[str]) -> None:
    store.client.delete(collection_name=store.collection_name, ids=ids)


def _faiss_delete(store: Any, ids: list[str]) -> None:
    """mem0's way for one row, which makes the index anew without it and writes it, done once for all of them."""
    gone = set(ids)
    kept = [(place, name) for place, name in sorted(store.index_to_id.items()) if name not in gone]
    vectors = [store.index.reconstruct(place) for place, _ in kept]
    store.index.reset()
    if vectors:
        store.index.add(importlib.import_module("numpy").stack(vectors))
    store.docstore = {name: payload for name, payload in store.docstore.items() if name not in gone}
    store.index_to_id = dict(enumerate(name for _, name in kept))
    store._save()


def _faiss_metric(store: Any, config: Config) -> str | None:
    squared_l2 = store.index.metric_type == 1  # faiss.METRIC_L2; importing faiss for the number costs a second
    wanted_l2 = (config.get("distance_strategy") or "euclidean") == "euclidean"
    return None if squared_l2 == wanted_l2 else "euclidean" if squared_l2 else "inner_product"


TRAITS: Final[Mapping[str, StoreTraits]] = {
    "qdrant": StoreTraits(
        embedded=_without_server("url", "host", "api_key"),
        narrows=equalities,
        delete=_qdrant_delete,
        dims=_qdrant_dims,
        metric=_qdrant_metric,
        note="Without url or host it is embedded: one process, and searches grow slower with every row.",
    ),
    "chroma": StoreTraits(
        embedded=_without_server("host", "api_key"),
        merges=True,
        packs="nested",
        delete=_chroma_delete,
        dims=_chroma_dims,
    ),
    "faiss": StoreTraits(
        embedded=lambda config: True,
        post_filters=True,
        delete=_faiss_delete,
        dims=lambda store: store.index.d,
        metric=_faiss_metric,
        note="One process; every change writes the whole index, so it is for thousands of memories, not more.",
    ),
    "milvus": StoreTraits(
        grpc=True,  # with a file, too: Milvus Lite is a gRPC server inside this process
        embedded=_over_a_file,
        search_cap=16_384,
        list_cap=16_384,
        delete=_milvus_delete,
        dims=_milvus_dims,
        metric=_milvus_metric,
        note="Its default metric is L2; say COSINE for new collections.",
    ),
    "azure_ai_search": StoreTraits(breaks_on_fences=True, quiet_inserts=True),
    "azure_mysql": StoreTraits(note="Every search reads all of the user's rows."),
    "baidu": StoreTraits(note="Its scores are not turned into cosines."),
    "cassandra": StoreTraits(
        list_at_least=UNLIMITED,
        alive=_info_answers,
        note="Every search and listing reads the whole table.",
    ),
    "databricks": StoreTraits(
        lists=False,
        missing_is_key_error=True,
        alive=_info_answers,
        note="What is written is not found until the index is synchronised; a user's memories cannot be listed.",
    ),
    "elasticsearch": StoreTraits(search_cap=10_000, list_cap=10_000, merges=True, alive=_named_info_answers),
    "langchain": StoreTraits(
        lists=False,
        note="A user's memories cannot be listed, an outage looks like none, scores are the wrapped client's own.",
    ),
    "mongodb": StoreTraits(
        search_cap=10_000,
        post_filters=True,
        merges=True,
        packs="nested",
        quiet_inserts=True,
        alive=_info_answers,
    ),
    "neptune": StoreTraits(packs="typed", quiet_inserts=True),
    "opensearch": StoreTraits(
        search_cap=10_000,
        list_cap=10_000,
        post_filters=True,
        merges=True,
        alive=_named_info_answers,
        note="What is written is found after its refresh interval of ten seconds.",
    ),
    "oracledb": StoreTraits(),
    "pinecone": StoreTraits(search_cap=10_000, list_cap=10_000, packs="nested", alive=_info_answers),
    "redis": StoreTraits(search_cap=10_000, list_cap=10_000, breaks_on_fences=True, not_in_ids=","),
    "s3_vectors": StoreTraits(search_cap=100, list_cap=1000, packs="nested"),
    "supabase": StoreTraits(
        blocks=True,  # psycopg2
        search_cap=1000,
        list_cap=1000,
        lists=False,
        post_filters=True,
        note="A user's memories cannot be listed. Supabase is PostgreSQL: provider pgvector reaches it, too.",
    ),
    "turbopuffer": StoreTraits(search_cap=1200, list_cap=1200, packs="nested", alive=_namespaces_answer),
    "upstash_vector": StoreTraits(search_cap=1000, nested_query=True, not_in_ids='"\\'),
    "valkey": StoreTraits(
        search_cap=10,
        list_cap=10,
        breaks_on_fences=True,
        missing_is_key_error=True,
        not_in_ids=",",
        alive=_info_answers,
        note="It answers at most ten rows, to a search as to a listing.",
    ),
    "vertex_ai_vector_search": StoreTraits(
        grpc=True, lists=False, packs="typed", note="A user's memories cannot be listed."
    ),
    "weaviate": StoreTraits(
        grpc=True, list_cap=10_000, merges=True, packs="all", pack_key="category", quiet_inserts=True
    ),
}


def traits_of(provider: str) -> StoreTraits:
    """The store's traits; the ordinary ones for a provider the table does not know."""
    return TRAITS.get(provider, StoreTraits())
