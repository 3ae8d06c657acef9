"""Hides from a process what ``requirements.txt`` does not install (see ``benchmarks.installation``).

Python imports a module of this name at start when it finds one; the folder is put on ``PYTHONPATH`` for that. With
``BENCHMARK_LAYERS`` set it also counts where the process spends its time (``layers``).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

_HIDDEN = frozenset(os.environ["BENCHMARK_HIDDEN_MODULES"].split(","))


class _Installed(PathFinder):
    """The finder of modules on ``sys.path``, as if the hidden ones were not there."""

    @classmethod
    def find_spec(
        cls, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The module's spec; None when it is hidden or absent."""
        return None if fullname in _HIDDEN else super().find_spec(fullname, path, target)


sys.meta_path[sys.meta_path.index(PathFinder)] = _Installed

if "BENCHMARK_LAYERS" in os.environ:
    import layers

    layers.count(os.environ["BENCHMARK_LAYERS"])
