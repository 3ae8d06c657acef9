"""What is packed: everything the plugin needs to run, nothing else, within Dify's limits.

``.difyignore`` is read here as Dify's packager reads it. Where there is the packager itself (the environment variable
``DIFY_PLUGIN_CLI`` names it, else ``dify-plugin`` or ``dify`` is looked for on ``PATH``), it has to pack the same.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Final

import pytest
import yaml
from pathspec import GitIgnoreSpec

ROOT: Final = Path(__file__).resolve().parents[2]
MAX_UNCOMPRESSED_BYTES: Final = 50 * 1024 * 1024
PACKED_TOP: Final = {
    "manifest.yaml", "main.py", "requirements.txt", "README.md", "PRIVACY.md", "CHANGELOG.md", "LICENSE",
    "_assets", "i18n", "provider", "readme", "tools", "utils",
}  # fmt: skip
DECOYS: Final = (
    ".env", ".env.local", ".git/config", ".github/workflows/ci.yaml", ".ci/run", ".venv/bin/python", ".cache/x.json",
    "venv/pyvenv.cfg", "pyproject.toml", "uv.lock", "Makefile", "CONTRIBUTING.md", "requirements-dev.txt",
    "tests/unit/test_x.py", "playground/tour.py", "playground/data/PG_VERSION", "benchmarks/overhead.py",
    "scripts/translations.py",
    "utils/__pycache__/errors.cpython-312.pyc", "utils/.DS_Store", "state.db", "state.db-wal", "plugin.log",
    "mem0ai.difypkg", "dist/mem0ai.difypkg",
)  # fmt: skip


def _patterns() -> list[str]:
    lines = (ROOT / ".difyignore").read_text(encoding="utf-8").splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def _packed(root: Path) -> Iterator[str]:
    """Paths below ``root`` that ``.difyignore`` leaves in; an ignored folder is not looked into."""
    ignored = GitIgnoreSpec.from_lines(_patterns())
    for folder, folders, files in os.walk(root):
        below = PurePosixPath(Path(folder).relative_to(root).as_posix())
        folders[:] = [name for name in folders if not ignored.match_file(f"{below / name}/")]
        yield from (str(below / name) for name in files if not ignored.match_file(str(below / name)))


@pytest.fixture(scope="module")
def packed() -> list[str]:
    """What of this checkout goes into the package."""
    return sorted(_packed(ROOT))


@pytest.fixture
def copy(tmp_path: Path, packed: list[str]) -> Path:
    """A tree with the package's files, ``.difyignore``, and one of each kind of file that must stay out."""
    tree = tmp_path / "plugin"
    for name in [*packed, ".difyignore"]:
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, tree / name)
    for name in DECOYS:
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text("must stay out\n", encoding="utf-8")
    return tree


def _by_reading(tree: Path) -> list[str]:
    return sorted(_packed(tree))


def _by_packager(tree: Path) -> list[str]:
    """What Dify's own program packs of ``tree``; it also refuses a bad manifest, yaml or icon."""
    assert PACKAGER is not None
    target = tree.parent / "mem0ai.difypkg"
    environment = {"HOME": str(tree.parent), "PATH": os.environ["PATH"]}
    command = [PACKAGER, "plugin", "package", str(tree), "-o", str(target)]
    run = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert run.returncode == 0, run.stdout + run.stderr
    with zipfile.ZipFile(target) as package:
        return sorted(package.namelist())


PACKAGER: Final = os.environ.get("DIFY_PLUGIN_CLI") or shutil.which("dify-plugin") or shutil.which("dify")
PACKING: Final = [_by_reading, _by_packager] if PACKAGER else [_by_reading]


def test_nothing_unexpected_lies_in_the_package(packed: list[str]) -> None:
    assert {PurePosixPath(name).parts[0] for name in packed} == PACKED_TOP


@pytest.mark.parametrize("pack", PACKING)
def test_what_must_stay_out_stays_out(pack: Callable[[Path], list[str]], copy: Path, packed: list[str]) -> None:
    assert pack(copy) == packed


def test_patterns_are_of_the_kind_the_packager_understands() -> None:
    assert [pattern for pattern in _patterns() if pattern.startswith("!")] == []  # it tries each pattern alone


def test_the_package_is_far_below_the_size_limit(packed: list[str]) -> None:
    assert sum((ROOT / name).stat().st_size for name in packed) < MAX_UNCOMPRESSED_BYTES / 5


def test_no_file_holds_what_looks_like_a_key(packed: list[str]) -> None:
    key = re.compile(rb"sk-[A-Za-z0-9]{20,}|AKIA[0-9A-Z]{16}|-----BEGIN [A-Z ]*PRIVATE KEY")
    assert [name for name in packed if key.search((ROOT / name).read_bytes())] == []


def test_requirements_are_bounded_and_come_from_the_index() -> None:
    lines = [
        line.split("#")[0].strip() for line in (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    ]
    for line in filter(None, lines):
        assert re.match(r"^[A-Za-z0-9._-]+(\[[a-z0-9,_-]+\])?\s*(==|~=|>=[^,]+,\s*<)", line), line


def test_every_module_of_the_plugin_is_packed(packed: list[str]) -> None:
    sources = {
        "main.py",
        *(
            path.relative_to(ROOT).as_posix()
            for folder in ("utils", "tools", "provider")
            for path in (ROOT / folder).rglob("*.py")
        ),
    }
    assert sources <= set(packed)
    provider = yaml.safe_load((ROOT / "provider/mem0ai.yaml").read_text(encoding="utf-8"))
    assert {*provider["tools"], "provider/mem0ai.yaml"} <= set(packed)
