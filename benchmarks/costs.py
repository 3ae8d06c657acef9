"""Where the start and the memory of a plugin process go: imports by package, resident memory step by step."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

import psutil

from benchmarks import installation
from benchmarks.report import Part
from benchmarks.setting import Setting

_ROOT: Final = Path(__file__).resolve().parent.parent
_MIB: Final = 2**20
_SHOWN: Final = 8
_OURS: Final = frozenset({"main", "utils", "tools", "provider"})
# One line of Python's own import times: self, cumulative, name.
_IMPORT: Final = re.compile(r"^import time:\s+(\d+) \|\s+\d+ \|\s*(\S+)$")
# What a call needs, in the order in which a process comes to need it.
_STEPS: Final = (
    ("Python itself", "pass"),
    ("the SDK", "import dify_plugin"),
    ("the plugin's frame", "import main; from utils import tool_base"),
    ("SQLAlchemy, psycopg and the state store", "import psycopg, psycopg_pool, utils.state.engine"),
    ("the plugin's memory flow", "import utils.memory.memory, utils.stores.pgvector.store"),
    ("OpenAI's client", "import openai; openai.OpenAI(api_key='none').embeddings"),
)


def imports_until_first_line(setting: Setting) -> list[Part]:
    """Seconds of import by package until the process shows its manifest, largest first, and what is no import.

    Python's own bookkeeping of imports is on, which makes them a little slower than they are.
    """
    with setting.plugin(PYTHONPROFILEIMPORTTIME="1") as plugin:
        first_line_s = plugin.process.first_line_s or 0.0
        spent = _by_package(plugin.process.stderr_lines)
    parts = [Part(name, seconds, "s") for name, seconds in spent.most_common(_SHOWN)]
    others = spent.total() - sum(part.value for part in parts)
    parts.append(Part("other packages", others, "s"))
    return [*parts, Part("interpreter, tool files, manifest", first_line_s - spent.total(), "s")]


def _by_package(lines: Iterable[str]) -> Counter[str]:
    spent: Counter[str] = Counter()
    for line in lines:
        if match := _IMPORT.match(line):
            spent[_package(match[2])] += int(match[1]) / 1e6  # type: ignore[assignment]  # Counter adds floats, too
    return spent


def _package(module: str) -> str:
    top = module.split(".")[0]
    if top in _OURS:
        return "the plugin's own modules"
    return "Python's own library" if top in sys.stdlib_module_names else top


def memory_by_import() -> list[Part]:
    """MiB each import adds to a fresh process, in the order in which the plugin needs them."""
    resident = [0.0, *_resident_after([statement for _, statement in _STEPS])]
    return [Part(name, resident[step + 1] - resident[step], "MiB") for step, (name, _) in enumerate(_STEPS)]


def _resident_after(statements: Sequence[str]) -> Iterator[float]:
    """Resident MiB of one Python process after each of ``statements``; it waits while it is looked at."""
    code = "\n".join(f"{statement}\nprint(flush=True); input()" for statement in statements)
    with subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=_ROOT,
        env={**os.environ, **installation.environment()},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        for _ in statements:
            process.stdout.readline()
            yield float(psutil.Process(process.pid).memory_info().rss) / _MIB
            process.stdin.write("\n")
            process.stdin.flush()
