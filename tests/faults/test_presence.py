"""A worker that died is told from one that stands still: the first one's leases end at once, the other's run on."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import psutil
import psycopg

from playground.stand_in_model import StandInModel
from tests.faults.conftest import Site
from tests.faults.ledger import PostgresLedger, wait_until
from utils.state.presence import Presence

SHOW: Final = """
import sys
from pathlib import Path
from utils.state.presence import Presence
Presence(Path(sys.argv[1]), "store", "theirs").show()
print("shown", flush=True)
sys.stdin.read()
"""


@contextmanager
def other_process(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A process whose worker ``theirs`` can be seen."""
    with subprocess.Popen(
        [sys.executable, "-c", SHOW, str(folder)],
        cwd=Path(__file__).parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None and process.stdout.readline() == "shown\n"
        try:
            yield process
        finally:
            process.kill()


def shown(folder: Path, worker_id: str = "mine", scope: str = "store") -> Presence:
    presence = Presence(folder, scope, worker_id)
    presence.show()
    return presence


def test_a_killed_process_is_dead_and_a_stopped_one_is_not(tmp_path: Path) -> None:
    mine = shown(tmp_path)
    with other_process(tmp_path) as process:
        assert mine.find_dead() == []
        process.send_signal(signal.SIGSTOP)
        wait_until(lambda: psutil.Process(process.pid).status() == psutil.STATUS_STOPPED)
        assert mine.find_dead() == []
        process.kill()
        process.wait()
        assert mine.find_dead() == ["theirs"]
    assert mine.find_dead() == []


def test_two_workers_of_one_process_see_each_other_alive(tmp_path: Path) -> None:
    mine, sibling = shown(tmp_path), shown(tmp_path, "sibling")
    assert (mine.find_dead(), sibling.find_dead()) == ([], [])
    sibling.withdraw()
    sibling.withdraw()
    assert mine.find_dead() == ["sibling"]


def test_a_worker_of_another_store_is_nobodys_business(tmp_path: Path) -> None:
    mine, other = shown(tmp_path), shown(tmp_path, "other", scope="another store")
    other.withdraw()
    assert mine.find_dead() == []


def test_without_a_folder_nothing_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in (None, tmp_path / "file" / "workers"):
        nowhere = Presence(folder, "store", "mine")
        nowhere.show()
        assert nowhere.find_dead() == []
        nowhere.withdraw()


def test_the_leases_of_a_killed_process_end_before_their_time(
    postgres_site: Site[PostgresLedger], stand_in_model: StandInModel
) -> None:
    stand_in_model.control.set(verbatim=True, chat_latency_s=60.0)
    plugin = postgres_site.start()
    plugin.accept("alice", "I like tea.")
    wait_until(lambda: stand_in_model.control.counts["chat"] == 1)
    plugin.process.kill()
    with psycopg.connect(postgres_site.ledger.uri) as connection:
        connection.execute("UPDATE mem0_dify.write_queues SET lease_expires_at = lease_expires_at + 3600")
    stand_in_model.control.set(chat_latency_s=0.0)
    plugin = postgres_site.start()
    plugin.drain("alice")
    assert plugin.texts("alice") == ["I like tea."]
