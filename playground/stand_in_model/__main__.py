"""``python -m playground.stand_in_model --port 0``: the stand-in in a process of its own, until it is stopped.

The first line on stdout is the base URL, for programs; the second says what it is, for people.
"""

from __future__ import annotations

import argparse
import signal

from playground.stand_in_model import ABOUT, StandInModel


def main() -> None:
    """Serve until SIGINT or SIGTERM."""
    parser = argparse.ArgumentParser(description=ABOUT)
    parser.add_argument("--port", type=int, default=0, help="port on 127.0.0.1; 0 takes a free one")
    stop = {signal.SIGINT, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, stop)  # before the server's thread starts, so that it inherits this
    with StandInModel(parser.parse_args().port) as model:
        print(model.base_url, ABOUT, sep="\n", flush=True)
        signal.sigwait(stop)


main()
