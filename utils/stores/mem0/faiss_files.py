"""A FAISS collection on disk: mem0's two files, changed so that a crash at any moment leaves the old or the new state.

mem0 keeps the vectors in ``NAME.faiss`` and the payloads in ``NAME.json`` (``NAME.pkl`` before), writes both in place
and takes what it cannot read for an empty collection, which its next write then makes true. Here the files keep their
names and mem0 can read them, but

* a change is written to ``NAME.faiss.next`` and ``NAME.json.next``, both are forced to the disk, and then take their
  names, the JSON first. Its renaming is the commit: it says by a checksum which index it belongs to, so the next start
  knows whether a ``NAME.faiss.next`` it finds is to take its name or to go;
* files that do not belong together, or cannot be read, are refused and left as they are;
* a lock on the folder keeps other processes of the plugin out: each would overwrite what the other wrote.
"""

from __future__ import annotations

import errno
import fcntl
import importlib
import json
import os
import pickle
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from utils.mem0 import registry
from utils.messages import Sentence
from utils.stores.errors import rejected, unavailable

_LOCK_FILE: Final = ".mem0_dify.lock"
_CHECKSUM: Final = "index_crc32"  # mem0 reads past it


class FaissFolder:
    """A folder of collections, held by this process until :meth:`close`.

    Raises:
        ServiceUnavailable: another process holds it, or it cannot be written.
    """

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder)
        with _disk_errors():
            self._folder.mkdir(parents=True, exist_ok=True)
            self._lock = (self._folder / _LOCK_FILE).open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            self._lock.close()
            raise unavailable(Sentence("reason_folder_in_use", {})) from exc
        self._collections: dict[str, FaissCollection] = {}

    def collection(self, name: str) -> FaissCollection:
        """The collection of this name: one object for all who ask."""
        return self._collections.setdefault(name, FaissCollection(self._folder, name))

    def close(self) -> None:
        """Let other processes have the folder. Idempotent."""
        self._lock.close()


@dataclass(slots=True)
class Contents:
    """A collection in memory.

    Attributes:
        index: FAISS's own object.
        ids: the memory's id at each position of the index.
        payloads: the payload of each id.
    """

    index: Any
    ids: list[str]
    payloads: dict[str, dict[str, Any]]


