"""``make package``: the plugin as a ``.difypkg``, made without any program of Dify's.

A ``.difypkg`` is a zip of the files that ``.difyignore`` leaves in. What Dify's own packager (``dify-plugin plugin
package``) or its daemon would refuse is refused here, with a sentence for each fault. The same files make the same
bytes, in whatever folder and on whatever day: entries stand in the order of their names, without the times and modes
of the disk, and are not compressed, since every zlib compresses in its own way.

Where there is Dify's program (the environment variable ``DIFY_PLUGIN_CLI`` names it, else it is looked for on
``PATH``), it packs, too, and has to pack the same files.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Final

import yaml
from pathspec import GitIgnoreSpec

ROOT: Final = Path(__file__).resolve().parent.parent
# What Dify's packager, its daemon (MAX_PLUGIN_PACKAGE_SIZE) and the marketplace take, all files together, unpacked.
MAX_UNPACKED_BYTES: Final = 50 * 1024 * 1024
_TRANSLATED_README: Final = re.compile(r"readme/README_[a-z]{2}_[A-Za-z]{2,}\.md")
_NO_TIME: Final = (1980, 1, 1, 0, 0, 0)  # the first that a zip can hold
_UNIX: Final = 3
_MODE: Final = 0o100644 << 16

Files = Mapping[str, bytes]


class PackageRefused(Exception):
    """Dify would not take the package; the message has a line for each reason."""


def main() -> int:
    """Pack this checkout into ``dist/``; the exit status."""
    try:
        files = packed_files(ROOT)
        target = ROOT / "dist" / f"{package_name(files)}.difypkg"
        write_package(files, target)
        print(f"{target.relative_to(ROOT)}: {len(files)} files, {mebibytes(unpacked_bytes(files))}")
        if program := dify_packager():
            compare_with_dify(program, ROOT, files)
            print(f"{program} packs the same files")
    except PackageRefused as refused:
        print(refused, file=sys.stderr)
        return 1
    return 0


def packed_names(root: Path) -> list[str]:
    """The paths below ``root`` that ``.difyignore`` leaves in, in order; an ignored folder is not looked into."""
    ignored = GitIgnoreSpec.from_lines(ignore_patterns(root))
    return sorted(_kept(root, ignored))


def ignore_patterns(root: Path) -> list[str]:
    """The lines of ``.difyignore`` that say something."""
    lines = (line.strip() for line in (root / ".difyignore").read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def packed_files(root: Path) -> dict[str, bytes]:
    """What goes into the package, by path."""
    return {name: (root / name).read_bytes() for name in packed_names(root)}


def write_package(files: Files, target: Path, max_unpacked_bytes: int = MAX_UNPACKED_BYTES) -> None:
    """Write ``files`` as a package.

    Args:
        files: contents by path.
        target: the file to make; its folder is made, too.
        max_unpacked_bytes: what all files may have together.

    Raises:
        PackageRefused: Dify would not take it; nothing is written.
    """
    if faults := [*_faults(files), *_too_large(files, max_unpacked_bytes)]:
        raise PackageRefused("\n".join(faults))
    target.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as package:
        for name in sorted(files):
            entry = zipfile.ZipInfo(name, _NO_TIME)
            entry.create_system, entry.external_attr = _UNIX, _MODE
            package.writestr(entry, files[name])


def package_name(files: Files) -> str:
    """Name and version of the plugin, as its files are called."""
    manifest = _mapping(files, "manifest.yaml")
    return f"{manifest['name']}-{manifest['version']}"


def unpacked_bytes(files: Files) -> int:
    """What all files have together."""
    return sum(map(len, files.values()))


def mebibytes(size: int) -> str:
    """A size for people."""
    return f"{size / 1024 / 1024:.1f} MiB unpacked"


def dify_packager() -> str | None:
    """Dify's own program, where it is installed."""
    return os.environ.get("DIFY_PLUGIN_CLI") or shutil.which("dify-plugin") or shutil.which("dify")


def compare_with_dify(program: str, root: Path, files: Files) -> None:
    """Pack ``root`` with Dify's own program as well.

    Raises:
        PackageRefused: it refuses, or packs something else.
    """
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "theirs.difypkg"
        command = [program, "plugin", "package", str(root), "-o", str(target)]
        # A home of its own: the program keeps settings there, and what it packs must not depend on them.
        run = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "HOME": folder})
        if run.returncode != 0 or not target.exists():
            raise PackageRefused(f"{program} refuses: {run.stdout}{run.stderr}")
        with zipfile.ZipFile(target) as package:
            theirs = {name: package.read(name) for name in package.namelist()}
    if theirs != files:
        different = sorted(name for name in {*theirs, *files} if theirs.get(name) != files.get(name))
        raise PackageRefused(f"{program} packs something else: {', '.join(different)}")


def _kept(root: Path, ignored: GitIgnoreSpec) -> Iterator[str]:
    for folder, folders, names in os.walk(root):
        below = PurePosixPath(Path(folder).relative_to(root).as_posix())
        folders[:] = [name for name in folders if not ignored.match_file(f"{below / name}/")]
        yield from (str(below / name) for name in names if not ignored.match_file(str(below / name)))


def _faults(files: Files) -> Iterator[str]:
    """What Dify's packager and daemon look at: the manifest and all it names, pictures, READMEs, requirements."""
    try:
        for name in _named(files):
            if name not in files:
                yield f"{name} is needed, but not there"
    except (KeyError, TypeError) as error:
        yield f"a yaml file lacks {error}"
    for name in files:
        if name.startswith("readme/") and not _TRANSLATED_README.fullmatch(name):
            yield f"{name} is no name of a translated README (readme/README_zh_Hans.md)"


def _named(files: Files) -> Iterator[str]:
    """Every file that must be there; the yaml files among them are read in turn."""
    yield from ("manifest.yaml", "README.md", "requirements.txt")
    manifest = _mapping(files, "manifest.yaml")
    yield f"{manifest['meta']['runner']['entrypoint']}.py"
    if "://" not in manifest["privacy"]:
        yield manifest["privacy"]
    yield from _icons(manifest)
    for provider_file in manifest["plugins"]["tools"]:
        provider = _mapping(files, provider_file)
        yield from (provider_file, provider["extra"]["python"]["source"], *_icons(provider["identity"]))
        for tool_file in provider["tools"]:
            yield from (tool_file, _mapping(files, tool_file)["extra"]["python"]["source"])


def _icons(identity: Mapping[str, Any]) -> list[str]:
    return [f"_assets/{identity[key]}" for key in ("icon", "icon_dark")]


def _mapping(files: Files, name: str) -> dict[str, Any]:
    read = yaml.safe_load(files.get(name, b"{}"))
    if not isinstance(read, dict):
        raise PackageRefused(f"{name} holds no mapping")
    return read


def _too_large(files: Files, max_unpacked_bytes: int) -> Iterator[str]:
    if (size := unpacked_bytes(files)) > max_unpacked_bytes:
        largest = sorted(files, key=lambda name: -len(files[name]))[:5]
        yield f"{mebibytes(size)}, more than the {max_unpacked_bytes:,} bytes that Dify takes; {', '.join(largest)}"


if __name__ == "__main__":
    sys.exit(main())
