"""The packages Dify installs with the plugin, told from those of a developer's environment.

Packages look for others and import them when they are there: beside ``rich`` and ``aiohttp``, which the tests need,
the plugin's own requirements import 60 ms and 10 MB more than they do under Dify. So the measured processes see what
``requirements.txt`` asks for, with what that requires, and nothing else.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Final

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

_HERE: Final = Path(__file__).resolve().parent
_REQUIREMENTS: Final = _HERE.parent / "requirements.txt"


@functools.cache
def environment() -> dict[str, str]:
    """Environment variables that make a Python process see only the required packages."""
    required = _closure(_requirements())
    hidden = (
        module
        for module, names in metadata.packages_distributions().items()
        if not required & {canonicalize_name(name) for name in names}
    )
    return {"PYTHONPATH": str(_HERE / "as_installed"), "BENCHMARK_HIDDEN_MODULES": ",".join(sorted(hidden))}


def _requirements() -> list[Requirement]:
    lines = (line.partition("#")[0].strip() for line in _REQUIREMENTS.read_text().splitlines())
    return [Requirement(line) for line in lines if line]


def _closure(wanted: list[Requirement]) -> set[str]:
    """The names of ``wanted`` and of everything they require here, extras included."""
    names: set[str] = set()
    seen: set[tuple[str, frozenset[str]]] = set()
    while wanted:
        one = wanted.pop()
        key = (canonicalize_name(one.name), frozenset(one.extras))
        if key not in seen:
            seen.add(key)
            names.add(key[0])
            wanted += _required_by(one)
    return names


def _required_by(one: Requirement) -> Iterator[Requirement]:
    for line in metadata.requires(one.name) or ():
        needed = Requirement(line)
        extras = one.extras or {""}
        if needed.marker is None or any(needed.marker.evaluate({"extra": extra}) for extra in extras):
            yield needed
