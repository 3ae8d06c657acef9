"""Real connections, per way of writing one, with a user, password and database that need every escape."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from playground.postgres import Database, PostgresServer
from utils.config import pgvector
from utils.config.values import Where

USER = "al ice@:/%#?'\\é"
PASSWORD = "p@s:s/w%r#d? '\\\"=&+;密码%41"
DATABASE = "mem ories@:/%#?'\"é"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """A server that asks everybody for a password, with a role and a database of the names above."""
    with PostgresServer(tmp_path_factory.mktemp("postgres"), durable=False) as running:
        address = running.database()
        with psycopg.connect(address.uri, autocommit=True) as admin:
            role, database = sql.Identifier(USER), sql.Identifier(DATABASE)
            admin.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(role, sql.Literal(PASSWORD)))
            admin.execute(sql.SQL("CREATE DATABASE {}").format(database))
        yield address


@pytest.fixture(params=["tcp", "socket"])
def target(request: pytest.FixtureRequest, server: Database) -> dict[str, Any]:
    """The individual parameters."""
    host = server.host if request.param == "tcp" else server.socket_folder
    return {"user": USER, "password": PASSWORD, "dbname": DATABASE, "host": host, "port": server.port}


@pytest.mark.parametrize("way", ["individual", "url", "dsn", "pool"])
def test_the_server_lets_us_in(target: dict[str, Any], way: str) -> None:
    user, password, dbname, host, port = (quote(str(text), safe="") for text in target.values())
    url = f"postgresql://{user}:{password}@{host}:{port}/{dbname}"
    configs: dict[str, dict[str, Any]] = {
        "individual": target,
        "url": {"connection_string": url},
        "dsn": {"connection_string": make_conninfo(**target)},
        "pool": {"connection_pool": {"connection_string": url}},
    }
    config = pgvector.read({**configs[way], "options": "-c application_name=a\\ b"}, Where("test"))
    with psycopg.connect(config.conninfo) as connection:
        row = connection.execute(
            "SELECT current_user, current_database(), current_setting('application_name')"
        ).fetchone()
    assert row == (USER, DATABASE, "a b")


def test_the_server_does_ask_for_the_password(target: dict[str, Any]) -> None:
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(make_conninfo(**(target | {"password": "wrong"})))
