"""What the contract tests share."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import PROJECT_ROOT


@pytest.fixture(scope="session")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The project as the SDK's loader sees it (tests/contract/loaded_plugin.py)."""
    target = tmp_path_factory.mktemp("loaded") / "plugin.json"
    script = Path(__file__).with_name("loaded_plugin.py")
    run = subprocess.run(
        [sys.executable, str(script), str(target)], cwd=PROJECT_ROOT, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    described: dict[str, Any] = json.loads(target.read_text(encoding="utf-8"))
    return described
