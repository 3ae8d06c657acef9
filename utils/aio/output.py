"""stdout for the SDK, which writes an answer in some ten messages, each of them in two pieces that are sent at once.

What is written before the process's one thread turns to something else goes out together: one system call, and one
wake-up of the reader, for an answer instead of twenty. Whole writes stay whole and in their order, from whatever
thread they come. What was not sent when the process is killed is lost, as an answer that was not yet written is.
"""

from __future__ import annotations

import atexit
import io
import logging
import sys
from collections import deque
from typing import TextIO

import gevent


class BatchedOutput(io.TextIOBase):
    """A stream that passes on what was written when the current turn of gevent's hub ends.

    Args:
        stream: where to.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._loop = gevent.get_hub().loop
        self._waiting: deque[str] = deque()
        self._scheduled = False

    @property
    def encoding(self) -> str:  # type: ignore[override]  # an attribute there
        """As the stream's."""
        return self._stream.encoding

    def fileno(self) -> int:
        """The stream's."""
        return self._stream.fileno()

    def write(self, text: str) -> int:
        """Take ``text``; it goes out soon, whether or not :meth:`flush` is called."""
        self._waiting.append(text)
        if not self._scheduled:
            self._scheduled = True
            self._loop.run_callback_threadsafe(self.send)
        return len(text)

    def flush(self) -> None:
        """Nothing: what was written is on its way, and at the latest the end of the process sends it (``install``; for
        SIGTERM and SIGINT ``main``).
        """

    def send(self) -> None:
        """Pass on what waits, now."""
        self._scheduled = False  # before taking: a thread that writes from here on asks for another turn
        texts = []
        while self._waiting:
            texts.append(self._waiting.popleft())
        if texts:
            self._stream.write("".join(texts))
            self._stream.flush()


def install() -> BatchedOutput:
    """Put a :class:`BatchedOutput` in the place of ``sys.stdout``; what waits at the end of the process is sent.

    The SDK's log handlers hold the old one. They get the new one, too: a second way to the same pipe would let a log
    line overtake the plugin's first message, or fall between the two pieces of another.
    """
    stdout = sys.stdout
    output = BatchedOutput(stdout)
    sys.stdout = output
    named = [each for each in logging.root.manager.loggerDict.values() if isinstance(each, logging.Logger)]
    for logger in (logging.root, *named):
        for handler in logger.handlers:
            if isinstance(handler, logging.StreamHandler) and handler.stream is stdout:
                handler.setStream(output)
    atexit.register(output.send)
    return output
