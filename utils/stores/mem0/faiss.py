"""FAISS: an index in memory, over mem0's two files of a folder.

Every change writes the whole collection, so it is for thousands of memories, not more. It serves one process. mem0's
class loses accepted writes (see ``faiss_files``) and cuts a search off before it looks at the owner, so only its file
format and its scores are kept.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Final

from utils.mem0.building import check_vector_store
from utils.stores.mem0.adapter import Config, Hit, StoreAdapter
from utils.stores.mem0.faiss_files import FaissFolder, positions, replace_vectors

_DIMS: Final = 1536  # mem0's default
_METRIC_L2: Final = 1  # faiss.METRIC_L2


class Faiss(StoreAdapter):
    """A collection as ``faiss_files`` keeps it, searched and scored as mem0 would."""

    scans = True

    @classmethod
    def is_embedded(cls, config: Config) -> bool:
        """Always."""
        return True

    @classmethod
    def shared_folder(cls, config: Config) -> str | None:
        """The folder; without one mem0 takes a place under ``/tmp``."""
        return os.path.realpath(config.get("path") or "/tmp/faiss")  # noqa: S108

    @classmethod
    def open_client(cls, folder: str) -> Any:
        """The folder, locked."""
        return FaissFolder(folder)

    @classmethod
    def build(cls, provider: str, config: Config, embedding_dims: int | None, client: Any) -> Any:
        """The collection; an empty one of the configured metric and length if there is none."""
        check_vector_store(provider, config)
        import faiss

        kind = faiss.IndexFlatL2 if _strategy(config) == "euclidean" else faiss.IndexFlatIP
        collection = client.collection(config.get("collection_name") or "mem0")
        collection.create(kind(config.get("embedding_model_dims") or embedding_dims or _DIMS))
        return collection

    # -- reading

    def get(self, memory_id: str) -> Any:
        """The row in memory."""
        payload = self.store.contents.payloads.get(memory_id)
        return None if payload is None else Hit(memory_id, payload)

    def search(self, vector: list[float], filters: dict[str, Any], top_k: int) -> list[Any]:
        """The nearest of the rows that match, compared with nothing else; scores as mem0's class makes them."""
        contents = self.store.contents
        candidates = list(positions(contents, filters))
        if not candidates:
            return []
        import faiss
        import numpy

        selector = faiss.IDSelectorBatch(numpy.array(candidates, dtype="int64"))
        only_these = faiss.SearchParameters()
        only_these.sel = selector
        raw, found = contents.index.search(self._matrix([vector]), min(top_k, len(candidates)), params=only_these)
        scores = 1.0 / (1.0 + raw[0]) if _strategy(self.config) == "euclidean" else raw[0]
        nearest = zip(found[0], scores, strict=True)
        ids = [(contents.ids[position], float(score)) for position, score in nearest if position >= 0]  # -1: no number
        return [Hit(memory_id, contents.payloads[memory_id], score) for memory_id, score in ids]

    def list_rows(self, filters: dict[str, Any], limit: int) -> list[Any]:
        """The first of the rows that match."""
        return self._matching(filters)[:limit]

    def scan(self, filters: dict[str, Any], after_id: str | None, limit: int) -> list[Any]:
        """All of the owner's rows are in memory; each page puts them in order anew."""
        later = [hit for hit in self._matching(filters) if after_id is None or hit.id > after_id]
        return sorted(later, key=lambda hit: hit.id)[:limit]

    def dims(self) -> int | None:
        """As the index was made."""
        return int(self.store.contents.index.d)

    def metric(self) -> str | None:
        """An index by inner product serves cosine, too: the vectors are made to have length 1."""
        is_l2 = self.store.contents.index.metric_type == _METRIC_L2
        wanted_l2 = _strategy(self.config) == "euclidean"
        return None if is_l2 == wanted_l2 else "euclidean" if is_l2 else "inner_product"

    # -- writing

    def insert(self, ids: list[str], vectors: list[list[float]], payloads: list[dict[str, Any]]) -> None:
        """All in one change of the files."""
        with self.store.change() as contents:
            contents.index.add(self._matrix(vectors))
            contents.ids += ids
            contents.payloads.update(zip(ids, payloads, strict=True))

    def update(self, memory_id: str, vector: list[float], payload: dict[str, Any]) -> None:
        """In one change of the files: mem0's class deletes the row before it inserts it anew."""
        [changed] = self._matrix([vector])
        with self.store.change() as contents:
            places = [position for position, name in enumerate(contents.ids) if name == memory_id]
            replace_vectors(contents.index, range(len(contents.ids)), dict.fromkeys(places, changed))
            contents.payloads[memory_id] = payload

    def delete(self, ids: Sequence[str]) -> None:
        """All in one change of the files."""
        gone = self.store.contents.payloads.keys() & set(ids)
        if not gone:
            return
        with self.store.change() as contents:
            kept = [position for position, name in enumerate(contents.ids) if name not in gone]
            replace_vectors(contents.index, kept, {})
            contents.ids = [contents.ids[position] for position in kept]
            for memory_id in gone:
                del contents.payloads[memory_id]

    def _matching(self, filters: dict[str, Any]) -> list[Hit]:
        contents = self.store.contents
        ids = dict.fromkeys(contents.ids[position] for position in positions(contents, filters))
        return [Hit(name, contents.payloads[name]) for name in ids]

    def _matrix(self, vectors: list[list[float]]) -> Any:
        """Vectors as FAISS takes them, at length 1 where mem0's class would make them so."""
        import faiss
        import numpy

        matrix = numpy.array(vectors, dtype="float32")
        strategy = _strategy(self.config)
        if strategy == "cosine" or (strategy == "euclidean" and self.config.get("normalize_L2")):
            faiss.normalize_L2(matrix)
        return matrix


def _strategy(config: Config) -> str:
    return str(config.get("distance_strategy") or "euclidean").lower()
