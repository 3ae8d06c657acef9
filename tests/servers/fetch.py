"""Brings the servers into ``.fetched/``: an environment with the wheels, and the jars with a compiled starter each.

The environment sees the packages for development, too, so ``.fetched/venv/bin/python -m pytest`` runs this project's
tests with the stores' clients at hand; the packages for development stay what they are.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).parent / ".fetched"
PYTHON: Final = FOLDER / "venv" / "bin" / "python"
_SOURCES: Final = Path(__file__).parent / "java"
_REQUIREMENTS: Final = Path(__file__).parent / "requirements.txt"
_DONE: Final = "fetched"  # written last, so that an interrupted download is begun anew
JARS: Final = ("opensearch", "elasticsearch")


class FetchError(Exception):
    """Something could not be fetched; the message says why in words for people."""


def missing_program() -> str | None:
    """The first program the Java servers need and this machine lacks; None when all are there."""
    return next((name for name in ("java", "javac", "mvn") if shutil.which(name) is None), None)


def jars(engine: str) -> Path | None:
    """The folder of a Java server, its jars in ``lib`` and ``plugins``; None where it was not fetched."""
    folder = FOLDER / engine
    return folder if (folder / _DONE).exists() else None


def main() -> None:
    """Fetch what is not there yet, and say what this machine cannot run."""
    try:
        _fetch_wheels()
        if (missing := missing_program()) is not None:
            print(f"No {missing} on PATH: {' and '.join(JARS)} are left out (they need Java 17 or newer, and Maven).")
            return
        for engine in JARS:
            _fetch_jars(engine)
    except FetchError as exc:
        sys.exit(str(exc))


def _fetch_wheels() -> None:
    stamp = FOLDER / "venv" / _DONE
    if stamp.exists() and stamp.read_text() == _REQUIREMENTS.read_text():
        return
    print("Fetching the servers that come as wheels, and the stores' clients (once, some minutes)", flush=True)
    _run([sys.executable, "-m", "venv", str(FOLDER / "venv")])
    own = PYTHON.parent.parent / "lib" / f"python{sysconfig.get_python_version()}" / "site-packages"
    (own / "development.pth").write_text(sysconfig.get_path("purelib") + "\n")
    _run([str(PYTHON), "-m", "pip", "install", "-q", "--disable-pip-version-check", "-r", str(_REQUIREMENTS)])
    stamp.write_text(_REQUIREMENTS.read_text())


def _fetch_jars(engine: str) -> None:
    """Copy the jars of ``java/<engine>`` into its ``lib``, unpack its plugins, compile its starter."""
    if jars(engine) is not None:
        return
    print(f"Fetching {engine} (once, some minutes)", flush=True)
    folder, pom = FOLDER / engine, _SOURCES / engine / "pom.xml"
    maven = ["mvn", "-q", "-B", "-f", str(pom)]
    _run([*maven, "dependency:copy-dependencies", f"-DoutputDirectory={folder / 'lib'}", "-DincludeScope=runtime"])
    for archive in (folder / "lib").glob("*.zip"):
        with zipfile.ZipFile(archive) as plugin:
            plugin.extractall(folder / "lib", [name for name in plugin.namelist() if name.endswith(".jar")])
        archive.unlink()
    source = next((_SOURCES / engine).glob("*.java"))
    _run(["javac", "-cp", f"{folder / 'lib'}/*", "-d", str(folder / "classes"), str(source)])
    (folder / _DONE).touch()


def _run(command: Sequence[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise FetchError(f"{' '.join(command[:6])} … failed:\n{(done.stdout + done.stderr)[-2000:]}")


if __name__ == "__main__":
    main()
