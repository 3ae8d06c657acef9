"""The commands of CONFIG.md's section "Backup", run as they stand there: what is lost comes back with its history."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from playground.dify_host import PluginProcess
from playground.postgres import BINARIES, Database
from tests.conftest import PROJECT_ROOT
from tests.plugin import Plugin
from utils.config.state_location import FOLDER_VARIABLE

CONFIG: Final = (PROJECT_ROOT / "CONFIG.md").read_text(encoding="utf-8")
SECTION: Final = CONFIG.partition("\n## Backup\n")[2].partition("\n## ")[0]
POSTGRES, SQLITE = re.findall(r"^```sh\n(.*?)^```", SECTION, re.MULTILINE | re.DOTALL)


def run(command: str, folder: Path, **environment: str) -> None:
    """Run a line of the document in a shell, with PostgreSQL's programs of the version that the tests run."""
    path = f"{BINARIES}{os.pathsep}{os.environ['PATH']}"
    subprocess.run(["bash", "-c", command], cwd=folder, env=os.environ | environment | {"PATH": path}, check=True)


def test_a_dump_brings_memories_and_history_back(
    plugin_process: Callable[..., PluginProcess],
    pgvector_credentials: dict[str, Any],
    database: Database,
    tmp_path: Path,
) -> None:
    dump, restore = POSTGRES.splitlines()
    plugin = Plugin(plugin_process(), pgvector_credentials).with_credentials(async_mode=False)
    memory_id = plugin.call("add_memory", user="Likes tea", user_id="ana", infer=False).results[0]["id"]
    run(dump, tmp_path, DATABASE_URL=database.uri)  # the plugin goes on running
    plugin.call("delete_all_memories", user_id="ana", purge_history=True)
    plugin.process.kill()
    run(restore, tmp_path, DATABASE_URL=database.uri)
    again = Plugin(plugin_process(), plugin.credentials)
    assert again.call("get_memory", memory_id=memory_id, user_id="ana").results["memory"] == "Likes tea"
    assert [change["event"] for change in again.call("get_memory_history", memory_id=memory_id).results] == ["ADD"]


def test_a_copy_of_the_sqlite_state_has_what_was_written_last(
    plugin_process: Callable[..., PluginProcess], qdrant_credentials: dict[str, Any], state_folder: Path, tmp_path: Path
) -> None:
    """SQLite's own program runs the line; where there is none, its statement is run by the library."""
    plugin = Plugin(plugin_process(), qdrant_credentials).with_credentials(async_mode=False)
    plugin.call("add_memory", user="Likes tea", user_id="ana", infer=False)
    if shutil.which("sqlite3"):
        run(SQLITE, tmp_path, **{FOLDER_VARIABLE: str(state_folder)})
    else:
        told = SQLITE.replace(f"${FOLDER_VARIABLE}", str(state_folder))
        file, statement = re.findall(r'"([^"]+)"', told)
        sqlite3.connect(file).execute(statement)
    copied = sqlite3.connect(state_folder / "backup.sqlite3").execute("SELECT new_memory FROM history").fetchall()
    assert copied == [("Likes tea",)]
