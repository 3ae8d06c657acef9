"""Dify's side of a local plugin: starts ``python -m main`` as a child and speaks the SDK's stdio protocol to it.

One JSON object per line. In: ``{"event": "request", "session_id", "data"}``. Out: the manifest first, then events:
``session`` (``stream``, ``error`` or ``end`` of one call), ``log``, ``heartbeat``, ``error``. As under Dify's daemon
the child gets an environment of its own and is stopped with SIGKILL. Anything on stdout that is not protocol is kept in
``stray_lines``, so that a test can demand that there is none.

Any number of calls may be in flight, from any threads; one thread reads stdout, one stderr.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import IO, Any, Final, Self

import psutil

from playground.invocation import Invocation, LogLine, PluginDied, Reply

PROVIDER: Final = "mem0ai"
_ROOT: Final = Path(__file__).resolve().parent.parent
_LINES_KEPT: Final = 5_000
# For what will never come: a machine may be busy with something else.
_START_TIMEOUT_S: Final = 300.0
_CALL_TIMEOUT_S: Final = 600.0
_STOP_TIMEOUT_S: Final = 300.0
_SAID_WITHIN_S: Final = 300.0
_PASSED_ON: Final = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "SYSTEMROOT")


class PluginProcess:
    """One plugin process; making the object starts nothing.

    Args:
        env: what the child's environment holds beside PATH, HOME, the locale and TMPDIR.
        cwd: the plugin's folder.
        python: the interpreter, with the plugin's packages.

    Attributes:
        manifest: the declaration the plugin sent as its first line.
        first_line_s: seconds from the start of the process to that line.
        heartbeats: ``time.monotonic()`` of each heartbeat.
        logs: the plugin's log events.
        stderr_lines, raw_lines, stray_lines: the last of what it wrote; of stdout everything, and what is no protocol.
        longest_line_bytes: the longest line on stdout; the daemon kills a plugin above 5 MiB.
    """

    def __init__(
        self, env: Mapping[str, str] | None = None, cwd: Path | str = _ROOT, python: Path | str = sys.executable
    ) -> None:
        kept = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        # INSTALL_METHOD is said outright: the SDK would else read it from a developer's .env in the plugin's folder.
        self._env = {**kept, "INSTALL_METHOD": "local", **(env or {})}
        self._cwd = str(cwd)
        self._command = (str(python), "-m", "main")
        self._process: subprocess.Popen[bytes] | None = None
        self._threads: list[threading.Thread] = []
        self._replies: dict[str, Reply] = {}
        self._write_lock = threading.Lock()
        self._changed = threading.Condition()
        self._ended = False
        self.longest_line_bytes = 0
        self.manifest: dict[str, Any] | None = None
        self.first_line_s: float | None = None
        self.heartbeats: deque[float] = deque(maxlen=_LINES_KEPT)
        self.logs: deque[LogLine] = deque(maxlen=_LINES_KEPT)
        self.raw_lines: deque[str] = deque(maxlen=_LINES_KEPT)
        self.stray_lines: deque[str] = deque(maxlen=_LINES_KEPT)
        self.stderr_lines: deque[str] = deque(maxlen=_LINES_KEPT)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exc_info: object) -> None:
        self.kill()

    # -- the process

    def start(self, timeout_s: float = _START_TIMEOUT_S) -> Self:
        """Start the process and wait for its manifest.

        Raises:
            PluginDied: it ended, or said nothing within ``timeout_s``; with what it wrote to stderr.
        """
        self._started_at = time.monotonic()
        self._process = subprocess.Popen(
            self._command,
            cwd=self._cwd,
            env=self._env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C in the terminal is the host's to handle
        )
        for name, read in (("stdout", self._read_stdout), ("stderr", self._read_stderr)):
            pipe = getattr(self._process, name)
            self._threads.append(threading.Thread(target=read, args=(pipe,), name=f"plugin-{name}", daemon=True))
            self._threads[-1].start()
        try:
            self.wait_until(lambda: self.manifest, timeout_s)
        except TimeoutError:
            self.kill()
            raise PluginDied(f"The plugin process said nothing for {timeout_s} s. {self.last_words()}") from None
        except BaseException:
            self.kill()
            raise
        return self

    @property
    def pid(self) -> int:
        """The process id."""
        return self._running().pid

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.poll() is None

    def rss_bytes(self) -> int:
        """Resident memory of the process."""
        return int(psutil.Process(self.pid).memory_info().rss)

    def cpu_s(self) -> float:
        """The CPU time the process has used."""
        used = psutil.Process(self.pid).cpu_times()
        return float(used.user + used.system)

    def kill(self) -> None:
        """SIGKILL, as the daemon does it; returns when the process is gone. Calls in flight fail with PluginDied."""
        self._end(signal.SIGKILL)

    def terminate(self, timeout_s: float = _STOP_TIMEOUT_S) -> int:
        """SIGTERM; waits for the end and returns the exit code.

        Raises:
            subprocess.TimeoutExpired: it is still there after ``timeout_s``.
        """
        return self._end(signal.SIGTERM, timeout_s)

    def signal(self, number: int) -> None:
        """Send a signal and wait for nothing (SIGSTOP, SIGCONT)."""
        self._running().send_signal(number)

    def last_words(self, lines: int = 20) -> str:
        """The end of stderr and the stray lines, for error messages."""
        return "\n".join([*list(self.stray_lines)[-lines:], *list(self.stderr_lines)[-lines:]])

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise PluginDied("The plugin process was not started.")
        return self._process

    def _end(self, number: int, timeout_s: float = _STOP_TIMEOUT_S) -> int:
        if self._process is None:
            return 0
        self._process.send_signal(number)
        code = self._process.wait(timeout_s)
        for thread in self._threads:
            thread.join(timeout_s)
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            with contextlib.suppress(OSError):
                pipe.close()  # type: ignore[union-attr]  # all three were asked for
        return code

    # -- calls

    def submit(
        self, tool: str, parameters: Mapping[str, Any], credentials: Mapping[str, Any], *, user_id: str = "dify-user"
    ) -> Future[Invocation]:
        """Send a tool call and return at once; the future holds the :class:`Invocation` or PluginDied."""
        return self._send(
            tool,
            {
                "type": "tool",
                "action": "invoke_tool",
                "user_id": user_id,
                "provider": PROVIDER,
                "tool": tool,
                "credentials": dict(credentials),
                "credential_type": "api-key",
                "tool_parameters": dict(parameters),
            },
        )

    def invoke(
        self,
        tool: str,
        parameters: Mapping[str, Any],
        credentials: Mapping[str, Any],
        *,
        timeout_s: float = _CALL_TIMEOUT_S,
    ) -> Invocation:
        """Call a tool and wait for everything it sends.

        Raises:
            TimeoutError: the call has not ended after ``timeout_s``.
            PluginDied: the process ended first.
        """
        return self.submit(tool, parameters, credentials).result(timeout_s)

    def validate(self, credentials: Mapping[str, Any], *, timeout_s: float = _CALL_TIMEOUT_S) -> Invocation:
        """Have the provider's credentials checked; ``error`` of the result says why they were refused."""
        request = {
            "type": "tool",
            "action": "validate_tool_credentials",
            "user_id": "dify-user",
            "provider": PROVIDER,
            "credentials": dict(credentials),
        }
        return self._send("validate_credentials", request).result(timeout_s)

    def _send(self, name: str, request: dict[str, Any]) -> Future[Invocation]:
        process, session_id = self._running(), uuid.uuid4().hex
        line = json.dumps({"session_id": session_id, "event": "request", "data": request}) + "\n"
        assert process.stdin is not None  # noqa: S101 - it was asked for
        self._replies[session_id] = reply = Reply(name)
        try:
            with self._write_lock:
                process.stdin.write(line.encode())
                process.stdin.flush()
        except (BrokenPipeError, ValueError):  # ValueError: closed on this side
            self._replies.pop(session_id, None)
            reply.fail(PluginDied(f"The plugin process has ended. {self.last_words()}"))
        if self._ended:  # the reader may have failed the calls in flight before this one was among them
            self._fail_all()
        return reply.future

    # -- what it says

    def wait_for_log(self, pattern: str, *, timeout_s: float = _SAID_WITHIN_S) -> LogLine:
        """The first log line, past or coming, whose message matches the regular expression ``pattern``.

        Raises:
            TimeoutError: none came within ``timeout_s``.
        """
        wanted = re.compile(pattern)
        found = self.wait_until(
            lambda: next((line for line in self.logs if wanted.search(line.message)), None), timeout_s
        )
        assert found is not None  # noqa: S101 - wait_until raises otherwise
        return found

    def wait_for_heartbeat(self, *, timeout_s: float = _SAID_WITHIN_S) -> float:
        """The time of the next heartbeat (``time.monotonic()``)."""
        seen = len(self.heartbeats)
        self.wait_until(lambda: len(self.heartbeats) > seen, timeout_s)
        return self.heartbeats[-1]

    def wait_until[T](self, condition: Callable[[], T], timeout_s: float) -> T:
        """What ``condition`` gives once it is true; it is asked again after every line the plugin writes.

        Raises:
            TimeoutError: it is not true within ``timeout_s``.
            PluginDied: nor can it become true any more.
        """
        with self._changed:
            self._changed.wait_for(lambda: condition() or self._ended, timeout_s)
            if result := condition():
                return result
        if self._ended:
            raise PluginDied(f"The plugin process has ended. {self.last_words()}")
        raise TimeoutError(f"not seen within {timeout_s} s")

    def _read_stderr(self, pipe: IO[bytes]) -> None:
        for line in pipe:
            self.stderr_lines.append(line.decode(errors="replace").rstrip())

    def _read_stdout(self, pipe: IO[bytes]) -> None:
        try:
            for raw in pipe:
                if line := raw.decode(errors="replace").strip():
                    with self._changed:
                        self.longest_line_bytes = max(self.longest_line_bytes, len(raw))
                        self._take(line, len(raw))
                        self._changed.notify_all()
        finally:
            with self._changed:
                self._ended = True
                self._fail_all()
                self._changed.notify_all()

    def _take(self, line: str, size: int) -> None:
        self.raw_lines.append(line)
        try:
            message = json.loads(line)
        except ValueError:
            message = None
        if not isinstance(message, dict):
            self.stray_lines.append(line)
        elif self.manifest is None:
            self.first_line_s = time.monotonic() - self._started_at
            self.manifest = message
        else:
            self._take_event(message, line, size)

    def _take_event(self, message: dict[str, Any], line: str, size: int) -> None:
        match message.get("event"):
            case "session":
                self._take_reply(message, size)
            case "log":
                self.logs.append(LogLine.read(message))
            case "heartbeat":
                self.heartbeats.append(time.monotonic())
            case _:  # an error of the SDK itself is protocol, but nothing a working plugin ever sends
                self.stray_lines.append(line)

    def _take_reply(self, message: dict[str, Any], size: int) -> None:
        reply = self._replies.get(message["session_id"])
        if reply is not None and reply.take(message["data"], size):
            del self._replies[message["session_id"]]

    def _fail_all(self) -> None:
        while self._replies:
            _, reply = self._replies.popitem()
            reply.fail(PluginDied(f"The plugin process ended before it answered. {self.last_words()}"))
