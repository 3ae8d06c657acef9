"""The package as Dify's daemon installs and starts it: unpacked into an empty folder, its requirements in an empty
environment made by uv, ``python -m main`` with the daemon's environment. Once from the package index, and once from the
package that brings its wheels along, with every way to an index blocked.

It takes minutes and a package index: the wheels of both architectures are fetched anew.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from playground.credentials import Endpoint, credential_set, pgvector_block
from playground.dify_app import History, StandInDify
from playground.dify_host import PluginProcess
from playground.postgres import Database
from playground.stand_in_model import StandInModel
from release.offline import ARCHITECTURES, fetch_wheels, with_wheels
from release.package import ROOT, packed_files, write_package
from tests.plugin import Plugin

pytestmark = pytest.mark.long

USER: Final = "alice"
HERE: Final = next(name for name, machine in ARCHITECTURES.items() if machine == platform.machine())
NOWHERE: Final = "http://127.0.0.1:9"  # refuses
UNLIMITED: Final = 10**9


@pytest.fixture(scope="module")
def uv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """uv, in an environment of its own: the daemon's image has it the same way."""
    folder = tmp_path_factory.mktemp("uv")
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    subprocess.run([folder / "bin/python", "-m", "pip", "install", "--quiet", "uv"], check=True)
    return folder / "bin/uv"


@pytest.fixture(scope="module", params=ARCHITECTURES)
def wheels(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """An architecture and its wheels."""
    folder = tmp_path_factory.mktemp(request.param)
    fetch_wheels(ROOT / "requirements.txt", request.param, folder)
    return request.param, folder


@pytest.fixture(scope="module")
def everything(module_database: Database) -> Iterator[tuple[dict[str, Any], StandInDify]]:
    """Credentials of a store and of models, and a Dify app with conversations."""
    with StandInModel() as model, StandInDify(History()) as app:
        yield credential_set(Endpoint(model.base_url), pgvector_block(module_database), async_mode=False), app


def installed(uv: Path, package: Path, *arguments: str, **environment: str) -> Path:
    """Unpack and install a package the way the daemon does; the folder with its ``.venv``."""
    folder = package.with_suffix("")
    with zipfile.ZipFile(package) as opened:
        opened.extractall(folder)
    env = {"PATH": os.environ["PATH"], "VIRTUAL_ENV": str(folder / ".venv"), "UV_CACHE_DIR": str(folder / ".uv-cache")}
    env |= {name: os.environ[name] for name in ("SSL_CERT_FILE",) if name in os.environ} | environment
    # The daemon says "--python 3.12", its image's; here it is the one that runs the tests.
    python = Path(sys.base_prefix) / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}"
    for command in (
        [uv, "venv", ".venv", "--python", python],
        [uv, "pip", "install", "--prerelease=allow", *arguments, "-r", "requirements.txt"],
        [folder / ".venv/bin/python", "-m", "compileall", "-q", "-x", r"\.venv|\.uv-cache", "."],
    ):
        run = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
        assert run.returncode == 0, run.stdout + run.stderr
    return folder


def test_installed_from_the_index_every_tool_does_its_work(
    uv: Path, tmp_path: Path, everything: tuple[dict[str, Any], StandInDify]
) -> None:
    write_package(packed_files(ROOT), tmp_path / "mem0ai.difypkg")
    folder = installed(uv, tmp_path / "mem0ai.difypkg")
    every_tool_does_its_work(folder, tmp_path, *everything)


def test_wheels_of_each_architecture_are_whole_and_install_where_no_index_can_be_reached(
    uv: Path, wheels: tuple[str, Path], tmp_path: Path, everything: tuple[dict[str, Any], StandInDify]
) -> None:
    architecture, fetched = wheels
    write_package(with_wheels(packed_files(ROOT), fetched), tmp_path / "offline.difypkg", UNLIMITED)
    resolved_for(uv, tmp_path / "offline.difypkg", ARCHITECTURES[architecture])
    if architecture == HERE:
        blocked = {"HTTP_PROXY": NOWHERE, "HTTPS_PROXY": NOWHERE, "ALL_PROXY": NOWHERE}
        mirror = ("-i", f"{NOWHERE}/simple")  # as with PIP_MIRROR_URL
        folder = installed(uv, tmp_path / "offline.difypkg", *mirror, **blocked)
        every_tool_does_its_work(folder, tmp_path, *everything)


