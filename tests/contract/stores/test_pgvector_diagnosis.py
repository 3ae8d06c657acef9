"""What is said of a server that speaks TLS: a gate before the real one, since the embedded PostgreSQL has no TLS."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from psycopg.conninfo import make_conninfo

from playground.postgres import Database
from tests.tls_gate import TlsGate
from utils.stores.pgvector.diagnosis import explain_connection


@pytest.fixture
def encrypted(database: Database) -> Iterator[Database]:
    """The test's database, where only encrypted connections are taken."""
    with TlsGate(database) as gate:
        yield gate.database


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
