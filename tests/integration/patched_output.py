"""Run by test_output_at_the_end.py in a process patched like the plugin's: it writes more than a pipe holds, and ends
in the turn of its last words.

Argument: how it ends. ``terminated`` by SIGTERM as ``main`` takes it, ``ended`` at the end of the script, ``exited`` by
``sys.exit``, ``failed`` by an exception.
"""

from __future__ import annotations

import main  # isort: skip  # patches the process: before any other library

import os
import signal
import sys

import gevent

from utils.aio import output

LINES = 3_000
LINE = "x" * 1_000


def run(how: str) -> None:
    """Write, and end at once."""
    written = output.install()

    def stop() -> None:
        print("last words", flush=True)
        main._stop(written)

    gevent.signal_handler(signal.SIGTERM, stop)
    gevent.sleep(0.01)  # the handler is installed by the hub
    for number in range(LINES):
        print(f"{number} {LINE}", flush=True)
    if how == "terminated":
        os.kill(os.getpid(), signal.SIGTERM)
        gevent.sleep(600)
    print("last words", flush=True)
    if how == "exited":
        sys.exit(3)
    if how == "failed":
        raise RuntimeError


if __name__ == "__main__":
    run(sys.argv[1])
