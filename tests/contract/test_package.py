"""What is packed: everything the plugin needs to run, nothing else, within Dify's limits, in the same bytes each time.

Where there is Dify's own packager (the environment variable ``DIFY_PLUGIN_CLI`` names it, else ``dify-plugin`` or
``dify`` is looked for on ``PATH``), it has to pack the same.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import sys
import zipfile
from pathlib import Path, PurePosixPath
from typing import Final

import pytest
import yaml

from release.offline import WITHOUT_INDEX, with_wheels
from release.package import (
    MAX_UNPACKED_BYTES,
    PackageRefused,
    compare_with_dify,
    dify_packager,
    ignore_patterns,
    packed_files,
    packed_names,
    unpacked_bytes,
    write_package,
)

ROOT: Final = Path(__file__).resolve().parents[2]
PACKED_TOP: Final = {
    "manifest.yaml", "main.py", "requirements.txt", "README.md", "CONFIG.md", "PRIVACY.md", "CHANGELOG.md", "LICENSE",
    "_assets", "i18n", "provider", "readme", "tools", "utils",
}  # fmt: skip
DECOYS: Final = (
    ".env", ".env.local", ".git/config", ".github/workflows/ci.yaml", ".ci/run", ".venv/bin/python", ".cache/x.json",
    "venv/pyvenv.cfg", "pyproject.toml", "uv.lock", "Makefile", "CONTRIBUTING.md", "MIGRATION.md",
    "requirements-dev.txt", "tests/unit/test_x.py", "playground/tour.py", "playground/data/PG_VERSION",
    "benchmarks/overhead.py", "release/package.py", "scripts/translations.py",
    "_assets/workflows/weekly_forgetting.yml",
    "utils/__pycache__/errors.cpython-312.pyc", "utils/.DS_Store", "state.db", "state.db-wal", "plugin.log",
    "mem0ai.difypkg", "dist/mem0ai.difypkg",
)  # fmt: skip


@pytest.fixture(scope="module")
def packed() -> list[str]:
    """What of this checkout goes into the package."""
    return packed_names(ROOT)


@pytest.fixture
def copy(tmp_path: Path, packed: list[str]) -> Path:
    """A tree with the package's files, ``.difyignore``, and one of each kind of file that must stay out."""
    return _copy(tmp_path / "plugin", packed)


def _copy(tree: Path, packed: list[str]) -> Path:
    for name in [*packed, ".difyignore"]:
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, tree / name)
    for name in DECOYS:
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text("must stay out\n", encoding="utf-8")
    return tree


def test_nothing_unexpected_lies_in_the_package(packed: list[str]) -> None:
    assert {PurePosixPath(name).parts[0] for name in packed} == PACKED_TOP


def test_what_must_stay_out_stays_out(copy: Path, packed: list[str]) -> None:
    assert packed_names(copy) == packed


def test_difys_own_packager_packs_the_same_files(copy: Path) -> None:
    """Where it is not installed, one that packs by the same list stands in for it, and one that does not is caught."""
    files = packed_files(copy)
    compare_with_dify(dify_packager() or _packager(copy, "files"), copy, files)
    with pytest.raises(PackageRefused, match=r"packs something else: main\.py"):
        compare_with_dify(_packager(copy, "{**files, 'main.py': b''}"), copy, files)


def _packager(folder: Path, packed: str) -> str:
    """A program that takes the arguments of Dify's own and packs what an expression over ``files`` says."""
    program = folder.parent / "packager"
    program.write_text(
        f"#!{sys.executable}\n"
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "from pathlib import Path\n"
        "from release.package import packed_files, write_package\n"
        "files = packed_files(Path(sys.argv[3]))\n"
        f"write_package({packed}, Path(sys.argv[5]))\n",
        encoding="utf-8",
    )
    program.chmod(0o755)
    return str(program)


def test_the_same_files_make_the_same_bytes_wherever_and_whenever(tmp_path: Path, packed: list[str]) -> None:
    masked = os.umask(0o077)
    try:
        closed = _copy(tmp_path / "closed", packed)
    finally:
        os.umask(masked)
    other = _copy(tmp_path / "other" / "deeper", packed)
    for number, name in enumerate(packed):
        os.utime(other / name, (number * 86_400 + 1, number * 86_400 + 1))
        (other / name).chmod(0o755)
    assert stat.S_IMODE((closed / "main.py").stat().st_mode) == 0o600
    for tree in (closed, other):
        write_package(packed_files(tree), tree.with_suffix(".difypkg"))
    made = closed.with_suffix(".difypkg").read_bytes()
    assert made == other.with_suffix(".difypkg").read_bytes()
    with zipfile.ZipFile(closed.with_suffix(".difypkg")) as package:
        assert package.testzip() is None
        assert package.namelist() == packed
        assert {entry.external_attr >> 16 for entry in package.infolist()} == {0o100644}


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"_assets/icon.svg": None}, "_assets/icon.svg is needed"),
        ({"README.md": None}, "README.md is needed"),
        ({"PRIVACY.md": None}, "PRIVACY.md is needed"),
        ({"tools/get_memory.py": None}, "tools/get_memory.py is needed"),
        ({"requirements.txt": None}, "requirements.txt is needed"),
        ({"manifest.yaml": None}, "manifest.yaml is needed"),
        ({"manifest.yaml": b"name: mem0ai"}, "a yaml file lacks 'meta'"),
        ({"manifest.yaml": b"- 1"}, "manifest.yaml holds no mapping"),
        ({"readme/README.zh.md": b""}, "readme/README.zh.md is no name of a translated README"),
        ({"_assets/film.mp4": bytes(MAX_UNPACKED_BYTES)}, "more than the 52,428,800 bytes that Dify takes"),
    ],
)  # fmt: skip
def test_what_dify_would_refuse_is_refused(tmp_path: Path, changed: dict[str, bytes | None], said: str) -> None:
    files = {name: content for name, content in {**packed_files(ROOT), **changed}.items() if content is not None}
    with pytest.raises(PackageRefused, match=re.escape(said)):
        write_package(files, tmp_path / "mem0ai.difypkg")
    assert list(tmp_path.iterdir()) == []


def test_an_offline_package_brings_its_wheels_and_asks_no_index(tmp_path: Path) -> None:
    (tmp_path / "gevent-1.0-cp312-cp312-manylinux_2_28_aarch64.whl").write_bytes(b"PK")
    (tmp_path / "left-over.tmp").write_bytes(b"?")
    files = packed_files(ROOT)
    offline = with_wheels(files, tmp_path)
    assert set(offline) - set(files) == {"wheels/gevent-1.0-cp312-cp312-manylinux_2_28_aarch64.whl"}
    assert offline["requirements.txt"] == WITHOUT_INDEX + files["requirements.txt"]
    assert {name for name in files if files[name] != offline[name]} == {"requirements.txt"}


def test_patterns_are_of_the_kind_the_packager_understands() -> None:
    assert [one for one in ignore_patterns(ROOT) if one.startswith("!")] == []  # it tries each pattern alone


def test_the_package_is_far_below_the_size_limit() -> None:
    assert unpacked_bytes(packed_files(ROOT)) < MAX_UNPACKED_BYTES / 5


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
