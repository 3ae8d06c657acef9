"""Which lease holders on this machine are dead, told by the operating system.

A worker keeps a lock on a file named after it; the kernel drops the lock when the process ends, whatever ended it. So
whoever gets the lock of another's file knows that nobody works under that name any more, and that its leases need not
run out first: a restarted plugin goes on at once. Where this cannot be told (another machine or container, no folder
to write to, a system without ``/proc``) nothing is said, and leases run out as they always do.

The name holds the id of the running kernel, because some network file systems lock within one machine only: there
another machine's living worker would look dead.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from utils.config.state_location import PostgresLocation, SqliteLocation, state_folder
from utils.errors import CredentialError

_log = logging.getLogger(__name__)

_FOLDER: Final = "workers"
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


def presence_folder(location: PostgresLocation | SqliteLocation) -> Path | None:
    """Where the workers of this state store look for each other; None when there is no such place."""
    if isinstance(location, SqliteLocation):
        return location.path.parent / _FOLDER
    try:
        return state_folder(os.environ) / _FOLDER
    except CredentialError:  # no home folder, and PostgreSQL needs none
        return None


class Presence:
    """One worker's sign of life, and its look at the others'. Every method does a little file I/O.

    Args:
        folder: shared by the plugin's processes of this machine, made when absent; None: nothing can be told.
        scope: the vector store; workers of different ones do not look at each other.
        worker_id: the owner in the worker's leases.
    """

    def __init__(self, folder: Path | None, scope: str, worker_id: str) -> None:
        self._folder = folder
        self._scope = scope
        self._worker_id = worker_id
        self._kernel: str | None = None
        self._descriptor: int | None = None

    def show(self) -> None:
        """Be seen from now on until :meth:`withdraw` or the process's end."""
        if self._folder is None or self._descriptor is not None:
            return
        try:
            self._kernel = _BOOT_ID.read_text().strip()
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._descriptor = _locked(self._folder / f"{self._prefix()}{self._worker_id}", os.O_CREAT)
        except OSError as exc:
            _log.debug("other workers cannot see this one (%s)", type(exc).__name__)

    def withdraw(self) -> None:
        """Count as dead from now on. Idempotent."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def find_dead(self) -> list[str]:
        """The ids of workers that have ended since anybody last looked. Each is told to one caller: its file goes."""
        if self._descriptor is None or self._folder is None:
            return []
        dead = []
        for path in self._others(self._folder):
            try:
                descriptor = _locked(path)
            except OSError:  # alive, or somebody else was faster
                continue
            with contextlib.suppress(OSError):
                path.unlink()
            os.close(descriptor)
            dead.append(path.name.removeprefix(self._prefix()))
        return dead

    def _others(self, folder: Path) -> Iterator[Path]:
        for path in folder.glob(f"{self._prefix()}*"):
            if not path.name.endswith(self._worker_id):
                yield path

    def _prefix(self) -> str:
        return f"{self._scope[:16]}.{self._kernel}."


def _locked(path: Path, flags: int = 0) -> int:
    """A descriptor of the file with the lock on it. ``flock`` belongs to the open file, not to the process: two workers
    of one process see each other as alive.

    Raises:
        OSError: another has the lock, or the file cannot be opened.
    """
    import fcntl  # not on Windows, where there is no kernel id either

    descriptor = os.open(path, os.O_RDWR | flags, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
