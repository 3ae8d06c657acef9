"""``make offline-package``: packages that bring their wheels along, for sites that reach no package index.

One for each architecture: what ``make package`` packs, the wheels of everything that ``requirements.txt`` names in
``wheels/``, and in ``requirements.txt`` the two lines that have Dify's daemon (``uv pip install -r requirements.txt``)
look there and nowhere else, whatever index it is set to. Wheels only, for CPython 3.12 and the glibc of the daemon's
image: nothing is compiled on installing. A site without internet is more often than not behind in everything, so
wheels that need a glibc newer than 2.28 (Debian 10, RHEL 8) are not taken.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from release.package import (
    MAX_UNPACKED_BYTES,
    ROOT,
    Files,
    PackageRefused,
    mebibytes,
    package_name,
    packed_files,
    unpacked_bytes,
    write_package,
)

ARCHITECTURES: Final = {"amd64": "x86_64", "arm64": "aarch64"}  # as manifest.yaml calls them: as wheels do
WITHOUT_INDEX: Final = b"--no-index\n--find-links ./wheels/\n"
_OLDEST_GLIBC, _NEWEST_GLIBC = 5, 28  # 2.5 is manylinux1's; pip takes exactly the tags it is given
_PYTHON: Final = "312"
_LARGEST_BYTES: Final = 500 * 1024 * 1024  # what administrators of such sites commonly raise Dify's limit to


def main() -> int:
    """Fetch the wheels and pack; the exit status."""
    options = _options()
    try:
        files = packed_files(ROOT)
        for architecture in [options.only] if options.only else ARCHITECTURES:
            _make(files, architecture, options.wheels / architecture)
    except PackageRefused as refused:
        print(refused, file=sys.stderr)
        return 1
    return 0


def with_wheels(files: Files, wheels: Path) -> dict[str, bytes]:
    """The files of an offline package: ``files``, the wheels of a folder, and requirements that point at them."""
    brought = {f"wheels/{wheel.name}": wheel.read_bytes() for wheel in sorted(wheels.glob("*.whl"))}
    return {**files, **brought, "requirements.txt": WITHOUT_INDEX + files["requirements.txt"]}


def fetch_wheels(requirements: Path, architecture: str, folder: Path) -> None:
    """Bring everything that ``requirements`` names, and what that needs, into ``folder``; wheels only.

    Args:
        requirements: a ``requirements.txt``.
        architecture: a key of ``ARCHITECTURES``.
        folder: where the wheels go; others that lie there are removed.

    Raises:
        PackageRefused: the index has no wheel of something, or cannot be reached.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for wheel in folder.glob("*.whl"):
        wheel.unlink()
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    command += ["--only-binary=:all:", "--dest", str(folder), "--requirement", str(requirements)]
    run = subprocess.run([*command, *_target(architecture)], capture_output=True, text=True, check=False)
    if run.returncode != 0:
        raise PackageRefused(f"Not every wheel for {architecture} can be had: {run.stdout}{run.stderr}")


def _make(files: Files, architecture: str, wheels: Path) -> None:
    fetch_wheels(ROOT / "requirements.txt", architecture, wheels)
    complete = with_wheels(files, wheels)
    target = ROOT / "dist" / f"{package_name(files)}-offline-{architecture}.difypkg"
    write_package(complete, target, _LARGEST_BYTES)
    size = unpacked_bytes(complete)
    print(f"{target.relative_to(ROOT)}: {len(complete) - len(files)} wheels, {mebibytes(size)}")
    if size > MAX_UNPACKED_BYTES:
        print(
            f"  above Dify's limit of {MAX_UNPACKED_BYTES:,} bytes: raise PLUGIN_MAX_PACKAGE_SIZE (CONFIG.md, Offline)"
        )


def _target(architecture: str) -> Sequence[str]:
    """pip's options for another machine than this one."""
    platforms = [
        f"--platform=manylinux_2_{glibc}_{ARCHITECTURES[architecture]}"
        for glibc in range(_NEWEST_GLIBC, _OLDEST_GLIBC - 1, -1)
    ]
    legacy = [f"--platform=manylinux{year}_{ARCHITECTURES[architecture]}" for year in ("2014", "2010", "1")]
    abis = [f"--abi={abi}" for abi in (f"cp{_PYTHON}", "abi3", "none")]
    return [*platforms, *legacy, f"--python-version={_PYTHON}", "--implementation=cp", *abis]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m release.offline", description="Packages with their wheels.")
    parser.add_argument(
        "--wheels", type=Path, default=ROOT / "dist/wheels", metavar="FOLDER", help="where wheels are kept"
    )
    parser.add_argument("--only", choices=ARCHITECTURES, help="this architecture alone")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
