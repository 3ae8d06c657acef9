"""As whom the embedded PostgreSQL runs: the caller, or ``nobody`` when the caller is root (PostgreSQL refuses root).

Parent folders that ``nobody`` may not pass (``/root``, a temporary folder) get the search permission, not the right to
list them, and lose it again when the server is gone. As an ordinary user everything here does nothing.
"""

from __future__ import annotations

import os
import pwd
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final, TypedDict

_NAME: Final = "nobody"


class Identity(TypedDict):
    """What ``subprocess`` is told about whom a child runs as; all None means: as the caller."""

    user: int | None
    group: int | None
    extra_groups: list[int] | None


def identity() -> Identity:
    """Whom the server runs as."""
    if os.geteuid() != 0:
        return {"user": None, "group": None, "extra_groups": None}
    entry = pwd.getpwnam(_NAME)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def give(path: Path) -> None:
    """Make the service user the owner of ``path``."""
    user = identity()["user"]
    if user is not None:
        os.chown(path, user, -1)


def open_way(folders: Iterable[Path]) -> dict[Path, int]:
    """Let the service user pass ``folders``; returns the modes of those that had to be changed."""
    changed: dict[Path, int] = {}
    if os.geteuid() != 0:
        return changed
    for folder in folders:
        mode = stat.S_IMODE(folder.stat().st_mode)
        if not mode & stat.S_IXOTH:
            changed[folder] = mode
            folder.chmod(mode | stat.S_IXOTH)
    return changed


def close_way(changed: Mapping[Path, int]) -> None:
    """Give folders changed by :func:`open_way` their modes back."""
    for folder, mode in changed.items():
        if folder.exists():
            folder.chmod(mode)
