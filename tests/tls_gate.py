"""TLS before a server that has none, with a certificate that nobody knows: the embedded PostgreSQL comes without TLS.

As managed databases do, it takes encrypted connections only. Before an HTTP server it speaks TLS from the first byte.
"""

from __future__ import annotations

import contextlib
import datetime
import socket
import ssl
import struct
import tempfile
import threading
from dataclasses import replace
from typing import Final, Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from playground.postgres import Database

_SSL_REQUEST: Final = struct.pack(">II", 8, 80877103)
_REFUSAL: Final = b"SFATAL\0VFATAL\0C28000\0Mno pg_hba.conf entry\0\0"


class TlsGate:
    """The gate: ``with TlsGate(database) as gate: ... gate.database``.

    Args:
        target: a PostgreSQL, or host and port of another server.
        host: where it listens.
        speaks_tls_at_once: whether a connection begins with TLS, and not with PostgreSQL's question for it.
    """

    def __init__(
        self, target: Database | tuple[str, int], host: str = "127.0.0.1", *, speaks_tls_at_once: bool = False
    ) -> None:
        self._target = target
        self._at_once = speaks_tls_at_once
        self._context = _context()
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.create_server((host, 0), family=family)
        self.port: int = self._listener.getsockname()[1]

    @property
    def database(self) -> Database:
        """The PostgreSQL behind the gate."""
        assert isinstance(self._target, Database)
        return replace(self._target, port=self.port)

    def __enter__(self) -> Self:
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._listener.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):  # closed at the end
            while True:
                threading.Thread(target=self._admit, args=(self._listener.accept()[0],), daemon=True).start()

    def _admit(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError), client:
            if not self._at_once:
                if client.recv(8) != _SSL_REQUEST:
                    client.recv(4096)
                    client.sendall(b"E" + struct.pack(">I", 4 + len(_REFUSAL)) + _REFUSAL)
                    return
                client.sendall(b"S")
            address = (self._target.host, self._target.port) if isinstance(self._target, Database) else self._target
            with (
                self._context.wrap_socket(client, server_side=True) as inside,
                socket.create_connection(address) as server,
            ):
                threading.Thread(target=_forward, args=(server, inside), daemon=True).start()
                _forward(inside, server)


def _forward(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_RDWR)


def _context() -> ssl.SSLContext:
    """A server's, with a certificate of nobody's for "somebody.else"."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "somebody.else")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.NamedTemporaryFile(suffix=".pem") as file:
        encoding, plain = serialization.Encoding.PEM, serialization.NoEncryption()
        file.write(key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, plain))
        file.write(certificate.public_bytes(encoding))
        file.flush()
        context.load_cert_chain(file.name)
    return context
