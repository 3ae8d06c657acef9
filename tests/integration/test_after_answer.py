"""Work left for after the answer begins when the last message has been taken, or when nobody takes the rest."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path


def test_work_begins_after_the_last_message_and_also_when_the_caller_leaves() -> None:
    script = Path(__file__).with_name("patched_after_answer.py")
    root = script.parent.parent.parent
    done = subprocess.run(
        [sys.executable, str(script)],
        cwd=root,
        env={"PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=True,
    )
    events = json.loads(done.stdout.splitlines()[-1])
    assert events["read to its end"] == ["json", "text", "variable", "variable", "variable", "work"]
    assert events["left after the first message"] == ["json", "work"]
    assert events["failed"][-1] == "work" and events["failed"][0] == "json"
