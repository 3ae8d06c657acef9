"""Where the plugin's own state lives."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from psycopg.conninfo import conninfo_to_dict

from tests.unit.config.forms import read, refusal, store
from utils.config.state_location import PostgresLocation, SqliteLocation, parse_location, state_folder, state_location
from utils.errors import CredentialError

QDRANT = store("qdrant", path="/q")


def test_pgvector_keeps_the_state_beside_the_memories() -> None:
    location = read().identity.state
    assert isinstance(location, PostgresLocation)
    assert (
        conninfo_to_dict(location.conninfo).items() >= {"host": "db.example", "user": "alice", "password": "pw"}.items()
    )


def test_another_store_gets_a_file_in_the_folder_the_environment_names(tmp_path: Path) -> None:
    location = state_location(None, None, {"MEM0_DIFY_STATE_DIR": str(tmp_path / "new")})
    assert location == SqliteLocation(tmp_path / "new" / "mem0_dify.sqlite3")
    assert not (tmp_path / "new").exists(), "creating it is the caller's"


def test_state_db_url_decides_over_the_store() -> None:
    assert read(state_db_url="/data/state.db").identity.state == SqliteLocation(Path("/data/state.db"))
    location = read(vector_store=QDRANT, state_db_url="postgresql+psycopg://u:p%40w@h/d").identity.state
    assert isinstance(location, PostgresLocation)
    seen = conninfo_to_dict(location.conninfo)
    assert (seen["password"], seen["keepalives_idle"], seen["connect_timeout"]) == ("p@w", "30", "5")


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ("/data/state.db", "/data/state.db"),
        ("/data/with = sign and blanks", "/data/with = sign and blanks"),
        ("sqlite:////data/state.db", "/data/state.db"),
        ("sqlite+aiosqlite:////data/st%20ate.db?timeout=5", "/data/st ate.db"),
        ("sqlite:///state.db", str(Path.cwd() / "state.db")),
        ("state.sqlite3", str(Path.cwd() / "state.sqlite3")),
        ("./state", str(Path.cwd() / "state")),
        ("~/state.db", str(Path.home() / "state.db")),
    ],
)
def test_sqlite_paths_and_urls(given: str, path: str) -> None:
    assert parse_location(given) == SqliteLocation(Path(path))


@pytest.mark.parametrize("given", ["host=h user=u password='p w'", "postgres://u@h/d", "postgresql:///d?host=/run"])
def test_postgresql_urls_and_dsns(given: str) -> None:
    assert isinstance(parse_location(given), PostgresLocation)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("mysql://u:canary@h/d", "state_db_url must be a PostgreSQL connection string"),
        ("canary", "state_db_url must be a PostgreSQL connection string"),
        ("redis://h", "or the path or URL of a SQLite file"),
        ("sqlite://", "state_db_url names a database in memory"),
        ("sqlite:///:memory:", "state_db_url names a database in memory"),
        ("postgresql://u:can/ary@h/d", "state_db_url cannot be split into host, port and database"),
        ("host=h canary", "state_db_url is not a connection string PostgreSQL can read"),
        (5, "state_db_url must be text that is not blank; found number."),
        ({"url": "canary"}, "state_db_url must be text that is not blank; found object."),
    ],
)
def test_anything_else_is_refused(given: object, says: str) -> None:
    said = refusal(state_db_url=given)
    assert says in said
    assert "canary" not in said


@pytest.mark.parametrize(
    ("platform", "environ", "folder"),
    [
        ("linux", {"XDG_DATA_HOME": "/xdg"}, Path("/xdg/mem0_dify")),
        ("linux", {"XDG_DATA_HOME": "relative"}, Path.home() / ".local/share/mem0_dify"),
        ("linux", {"MEM0_DIFY_STATE_DIR": " "}, Path.home() / ".local/share/mem0_dify"),
        ("darwin", {}, Path.home() / "Library/Application Support/mem0_dify"),
        ("win32", {"LOCALAPPDATA": "/local"}, Path("/local/mem0_dify")),
        ("win32", {}, Path.home() / "AppData/Local/mem0_dify"),
    ],
)
def test_the_users_data_folder(
    monkeypatch: pytest.MonkeyPatch, platform: str, environ: dict[str, str], folder: Path
) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    assert state_folder(environ) == folder


def test_a_user_without_a_home_is_told_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", no_home)
    with pytest.raises(CredentialError, match="Set the environment variable MEM0_DIFY_STATE_DIR"):
        state_folder({})


def test_the_location_does_not_show_the_password() -> None:
    assert "canary" not in repr(parse_location("postgresql://u:canary@h/d"))