def resolved_for(uv: Path, package: Path, machine: str) -> None:
    """All that the requirements need on that machine (its markers, its tags) is among the wheels."""
    folder = package.with_name("resolved")
    with zipfile.ZipFile(package) as opened:
        opened.extractall(folder)
    command = [uv, "pip", "compile", "--quiet", "--no-cache", "--only-binary=:all:", "--python-version", "3.12"]
    command += ["--python-platform", f"{machine}-manylinux_2_28", "requirements.txt"]
    run = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    needed = [line for line in run.stdout.splitlines() if "==" in line]
    assert len(needed) <= len(list((folder / "wheels").iterdir()))
    assert any(line.startswith("dify-plugin==") for line in needed)


def every_tool_does_its_work(folder: Path, tmp_path: Path, credentials: dict[str, Any], app: StandInDify) -> None:
    python = folder / ".venv/bin/python"
    with PluginProcess({"HOME": str(tmp_path)}, cwd=folder, python=python) as process:
        plugin = Plugin(process, credentials)
        assert process.validate(credentials).error is None
        called = dict(_called(plugin, app))
    assert set(called) == {path.stem for path in (folder / "tools").glob("*.yaml")}
    assert len(called) == 12
    assert list(process.stray_lines) == []


def _called(plugin: Plugin, app: StandInDify) -> Iterator[tuple[str, str]]:
    """Each tool with the status it answered, which is what it should be."""
    added = plugin.call("add_memory", user_id=USER, user="I live in Lisbon.")
    yield "add_memory", _expect(added.status, "SUCCESS")
    found = plugin.call("search_memory", user_id=USER, query="Where do I live?")
    yield "search_memory", _expect(found.status, "SUCCESS")
    memory_id = found.results[0]["id"]
    read = plugin.call("get_memory", memory_id=memory_id)
    yield "get_memory", _expect(read.status, "SUCCESS")
    assert "Lisbon" in read.results["memory"] and read.results["memory"] == found.results[0]["memory"]
    updated = plugin.call("update_memory", memory_id=memory_id, text="Lives in Porto")
    yield "update_memory", _expect(updated.status, "SUCCESS")
    listed = plugin.call("get_all_memories", user_id=USER)
    yield "get_all_memories", _expect(listed.status, "SUCCESS")
    assert [one["memory"] for one in listed.results] == ["Lives in Porto"]
    history = plugin.call("get_memory_history", memory_id=memory_id)
    yield "get_memory_history", _expect(history.status, "SUCCESS")
    assert [one["event"] for one in history.results] == ["ADD", "UPDATE"]
    yield from _extracted(plugin.with_credentials(async_mode=True), app)
    forgotten = plugin.call("forget_memories", user_id=USER, dry_run=True)
    yield "forget_memories", _expect(forgotten.status, "SUCCESS")
    yield "delete_memory", _expect(plugin.call("delete_memory", memory_id=memory_id).status, "SUCCESS")
    assert plugin.call("get_memory", memory_id=memory_id).status == "NOT_FOUND"
    yield "delete_all_memories", _expect(plugin.call("delete_all_memories", user_id=USER).status, "SUCCESS")
    assert plugin.call("get_all_memories", user_id=USER).results == []


def _extracted(plugin: Plugin, app: StandInDify) -> Iterator[tuple[str, str]]:
    app.history.converse(USER, time.time() - 36 * 3600, ("I like jazz.", "Who doesn't?"))
    dify = {"app_id": "app", "dify_base_url": app.base_url, "dify_api_key": app.control.settings.accepted_key}
    started = plugin.call("extract_long_term_memory", user_ids=USER, days_back=2, **dify)
    yield "extract_long_term_memory", _expect(started.status, "ACCEPTED")
    asked = plugin.call("check_extraction_status", task_id=started.variables["task_id"])
    while asked.variables["task_status"] not in ("completed", "failed"):
        time.sleep(0.2)
        asked = plugin.call("check_extraction_status", task_id=started.variables["task_id"])
    yield "check_extraction_status", _expect(asked.status, "SUCCESS")
    assert asked.variables["task_status"] == "completed" and asked.variables["processed_messages"] == 1
    checkpoint = plugin.call("get_user_checkpoint", user_id=USER, app_id="app")
    yield "get_user_checkpoint", _expect(checkpoint.status, "SUCCESS")


def _expect(status: str, expected: str) -> str:
    assert status == expected
    return status
