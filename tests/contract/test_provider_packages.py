"""The packages that CONFIG.md names, each installed into a folder of its own in the version it names: they are enough.

It fetches from a package index, so it is for ``make test-long``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Final

import pytest

from playground.provider_matrix import KINDS, Row, knowledge, rows

pytestmark = pytest.mark.long
ROOT: Final = Path(__file__).resolve().parents[2]
NAMED: Final = [
    pytest.param(row, id=f"{row.kind}-{row.name}")
    for kind in KINDS
    for row in rows(kind)
    if row.package and not row.refusal and row.run != "read"
]
_LITELLM: Final = """
import sys
from tests.unit.models.scripted_endpoint import ScriptedEndpoint, chat
from utils.mem0 import building
from utils.models.chat import ChatModel
with ScriptedEndpoint() as vendor:
    vendor.script(chat("fine"))
    for key in ("one", "two"):
        llm = ChatModel(building.build_llm("litellm", {"model": "openai/m", "api_key": key}), "litellm", 60.0)
        sys.modules["litellm"].api_base = vendor.base_url + "/v1"
        print(llm.generate([{"role": "user", "content": "hello"}]), vendor.headers[-1]["Authorization"])
"""


@cache
def installed(package: str) -> str:
    """The folder the packages were installed into."""
    folder = mkdtemp(prefix="packages-")
    wanted = [f"{name}=={knowledge()['tested'][name]}" for name in package.split()]
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target", folder]
    subprocess.run([*install, *wanted], check=True)
    return folder


def python(package: str, *arguments: str, **more: str) -> str:
    """What a process prints that has the package, too."""
    path = os.pathsep.join([more.pop("path", ""), str(ROOT), installed(package)])
    environment = {**os.environ, **more, "PYTHONPATH": path}
    done = subprocess.run(
        [sys.executable, *arguments], env=environment, cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("row", NAMED)
def test_with_the_package_it_builds(row: Row) -> None:
    said = python(row.package, "tests/contract/build_provider.py", json.dumps([row.kind, row.name, row.block]))
    assert json.loads(said.splitlines()[-1]) is None


def test_litellm_asks_with_the_key_of_each_block_and_nobody_else(tmp_path: Path) -> None:
    record = tmp_path / "network.jsonl"
    recorder = str(ROOT / "tests" / "network_recorder")
    said = python("litellm", "-c", _LITELLM, path=recorder, NETWORK_RECORD=str(record))
    assert said.splitlines()[-2:] == ["fine Bearer one", "fine Bearer two"]
    hosts = {json.loads(line)[0] for line in record.read_text("utf-8").splitlines()}
    assert hosts <= {"127.0.0.1", "localhost", "None"}