class FaissCollection:
    """One collection's contents, and their two files."""

    def __init__(self, folder: Path, name: str) -> None:
        self.collection_name = name
        self._folder = folder
        self._index = folder / f"{name}.faiss"
        self._json = folder / f"{name}.json"
        self._pickle = folder / f"{name}.pkl"
        self._next_index = folder / f"{name}.faiss.next"
        self._next_json = folder / f"{name}.json.next"
        self._contents: Contents | None = None

    def create(self, empty_index: Any) -> None:
        """Make the collection around ``empty_index`` if there is none."""
        if self._contents is None and not self._load():
            contents = Contents(empty_index, [], {})
            self._save(contents)
            self._contents = contents

    @property
    def contents(self) -> Contents:
        """What is in it; read from the files again where the last change failed.

        Raises:
            ServiceRejected: the files are damaged, or gone.
        """
        if self._contents is None and not self._load():
            raise self._damaged("the files are gone")
        assert self._contents is not None  # noqa: S101 - _load() made it
        return self._contents

    @contextmanager
    def change(self) -> Iterator[Contents]:
        """The contents, to be changed in the body and durable after it. Where either fails, the files' word counts.

        Raises:
            ServiceUnavailable: the disk did not take the change.
        """
        contents, self._contents = self.contents, None
        yield contents
        self._save(contents)
        self._contents = contents

    def _save(self, contents: Contents) -> None:
        import faiss

        index = faiss.serialize_index(contents.index).tobytes()
        places = {str(position): memory_id for position, memory_id in enumerate(contents.ids)}
        stated = {"docstore": contents.payloads, "index_to_id": places, _CHECKSUM: zlib.crc32(index)}
        with _disk_errors():
            _write(self._next_index, index)
            _write(self._next_json, json.dumps(stated).encode())
            self._next_json.replace(self._json)  # the commit: from here on the new state counts
            _sync(self._folder)  # the next renaming must not reach the disk before this one
            self._next_index.replace(self._index)
            self._pickle.unlink(missing_ok=True)  # nobody reads it any more: what is deleted must not live on in it
            _sync(self._folder)

    def _load(self) -> bool:
        """Read the files; False when there are none."""
        with _disk_errors():
            self._finish_commit()
            if not any(path.exists() for path in (self._index, self._json, self._pickle)):
                return False
        try:
            self._contents = self._read()
        except FileNotFoundError as exc:
            raise self._damaged("one of the two is missing") from exc
        except (ValueError, LookupError, RuntimeError, AttributeError, EOFError, pickle.UnpicklingError) as exc:
            raise self._damaged(type(exc).__name__) from exc
        return True

    def _finish_commit(self) -> None:
        """Bring a change that a crash cut off to its end, or take it back."""
        if self._next_index.exists():
            if self._is_committed(self._next_index.read_bytes()):
                self._next_index.replace(self._index)
            else:
                self._next_index.unlink()
            _sync(self._folder)
        self._next_json.unlink(missing_ok=True)

    def _is_committed(self, index: bytes) -> bool:
        try:
            stated = json.loads(self._json.read_bytes())
        except (FileNotFoundError, ValueError):
            return False
        return isinstance(stated, Mapping) and stated.get(_CHECKSUM) == zlib.crc32(index)

    def _read(self) -> Contents:
        """The contents of the files.

        Raises:
            ValueError: they do not belong together. What else cannot be read raises as the reader does.
        """
        import faiss
        import numpy

        stored = self._index.read_bytes()
        payloads, places, checksum = self._docstore()
        index = faiss.deserialize_index(numpy.frombuffer(stored, dtype="uint8"))
        ids = [places[position] for position in range(index.ntotal)]
        if len(places) != len(ids) or set(ids) != payloads.keys() or checksum not in (None, zlib.crc32(stored)):
            raise ValueError("index and docstore disagree")
        return Contents(index, ids, payloads)

    def _docstore(self) -> tuple[dict[str, dict[str, Any]], dict[int, str], int | None]:
        """Payloads by id, ids by position, and the checksum of the index where this module wrote the file."""
        mem0s = _mem0s_faiss()
        if not self._json.exists():
            return (*mem0s._validate_docstore_structure(mem0s._safe_pickle_load(str(self._pickle))), None)
        stated = json.loads(self._json.read_bytes())
        places = {int(position): memory_id for position, memory_id in stated.get("index_to_id", {}).items()}
        payloads, places = mem0s._validate_docstore_structure((stated.get("docstore", {}), places))
        return payloads, places, stated.get(_CHECKSUM)

    def _damaged(self, reason: str) -> Exception:
        return rejected("store_files_damaged", reason, collection=self.collection_name, folder=str(self._folder))


def positions(contents: Contents, filters: Mapping[str, Any]) -> Iterator[int]:
    """Where the rows are whose payloads have each of these values."""
    for position, memory_id in enumerate(contents.ids):
        payload = contents.payloads[memory_id]
        if all(payload.get(key) == value for key, value in filters.items()):
            yield position


def replace_vectors(index: Any, kept: Sequence[int], changed: Mapping[int, Any]) -> None:
    """Make the index anew of the rows at ``kept``, some with another vector.

    Args:
        index: a flat index, as all of mem0's are.
        kept: positions now, in the order they will have.
        changed: new vectors by position now.
    """
    import numpy

    vectors = [changed[position] if position in changed else index.reconstruct(position) for position in kept]
    index.reset()
    if vectors:
        index.add(numpy.stack(vectors))


def _write(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    """Force the names in a folder to the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _disk_errors() -> Iterator[None]:
    """Turn what the operating system says in the body into an outage: a full disk, a folder that is not ours."""
    try:
        yield
    except OSError as exc:
        raise unavailable(errno.errorcode.get(exc.errno or 0, type(exc).__name__)) from exc


def _mem0s_faiss() -> Any:
    registry.factories()
    return importlib.import_module("mem0.vector_stores.faiss")
