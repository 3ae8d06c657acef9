"""What was written before the process ends is read to the last byte, whatever ends it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

LINES, LINE = 3_000, "x" * 1_000  # as patched_output.py writes them


@pytest.mark.parametrize(("how", "exit_code"), [("terminated", 0), ("ended", 0), ("exited", 3), ("failed", 1)])
def test_everything_that_was_written_is_read(how: str, exit_code: int) -> None:
    script = Path(__file__).with_name("patched_output.py")
    root = script.parent.parent.parent
    with subprocess.Popen(
        [sys.executable, str(script), how],
        cwd=root,
        env={"PYTHONPATH": str(root)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        lines = list(process.stdout)  # far more than the pipe holds: the end waits for whoever reads
    assert [line.rstrip("\n") for line in lines] == [*(f"{number} {LINE}" for number in range(LINES)), "last words"]
    assert process.returncode == exit_code
