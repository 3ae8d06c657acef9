"""The id of a collection of an embedded engine: of its folder, by a file in it, and of its name.

The folder may be mounted elsewhere or moved together with its file, and is the same store still.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import threading
from pathlib import Path
from typing import Final

from utils.stores.errors import unavailable

_FILE: Final = "mem0_dify_id"
_making: Final = threading.Lock()  # an engine's folder is one process's at a time


def collection_id(folder: Path, collection_name: str) -> str:
    """64 hex digits. Blocks, a little.

    Raises:
        ServiceUnavailable: the folder cannot be read or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        folder_id = _read_or_make(folder / _FILE)
    except OSError as exc:
        raise unavailable(type(exc).__name__) from exc
    return hashlib.sha256(f"{folder_id} {collection_name}".encode()).hexdigest()


def _read_or_make(path: Path) -> str:
    """What the file says; it is there whole or not at all."""
    with _making:
        if not path.exists():
            fresh = path.with_name(f"{path.name}.next")
            with fresh.open("w") as file:
                file.write(secrets.token_hex(32))
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(path)
        return path.read_text().strip()
