"""The plugin's entry point: what Dify starts, and what ``python -m main`` starts for remote debugging.

Order matters. Telemetry is off and the process environment is scrubbed before anything of mem0 can be imported; the
SDK is imported first of all libraries, because it patches the process for gevent.
"""

import os
import sys
from pathlib import Path

os.environ["TIKTOKEN_CACHE_DIR"] = str(
    Path(__file__).resolve().parent / "_assets" / "tiktoken"
)  # nothing is downloaded
os.environ["MEM0_TELEMETRY"] = "False"
os.environ["ANONYMIZED_TELEMETRY"] = "False"  # Chroma's

import signal

import dify_plugin
import gevent
from dify_plugin.config.logger_format import DifyPluginLoggerFormatter

from utils import log
from utils.aio import output, polling
from utils.aio.request_greenlets import RequestGreenlets
from utils.mem0 import environment
from utils.runtime.runtime import runtime

_LONGEST_REQUEST_S = 300  # the SDK's own default; Dify's daemon gives up on a call after 600 s


def main() -> None:
    """Start the plugin and serve until it is told to stop."""
    environment.scrub_environment()
    polling.install()
    stdout = output.install()
    _send_logs_to_the_sdk()
    config = dify_plugin.DifyPluginEnv(MAX_REQUEST_TIMEOUT=_LONGEST_REQUEST_S)
    if config.INSTALL_METHOD.value == "remote" and not config.REMOTE_INSTALL_KEY:
        sys.exit(
            "REMOTE_INSTALL_KEY is missing: copy .env.example to .env and fill in the debugging key that Dify shows "
            "under Plugins > Debug."
        )
    plugin = dify_plugin.Plugin(config)
    plugin.executer = RequestGreenlets(config.MAX_WORKER)  # type: ignore[assignment]  # all the SDK does is submit
    for number in (signal.SIGTERM, signal.SIGINT):
        gevent.signal_handler(number, _stop, stdout)
    if hasattr(signal, "SIGUSR1"):  # not on Windows
        gevent.signal_handler(signal.SIGUSR1, runtime().tell_vitals)
    plugin.run()


def _send_logs_to_the_sdk() -> None:
    """Log lines go to stdout as the SDK's JSON events; plain text there would break the protocol."""
    import logging

    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(DifyPluginLoggerFormatter())
    log.attach(handler)


def _stop(stdout: output.BatchedOutput) -> None:
    """Drain, close and leave; the SDK's own threads would keep the process alive for ever."""
    runtime().stop()
    stdout.send()
    os._exit(0)


if __name__ == "__main__":
    main()
