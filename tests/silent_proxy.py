"""A TCP relay that can fall silent: what is sent through it then stays away, as behind a broken network.

It stands between one process and a server that others reach directly, so that only one side is cut off.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import Final, Self

_CHUNK_BYTES: Final = 65_536


class SilentProxy:
    """Relays connections to ``host:port``; ``silence`` keeps back what comes, ``speak`` lets it through again."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._speaking = threading.Event()
        self._speaking.set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = [self._listener]

    @property
    def port(self) -> int:
        """Where it listens, on 127.0.0.1."""
        return int(self._listener.getsockname()[1])

    def silence(self) -> None:
        """From now on nothing arrives, in either direction, and nobody is told."""
        self._speaking.clear()

    def speak(self) -> None:
        """Let through what was kept back, and everything after it."""
        self._speaking.set()

    def drop(self) -> None:
        """Reset the connections there are; new ones are relayed."""
        for each in self._sockets[1:]:
            with contextlib.suppress(OSError):  # it is closed already
                each.shutdown(socket.SHUT_RDWR)
        del self._sockets[1:]

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._speaking.set()
        for each in self._sockets:
            each.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # the listener is closed in the end
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._target)
                self._sockets += [client, server]
                for source, sink in ((client, server), (server, client)):
                    threading.Thread(target=self._relay, args=(source, sink), daemon=True).start()

    def _relay(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(_CHUNK_BYTES):
                self._speaking.wait()
                sink.sendall(data)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)
