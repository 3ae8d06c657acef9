"""Mistakes about PostgreSQL: what saving the credentials says, in four languages, and what it accepts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from playground.credentials import Endpoint, block, credential_set, qdrant_block
from playground.dify_host import PluginProcess
from playground.postgres import Database, PostgresServer
from tests.acceptance.refusals import STATE, STORE, with_store
from tests.tls_gate import TlsGate
from tests.transaction_pooler import TransactionPooler


def test_a_wrong_port(refusal: Callable[..., str], endpoint: Endpoint, database: Database, closed_port: int) -> None:
    said = refusal(with_store(endpoint, replace(database, port=closed_port)))
    assert said.startswith(f"{STORE}: nothing listens at 127.0.0.1:{closed_port}: the connection was refused.")


def test_localhost_inside_a_container(
    refusal: Callable[..., str], endpoint: Endpoint, database: Database, closed_port: int
) -> None:
    said = refusal(with_store(endpoint, replace(database, host="localhost", port=closed_port)))
    assert f"localhost:{closed_port}" in said
    assert "Inside a container, localhost is the plugin itself: write the name of the service instead." in said


def test_a_wrong_host(refusal: Callable[..., str], endpoint: Endpoint, database: Database) -> None:
    said = refusal(with_store(endpoint, replace(database, host="database.invalid")))
    assert said.startswith(f"{STORE}: no host of the name database.invalid is known here.")


def test_a_wrong_password(refusal: Callable[..., str], endpoint: Endpoint, database: Database) -> None:
    said = refusal(with_store(endpoint, replace(database, password="canary")))
    address = f"127.0.0.1:{database.port}"
    assert said.startswith(f"{STORE}: the database server at {address} refused the password of the user postgres")


def test_an_unknown_user_is_told_like_a_wrong_password(
    refusal: Callable[..., str], endpoint: Endpoint, database: Database
) -> None:
    said = refusal(with_store(endpoint, replace(database, user="mallory")))
    assert "refused the password of the user mallory" in said


def test_no_password(refusal: Callable[..., str], endpoint: Endpoint, database: Database) -> None:
    assert "and none is given" in refusal(with_store(endpoint, replace(database, password="")))


def test_a_wrong_database(refusal: Callable[..., str], endpoint: Endpoint, database: Database) -> None:
    said = refusal(with_store(endpoint, replace(database, dbname="memoirs")))
    assert said.startswith(f"{STORE}: the server at 127.0.0.1:{database.port} has no database memoirs.")


def test_tls_that_the_server_does_not_offer(
    refusal: Callable[..., str], endpoint: Endpoint, database: Database
) -> None:
    assert "offers no TLS, but sslmode is require" in refusal(with_store(endpoint, database, sslmode="require"))


def test_a_port_of_something_else(
    refusal: Callable[..., str], endpoint: Endpoint, database: Database, other_server: int
) -> None:
    said = refusal(with_store(endpoint, replace(database, port=other_server)))
    assert f"what answers at 127.0.0.1:{other_server} is no PostgreSQL server" in said


@pytest.fixture
def guest(postgres_server: PostgresServer, database: Database) -> Iterator[Database]:
    """A user without any rights in the test's database."""
    name = f"guest_{database.dbname}"
    with psycopg.connect(postgres_server.database().uri, autocommit=True) as session:
        session.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'guest'").format(sql.Identifier(name)))
        yield replace(database, user=name, password="guest")
        with psycopg.connect(database.uri) as inside:
            inside.execute(sql.SQL("DROP OWNED BY {}").format(sql.Identifier(name)))
        session.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))


def test_the_extension_is_missing(refusal: Callable[..., str], endpoint: Endpoint, guest: Database) -> None:
    said = refusal(with_store(endpoint, guest))
    assert said.startswith(f"{STORE}: The database has no pgvector extension, and this user may not create it")
    assert "CREATE EXTENSION vector" in said


def test_a_user_without_the_right_to_make_the_state(
    refusal: Callable[..., str], endpoint: Endpoint, guest: Database, tmp_path: Path
) -> None:
    credentials = credential_set(endpoint, qdrant_block(tmp_path / "qdrant"), state_db_url=guest.uri)
    assert "may not make or use the schema mem0_dify" in refusal(credentials)


def test_a_user_who_may_not_enter(
    refusal: Callable[..., str], endpoint: Endpoint, guest: Database, postgres_server: PostgresServer
) -> None:
    with psycopg.connect(postgres_server.database().uri, autocommit=True) as session:
        session.execute(sql.SQL("REVOKE CONNECT ON DATABASE {} FROM public").format(sql.Identifier(guest.dbname)))
    said = refusal(with_store(endpoint, guest))
    assert f"does not let the user {guest.user} into the database {guest.dbname}" in said


def test_the_state_store_is_named_where_it_is_another_database(
    refusal: Callable[..., str], endpoint: Endpoint, database: Database, closed_port: int
) -> None:
    elsewhere = replace(database, port=closed_port).uri
    said = refusal({**with_store(endpoint, database), STATE: elsewhere})
    assert said.startswith(f"{STATE}: nothing listens at 127.0.0.1:{closed_port}")


