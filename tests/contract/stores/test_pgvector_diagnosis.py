"""What is said of a server that speaks TLS: a gate before the real one, since the embedded PostgreSQL has no TLS."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from psycopg.conninfo import make_conninfo

from playground.postgres import Database
from utils.stores.pgvector.diagnosis import explain_connection

SSL_REQUEST = struct.pack(">II", 8, 80877103)
REFUSAL = b"SFATAL\0VFATAL\0C28000\0Mno pg_hba.conf entry\0\0"
# A certificate of nobody, for "somebody.else", with its key: good for tests only.
CERTIFICATE = """
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg0v+N8FbmI3KhLJh6
Kjueoyu/XjP6wa14xdOEJRNgwMmhRANCAATSnY//ahhrgDM3MAC2+9iWOLapcDI1
jBFm7MCKr59h6MHWahMSJ20tLclVCFl/2jTYvK0yhGxQZD6r3VWvJv5G
-----END PRIVATE KEY-----
-----BEGIN CERTIFICATE-----
MIIBhzCCAS2gAwIBAgIUN3XsN1ylX9mZYv8+pvfEN7v5wBMwCgYIKoZIzj0EAwIw
GDEWMBQGA1UEAwwNc29tZWJvZHkuZWxzZTAgFw0yNjExMjQxNDE0NTBaGA8yMTI2
MTAzMTE0MTQ1MFowGDEWMBQGA1UEAwwNc29tZWJvZHkuZWxzZTBZMBMGByqGSM49
AgEGCCqGSM49AwEHA0IABNKdj/9qGGuAMzcwALb72JY4tqlwMjWMEWbswIqvn2Ho
wdZqExInbS0tyVUIWX/aNNi8rTKEbFBkPqvdVa8m/kajUzBRMB0GA1UdDgQWBBTP
QsDfU+/0jSEyGWukqiHcmmobtjAfBgNVHSMEGDAWgBTPQsDfU+/0jSEyGWukqiHc
mmobtjAPBgNVHRMBAf8EBTADAQH/MAoGCCqGSM49BAMCA0gAMEUCIQDKbPJjQRLm
qPwqZNc49614FxC3n8dmHVfLVhZVOMModwIgf122QAgOsNf3Cr62K04BJNaIugRR
AyswG/0shRIc4pA=
-----END CERTIFICATE-----
"""


@pytest.fixture
def encrypted(database: Database, tmp_path: Path) -> Iterator[Database]:
    """The test's database behind a gate that takes encrypted connections only, as managed databases do."""
    file = tmp_path / "certificate.pem"
    file.write_text(CERTIFICATE)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    with socket.create_server(("127.0.0.1", 0)) as gate:
        threading.Thread(target=_serve, args=(gate, context, database), daemon=True).start()
        yield replace(database, port=gate.getsockname()[1])


def _serve(gate: socket.socket, context: ssl.SSLContext, database: Database) -> None:
    with contextlib.suppress(OSError):  # closed at the end of the test
        while True:
            threading.Thread(target=_admit, args=(gate.accept()[0], context, database), daemon=True).start()


def _admit(client: socket.socket, context: ssl.SSLContext, database: Database) -> None:
    with contextlib.suppress(OSError), client:
        if client.recv(8) != SSL_REQUEST:
            client.recv(4096)
            client.sendall(b"E" + struct.pack(">I", 4 + len(REFUSAL)) + REFUSAL)
            return
        client.sendall(b"S")
        with (
            context.wrap_socket(client, server_side=True) as inside,
            socket.create_connection((database.host, database.port)) as server,
        ):
            threading.Thread(target=_forward, args=(server, inside), daemon=True).start()
            _forward(inside, server)


def _forward(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_RDWR)


def explained(database: Database, **parameters: str) -> str | None:
    """The key of the sentence."""
    problem = explain_connection(
        make_conninfo(
            host=database.host,
            port=str(database.port),
            user=database.user,
            password=database.password,
            dbname=database.dbname,
            **parameters,
        ),
        "local_vector_db_json_secret",
    )
    return problem and problem.key


@pytest.mark.parametrize("mode", [{}, {"sslmode": "require"}, {"sslmode": "allow"}])
def test_what_works_is_not_explained(encrypted: Database, mode: dict[str, str]) -> None:
    assert explained(encrypted, **mode) is None


def test_a_server_that_wants_tls(encrypted: Database) -> None:
    assert explained(encrypted, sslmode="disable") == "check_pg_needs_tls"


@pytest.mark.parametrize("mode", ["verify-ca", "verify-full"])
def test_a_certificate_nobody_vouches_for(encrypted: Database, mode: str) -> None:
    assert explained(encrypted, sslmode=mode) == "check_pg_certificate"


@pytest.mark.parametrize("mode", [{}, {"sslmode": "require"}])
def test_the_password_counts_behind_tls_too(encrypted: Database, mode: dict[str, str]) -> None:
    """With the default mode libpq goes on to try without TLS, and tells of that refusal only."""
    assert explained(replace(encrypted, password="wrong"), **mode) == "check_pg_password"
    assert explained(replace(encrypted, password=""), **mode) == "check_pg_no_password"
    assert explained(replace(encrypted, dbname="memoirs"), **mode) == "check_pg_no_database"


def test_a_unix_socket(database: Database) -> None:
    assert explained(replace(database, host=database.socket_folder)) is None
    assert explained(replace(database, host=database.socket_folder, dbname="memoirs")) == "check_pg_no_database"


def test_of_several_hosts_the_one_that_answers_counts(database: Database) -> None:
    hosts, ports = f"database.invalid,{database.host}", f"5432,{database.port}"
    both = make_conninfo(host=hosts, port=ports, user=database.user, password="wrong", dbname=database.dbname)
    problem = explain_connection(both, "state_db_url")
    assert problem is not None and problem.key == "check_pg_password"
