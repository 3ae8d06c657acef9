"""``make demo``: a tour of the plugin in the terminal, with the real process, a real database and timings.

Starts an embedded PostgreSQL (data in ``playground/.data``, kept for the next run), a model endpoint and ``python -m
main``, and speaks to it as Dify's daemon does. The endpoint is the one that ``OPENAI_API_KEY`` is for; without a key a
small embedding model on this machine, beside an offline stand-in for the chat model. However it ends (done, failed,
Ctrl-C, SIGTERM), nothing it started keeps running; failing it says why in a sentence and exits with 1.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import psycopg
from rich.console import Console

from playground.credentials import credential_set, pgvector_block
from playground.dify_host import PluginProcess
from playground.endpoint import EndpointError, local_endpoint, real_endpoint
from playground.invocation import PluginDied
from playground.neo4j_server import running_graph
from playground.postgres import Database, PostgresError, PostgresServer
from playground.terminal import RECORDED, Terminal, shown_path
from playground.tour import Tour, TourFailed

_ROOT: Final = Path(__file__).resolve().parent.parent
_DATA: Final = _ROOT / "playground" / ".data"
_EMBEDDER: Final = _DATA / "embedder"
_RECORDED_WIDTH: Final = 108
_INTERRUPTED: Final = 130  # what shells say after Ctrl-C
# What a process behind a company's proxy needs to reach a real endpoint; the stand-in must be reached without it.
_NETWORK: Final = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy", "SSL_CERT_FILE")


def main() -> int:
    """Run the tour; the exit status."""
    options = _options()
    console = Console(record=options.record is not None, width=_RECORDED_WIDTH if options.record else None)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    try:
        _tour(Terminal(console), options.data, real_embedder=not options.stand_in)
    except KeyboardInterrupt:
        console.print("\nInterrupted; everything that was started has been stopped.")
        return _INTERRUPTED
    except (TourFailed, PostgresError, PluginDied, EndpointError, TimeoutError, OSError, psycopg.Error) as error:
        console.print("\n[bold red]The demo failed.[/]", end=" ")
        console.print(str(error) or type(error).__name__, markup=False, highlight=False)
        return 1
    if options.record is not None:
        options.record.write_text(_picture(console), encoding="utf-8")
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m playground.demo", description="A tour of the plugin.")
    parser.add_argument(
        "--record",
        type=Path,
        metavar="FILE.svg",
        help="also save what is shown as a picture",
    )
    parser.add_argument("--data", type=Path, default=_DATA, metavar="FOLDER", help="where memories are kept")
    parser.add_argument("--stand-in", action="store_true", help="fetch no embedding model")
    return parser.parse_args()


def _tour(terminal: Terminal, data: Path, *, real_embedder: bool) -> None:
    terminal.title("Mem0 for Dify", "the plugin as Dify runs it: a child process, over stdio")
    with _everything(terminal, data, real_embedder=real_embedder) as (plugin, credentials, database):
        Tour(plugin, credentials, terminal, database, data).run()
    terminal.closing("Run it again: these memories will still be there. Nothing is left running.")


@contextlib.contextmanager
def _everything(
    terminal: Terminal, data: Path, *, real_embedder: bool
) -> Iterator[tuple[PluginProcess, dict[str, Any], Database]]:
    """Start all parts, one line each; stop them in reverse order, which a second Ctrl-C does not cut short."""
    with contextlib.ExitStack() as stack:
        try:
            yield _start(stack, terminal, data, real_embedder=real_embedder)
        finally:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)


def _start(
    stack: contextlib.ExitStack, terminal: Terminal, data: Path, *, real_embedder: bool
) -> tuple[PluginProcess, dict[str, Any], Database]:
    endpoint = real_endpoint(os.environ)
    proxies: dict[str, str] = {}
    if endpoint is None:
        endpoint = local_endpoint(stack, _EMBEDDER if real_embedder else None, terminal.note)
    else:
        proxies = {name: os.environ[name] for name in _NETWORK if name in os.environ}
        terminal.note(f"Models: {endpoint.model} and {endpoint.embedding_model} at {endpoint.base_url}")
    started = time.perf_counter()
    server = stack.enter_context(PostgresServer(data / "postgres"))
    database = server.create_database(f"{endpoint.embedding_model}_{endpoint.dimensions}")
    terminal.started("PostgreSQL with pgvector", f"data in {shown_path(data)}", time.perf_counter() - started)
    plugin = stack.enter_context(PluginProcess({**proxies, "MEM0_DIFY_STATE_DIR": str(data / "state")}, _ROOT))
    size = f"first line after start, {plugin.rss_bytes() / 1e6:.0f} MB"
    terminal.started("python -m main", size, plugin.first_line_s or 0.0)
    credentials = credential_set(endpoint, pgvector_block(database, endpoint.dimensions), **_graph(terminal))
    return plugin, credentials, database


def _graph(terminal: Terminal) -> dict[str, str]:
    """The block of the Neo4j of ``make neo4j``, if that runs."""
    graph = running_graph()
    if graph is None:
        return {}
    terminal.note(f"Neo4j of `make neo4j` at {graph.url}")
    return {"local_graph_db_json_secret": json.dumps(graph.block)}


def _picture(console: Console) -> str:
    """What was shown, as SVG; without rich's web fonts, so that whoever looks at it fetches nothing from elsewhere."""
    return re.sub(r"@font-face\s*{.*?}\s*", "", console.export_svg(title="make demo", theme=RECORDED), flags=re.DOTALL)


if __name__ == "__main__":
    sys.exit(main())
