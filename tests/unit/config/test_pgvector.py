"""SPEC 2, "pgvector config": however the connection is written, libpq reads back exactly what was meant."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from utils.config import dsn, pgvector
from utils.config.pgvector import PgvectorConfig
from utils.config.values import Where
from utils.errors import CredentialError

WHERE = Where("local_vector_db_json_secret").at("config")
MINIMAL = {"user": "alice", "password": "pw", "host": "db.example", "port": 5433, "dbname": "memories"}
NASTY = "p@s:s/w%r#d? '\\\"=&+;密码é\t"

# any text a PostgreSQL name or password can be: no NUL, no half characters
words = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=30) | st.text(
    "@:/%#? '\\=&ab2é", min_size=1, max_size=12
)


def read(config: dict[str, Any]) -> PgvectorConfig:
    return pgvector.read(json.loads(json.dumps(config)), WHERE)


def parameters(config: dict[str, Any]) -> dict[str, Any]:
    return conninfo_to_dict(read(config).conninfo)


def address(config: PgvectorConfig) -> tuple[str, str, str]:
    return dsn.address(dsn.parameters_of(config.conninfo))


def refusal(config: dict[str, Any]) -> str:
    with pytest.raises(CredentialError) as caught:
        read(config)
    return str(caught.value)


@settings(deadline=None)
@given(user=words, password=words, dbname=words)
def test_individual_parameters_come_out_unchanged(user: str, password: str, dbname: str) -> None:
    seen = parameters({"user": user, "password": password, "dbname": dbname, "host": "h"})
    assert (seen["user"], seen["password"], seen["dbname"]) == (user, password, dbname)


@settings(deadline=None)
@given(user=words, password=words, dbname=words)
def test_a_percent_encoded_url_comes_out_unchanged(user: str, password: str, dbname: str) -> None:
    url = f"postgresql://{quote(user, safe='')}:{quote(password, safe='')}@h:5433/{quote(dbname, safe='')}"
    seen = parameters({"connection_string": url})
    assert (seen["user"], seen["password"], seen["dbname"]) == (user, password, dbname)
    assert (seen["host"], seen["port"]) == ("h", "5433")


@settings(deadline=None)
@given(user=words, password=words, dbname=words)
def test_a_key_value_dsn_comes_out_unchanged(user: str, password: str, dbname: str) -> None:
    seen = parameters({"connection_string": make_conninfo(user=user, password=password, dbname=dbname, host="h")})
    assert (seen["user"], seen["password"], seen["dbname"], seen["host"]) == (user, password, dbname, "h")


def is_telling(password: str) -> bool:
    """No escape is meant by any ``%``, and no ``?`` could start the URL's query."""
    escapes = password.count("%") - len(dsn._LONE_PERCENT.findall(password))
    return not escapes and not ("?" in password and "@" in password)


@settings(deadline=None)
@given(st.text("@:%#?! ab2é", min_size=1, max_size=12).filter(is_telling))
def test_a_raw_password_in_a_url_is_mended_where_it_can_be_told(password: str) -> None:
    seen = parameters({"connection_string": f"postgresql://alice:{password}@h:5433/d"})
    assert (seen["user"], seen["password"], seen["host"], seen["dbname"]) == ("alice", password, "h", "d")


@settings(deadline=None)
@given(st.text("@:/%#?=& ab2", max_size=25))
def test_no_url_leads_elsewhere_or_fails_otherwise(password: str) -> None:
    """Whatever a raw password holds: the right host and database, or a refusal without the password."""
    try:
        config = read({"connection_string": f"postgresql://alice:{password}canary@h.example:5433/d"})
    except CredentialError as exc:
        said, host, dbname = str(exc), "h.example", "d"
    else:
        said, (host, _, dbname) = repr(config), address(config)
    assert (host, dbname) == ("h.example", "d")
    assert "canary" not in said


