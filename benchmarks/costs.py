"""Where the start and the memory of a plugin process go: imports by package, resident memory step by step."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from benchmarks.report import Part
from benchmarks.setting import Setting

_ROOT: Final = Path(__file__).resolve().parent.parent
_MB: Final = 1e6
_SHOWN: Final = 8
_OURS: Final = frozenset({"main", "utils", "tools", "provider"})
_IMPORT: Final = re.compile(r"^import time:\s+(\d+) \|\s+\d+ \|\s*(\S+)$")
# What a call needs, in the order in which a process comes to need it.
_STEPS: Final = (
    ("Python itself", "import sys"),
    ("the SDK", "import dify_plugin"),
    ("the plugin's frame", "import main; from utils import tool_base"),
    ("SQLAlchemy", "import sqlalchemy.ext.asyncio, sqlalchemy.dialects.postgresql"),
    ("psycopg and its pool", "import psycopg, psycopg_pool"),
    ("the plugin's memory flow", "import utils.memory.memory, utils.memory.pgvector"),
    ("OpenAI's client", "import openai; openai.OpenAI(api_key='none').embeddings"),
)
_PRINT_RSS: Final = "import psutil; print(psutil.Process().memory_info().rss)"


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
    """MB each import adds to a fresh process, in the order in which the plugin needs them."""
    code = "\n".join(f"{statement}\n{_PRINT_RSS}" for _, statement in _STEPS)
    # psutil itself is counted with Python: import it before the first reading
    done = subprocess.run([sys.executable, "-c", code], cwd=_ROOT, capture_output=True, text=True, check=True)
    resident = [int(line) / _MB for line in done.stdout.split()]
    return [
        Part(name, after - before, "MB")
        for (name, _), before, after in zip(_STEPS, [0.0, *resident], resident, strict=False)
    ]