def test_a_state_file_that_cannot_be_made(refusal: Callable[..., str], endpoint: Endpoint, database: Database) -> None:
    said = refusal({**with_store(endpoint, database), STATE: "/dev/null/state.db"})
    assert said.startswith(f"{STATE}: the SQLite file of the plugin's state cannot be opened or written")


def test_a_vector_store_that_is_no_postgresql(
    refusal: Callable[..., str], endpoint: Endpoint, closed_port: int
) -> None:
    said = refusal(credential_set(endpoint, block("qdrant", host="127.0.0.1", port=closed_port)))
    assert said.startswith(f"{STORE}: nothing listens at 127.0.0.1:{closed_port}")


# --- rights


def test_a_user_who_may_make_no_table(
    refusal: Callable[..., str], endpoint: Endpoint, database: Database, guest: Database
) -> None:
    with psycopg.connect(database.uri) as session:
        session.execute("CREATE EXTENSION vector")
    said = refusal(with_store(endpoint, guest))
    assert said.startswith(f"{STORE}: the database can be reached, but its user may not make or use the collection's")


def test_a_user_who_may_only_read(
    refusal: Callable[..., str], endpoint: Endpoint, database: Database, guest: Database
) -> None:
    with psycopg.connect(database.uri) as session:
        session.execute("CREATE EXTENSION vector")
        session.execute("CREATE TABLE mem0 (id uuid PRIMARY KEY, vector vector(256), payload jsonb)")
        session.execute(sql.SQL("GRANT SELECT ON mem0 TO {}").format(sql.Identifier(guest.user)))
    said = refusal(with_store(endpoint, guest))
    assert said.startswith(f"{STORE}: The user lacks rights on the table mem0: INSERT, UPDATE, DELETE (")


@pytest.mark.parametrize("table_exists", [True, False])
def test_a_database_that_takes_no_changes(
    refusal: Callable[..., str], endpoint: Endpoint, database: Database, tmp_path: Path, table_exists: bool
) -> None:
    """As a standby answers, and a user whose sessions are set to read only."""
    with psycopg.connect(database.uri, autocommit=True) as session:
        session.execute("CREATE EXTENSION vector")
        if table_exists:
            session.execute("CREATE TABLE mem0 (id uuid PRIMARY KEY, vector vector(256), payload jsonb)")
        read_only = sql.SQL("ALTER DATABASE {} SET default_transaction_read_only = on")
        session.execute(read_only.format(sql.Identifier(database.dbname)))
    said = refusal(with_store(endpoint, database))
    assert said.startswith(f"{STORE}: The database takes no changes (ReadOnlySqlTransaction 25006)")
    said = refusal(credential_set(endpoint, qdrant_block(tmp_path / "qdrant"), state_db_url=database.uri))
    assert said.startswith(f"{STATE}: The database takes no changes (ReadOnlySqlTransaction 25006)")


# --- TLS


def test_a_server_that_wants_tls(refusal: Callable[..., str], endpoint: Endpoint, database: Database) -> None:
    with TlsGate(database) as gate:
        said = refusal(with_store(endpoint, gate.database, sslmode="disable"))
    assert said.startswith(f"{STORE}: the database server at 127.0.0.1:{gate.port} takes encrypted connections only.")
    assert "Set sslmode to require." in said


@pytest.mark.parametrize("mode", ["verify-ca", "verify-full"])
def test_a_certificate_nobody_knows(
    refusal: Callable[..., str], endpoint: Endpoint, database: Database, mode: str
) -> None:
    with TlsGate(database) as gate:
        said = refusal(with_store(endpoint, gate.database, sslmode=mode))
    assert said.startswith(f"{STORE}: the TLS certificate of 127.0.0.1:{gate.port} cannot be verified (sslmode {mode})")


def test_tls_that_works(process: PluginProcess, endpoint: Endpoint, database: Database) -> None:
    with TlsGate(database) as gate:
        assert process.validate(with_store(endpoint, gate.database, sslmode="require")).error is None


# --- addresses and what stands before a server


@pytest.mark.parametrize("host", ["::1", "[::1]"])
def test_an_ipv6_address(
    refusal: Callable[..., str], endpoint: Endpoint, database: Database, closed_port: int, host: str
) -> None:
    said = refusal(with_store(endpoint, replace(database, host=host, port=closed_port)))
    assert said.startswith(f"{STORE}: nothing listens at [::1]:{closed_port}: the connection was refused.")
    assert "Inside a container, ::1 is the plugin itself" in said


@pytest.mark.parametrize("host", ["::1", "[::1]"])
def test_a_server_at_an_ipv6_address(process: PluginProcess, endpoint: Endpoint, database: Database, host: str) -> None:
    with TlsGate(database, "::1") as gate:
        assert process.validate(with_store(endpoint, replace(gate.database, host=host))).error is None


def test_a_pooler_in_transaction_mode_is_accepted(
    process: PluginProcess, endpoint: Endpoint, database: Database
) -> None:
    with TransactionPooler(database) as pooler:
        assert process.validate(with_store(endpoint, pooler.database)).error is None