def test_missing_keep_alives_are_added_and_given_ones_stay() -> None:
    added = {
        "keepalives": "1",
        "keepalives_idle": "30",
        "keepalives_interval": "10",
        "keepalives_count": "3",
        "connect_timeout": "5",
    }
    assert parameters(MINIMAL).items() >= added.items()
    string = "postgresql://alice@h/d?connect_timeout=9&keepalives=0"
    seen = parameters({"connection_string": string, "keepalives_idle": 7})
    assert (seen["connect_timeout"], seen["keepalives"], seen["keepalives_idle"]) == ("9", "0", "7")


def test_the_defaults_of_the_pool() -> None:
    config = read(MINIMAL)
    assert config.pool_arguments() == {
        "min_size": 10,
        "max_size": 20,
        "timeout": 30.0,
        "max_waiting": 20,
        "max_lifetime": 3600.0,
        "max_idle": 600.0,
        "reconnect_timeout": 300.0,
    }
    assert (config.pool_open, config.pool_check, config.hnsw, config.diskann) == (True, True, True, False)
    assert (config.collection_name, config.embedding_model_dims) == ("mem0", None)


def test_the_pool_is_configurable() -> None:
    keys = {"minconn": "2", "maxconn": 8, "pool_timeout": 1.5, "pool_max_lifetime": 60, "pool_max_idle": 30}
    more = {"pool_reconnect_timeout": 10, "pool_open": "false", "pool_check": False, "pool_max_waiting": 3}
    config = read({**MINIMAL, **keys, **more})
    assert config.pool_arguments() == {
        "min_size": 2,
        "max_size": 8,
        "timeout": 1.5,
        "max_waiting": 3,
        "max_lifetime": 60.0,
        "max_idle": 30.0,
        "reconnect_timeout": 10.0,
    }
    assert (config.pool_open, config.pool_check) == (False, False)
    assert read({**MINIMAL, "maxconn": 50}).pool_max_waiting == 50


def test_one_pool_size_gives_way_to_the_other() -> None:
    assert (read({**MINIMAL, "maxconn": 4}).minconn, read({**MINIMAL, "minconn": 30}).maxconn) == (4, 30)
    assert "config.minconn is 9, which is more than maxconn (3)" in refusal({**MINIMAL, "minconn": 9, "maxconn": 3})


def test_a_connection_string_stands_above_individual_parameters() -> None:
    seen = parameters({**MINIMAL, "connection_string": "postgresql://bob@other/else", "sslmode": "require"})
    assert (seen["user"], seen["host"], seen["dbname"], seen["sslmode"]) == ("bob", "other", "else", "require")
    assert "password" not in seen
    assert "port" not in seen


def test_a_connection_pool_stands_above_both() -> None:
    pool = {"connection_string": "host=pooled user=carol", "maxconn": 3}
    config = read(
        {**MINIMAL, "connection_string": "postgresql://bob@other/else", "connection_pool": pool, "maxconn": 9}
    )
    assert config.maxconn == 3
    assert (address(config)[0], conninfo_to_dict(config.conninfo)["user"]) == ("pooled", "carol")
    sized = read({**MINIMAL, "connection_pool": {"maxconn": 3}})
    assert (sized.maxconn, address(sized)[0]) == (3, "db.example")


@pytest.mark.parametrize("pool", [None, "", {}])
def test_an_empty_connection_pool_says_nothing(pool: object) -> None:
    assert read({**MINIMAL, "connection_pool": pool}) == read(MINIMAL)


def test_a_connection_pool_that_is_no_object_is_refused() -> None:
    said = refusal({**MINIMAL, "connection_pool": "postgresql://alice:canary@h/d"})
    assert "config.connection_pool must be a JSON object" in said
    assert "canary" not in said


def test_database_is_another_name_for_dbname() -> None:
    config = {key: value for key, value in MINIMAL.items() if key != "dbname"}
    assert parameters({**config, "database": "d"})["dbname"] == "d"
    assert parameters({**config, "database": "d", "dbname": "d"})["dbname"] == "d"
    assert parameters(config)["dbname"] == "postgres"
    assert "name different databases" in refusal({**config, "database": "d", "dbname": "e"})


@pytest.mark.parametrize(
    "scheme", ["postgresql", "postgres", "postgresql+psycopg", "postgresql+psycopg2", "POSTGRESQL"]
)
def test_url_schemes(scheme: str) -> None:
    seen = parameters({"connection_string": f" {scheme}://alice:pw@h:5433/d?sslmode=require&application_name=x "})
    expected = {"user": "alice", "password": "pw", "host": "h", "port": "5433", "dbname": "d", "sslmode": "require"}
    assert seen.items() >= expected.items()
    assert seen["application_name"] == "x"


@pytest.mark.parametrize(
    "config",
    [
        {"connection_string": "host=/var/run/postgresql user=alice dbname=d"},
        {"connection_string": "postgresql://alice@%2Fvar%2Frun%2Fpostgresql/d"},
        {"connection_string": "postgresql://alice@/d?host=/var/run/postgresql"},
        {"connection_string": "postgresql:///d?host=/var/run/postgresql&user=alice"},
        {"host": "/var/run/postgresql", "user": "alice", "dbname": "d"},
    ],
)
def test_unix_sockets(config: dict[str, Any]) -> None:
    assert parameters(config).items() >= {"host": "/var/run/postgresql", "user": "alice", "dbname": "d"}.items()
    assert address(read(config)) == ("/var/run/postgresql", "5432", "d")


@pytest.mark.parametrize(
    "string",
    ["postgresql://alice@one:5433,two/d", "host=one,two port=5433, user=alice dbname=d"],
)
def test_several_hosts(string: str) -> None:
    assert parameters({"connection_string": string})["host"] == "one,two"
    assert address(read({"connection_string": string})) == ("one,two", "5433,5432", "d")


@pytest.mark.parametrize(
    "config",
    [
        {"connection_string": "postgresql://alice@h/d?options=-c%20a%3Db%20-c%20c.d%3De"},
        {"connection_string": "host=h user=alice options='-c a=b -c c.d=e'"},
        {"host": "h", "user": "alice", "options": "-c a=b -c c.d=e"},
    ],
)
def test_the_users_own_options_stay(config: dict[str, Any]) -> None:
    assert parameters(config)["options"] == "-c a=b -c c.d=e"


def test_an_address_resolves_the_defaults() -> None:
    assert address(read({"user": "alice", "port": 5433})) == ("localhost", "5433", "postgres")
    assert address(read({"connection_string": "postgresql://alice@DB.example"})) == (
        "db.example",
        "5432",
        "alice",
    )
    assert address(read({"connection_string": "service=prod"}))[0] == "service=prod"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"user": None}, "config.user is missing; the provider pgvector needs it."),
        ({"user": ""}, "config.user is missing"),
        ({"host": None, "port": None}, "config.host is missing"),
        ({"port": "canary"}, "cannot be split into host, port and database"),
        ({"host": "http://canary"}, "config.host must be a host name"),
        ({"host": "canary:5432"}, "config.host must be a host name"),
        ({"password": ["canary"]}, "config.password must be text that is not blank; found array."),
        ({"password": "canary\0"}, "config.password holds a character that cannot be sent"),
        ({"password": "canary\ud800"}, "config.password holds a character that cannot be sent"),
        ({"maxconn": "canary"}, "config.maxconn must be a whole number from 1 to 1000"),
        ({"maxconn": 0}, "config.maxconn must be a whole number"),
        ({"minconn": True}, "config.minconn must be a whole number"),
        ({"pool_timeout": "30s"}, "config.pool_timeout must be a number of seconds"),
        ({"pool_open": "canary"}, "config.pool_open must be true or false"),
        ({"hnsw": 7}, "config.hnsw must be true or false"),
        (
            {"sslmode": "canary"},
            "config.sslmode must be one of disable, allow, prefer, require, verify-ca, verify-full",
        ),
        ({"connect_timeout": "canary"}, "config.connect_timeout must be a whole number"),
        ({"collection_name": "n" * 64}, "config.collection_name is longer than the 63 bytes"),
        ({"collection_name": 5}, "config.collection_name must be text"),
        ({"embedding_model_dims": 0}, "config.embedding_model_dims must be a whole number"),
        ({"max_conn": 5}, "config.max_conn is not a key that pgvector accepts; nearest: maxconn"),
        ({"connection_pool": {"max_size": 5}}, "config.connection_pool.max_size is not a key that pgvector accepts"),
        ({"connection_string": 5}, "config.connection_string must be text"),
        ({"connection_string": "canary"}, "config.connection_string is not a connection string PostgreSQL can read"),
        ({"connection_string": "user='canary"}, "config.connection_string is not a connection string"),
        ({"connection_string": "mysql://u:canary@h/d"}, "config.connection_string starts with mysql://"),
        ({"connection_string": "postgresql://u:canary/x@h/d"}, "config.connection_string cannot be split"),
        ({"connection_string": "postgresql://u:1/canary@h/d"}, "config.connection_string cannot be split"),
        (
            {"connection_string": "postgresql://u:canary@h/d?schema=public"},
            "config.connection_string has the connection parameter schema, which PostgreSQL does not know; nearest: ",
        ),
    ],
)
def test_refusals_name_the_place_and_show_no_value(change: dict[str, Any], says: str) -> None:
    with pytest.raises(CredentialError) as caught:
        pgvector.read({**MINIMAL, **change}, WHERE)
    assert str(caught.value).startswith("local_vector_db_json_secret: ")
    assert says in str(caught.value)
    assert "canary" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_numbers_where_people_write_numbers() -> None:
    seen = parameters({"user": "alice", "password": 12345, "host": "h", "port": "5433"})
    assert (seen["password"], seen["port"]) == ("12345", "5433")


def test_a_password_of_blanks_is_a_password() -> None:
    assert parameters({**MINIMAL, "password": "  "})["password"] == "  "


def test_the_password_does_not_show() -> None:
    assert NASTY not in repr(read({**MINIMAL, "password": NASTY}))


@pytest.mark.parametrize(
    "names", [("min_connections", "max_connections"), ("pool_min_size", "pool_max_size"), ("minconn", "pool_max_size")]
)
def test_the_pool_as_earlier_plugins_named_it(names: tuple[str, str]) -> None:
    least, most = names
    config = read({**MINIMAL, least: 3, most: "7"})
    assert (config.minconn, config.maxconn, config.pool_max_waiting) == (3, 7, 7)
    pooled = read({**MINIMAL, "connection_pool": {least: 3, most: 7}})
    assert (pooled.minconn, pooled.maxconn) == (3, 7)
    assert f"config.{least} is 9, which is more than maxconn (7)" in refusal({**MINIMAL, least: 9, most: 7})
    assert f"config.{most} must be a whole number" in refusal({**MINIMAL, most: "many"})


def test_a_pool_size_given_under_two_names_is_refused() -> None:
    said = refusal({**MINIMAL, "maxconn": 7, "max_connections": 9})
    assert said.endswith("config.max_connections sets the same as maxconn; write one of the two.")


def test_a_query_behind_the_database_is_read_as_connection_options() -> None:
    query = "memories?sslmode=require&application_name=my%20app&keepalives_idle=7"
    for key in ("dbname", "database"):
        seen = parameters({"user": "alice", "host": "h", key: query})
        assert seen["dbname"] == "memories"
        assert (seen["sslmode"], seen["application_name"], seen["keepalives_idle"]) == ("require", "my app", "7")
    assert parameters({**MINIMAL, "dbname": query, "sslmode": "disable"})["sslmode"] == "disable"
    assert parameters({**MINIMAL, "dbname": "what?=memories"})["dbname"] == "what?=memories"
    said = refusal({**MINIMAL, "dbname": "memories?sslmode=require&aplication_name=x"})
    assert "config.dbname has the connection parameter aplication_name, which PostgreSQL does not know" in said
    assert "config.sslmode must be one of disable" in refusal({**MINIMAL, "dbname": "memories?sslmode=on"})
