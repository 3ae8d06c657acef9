"""Where the plugin's own state lives: next to the memories in PostgreSQL, or in a SQLite file on this machine.

``state_db_url`` decides if it is set. Otherwise the database of a pgvector credential is used, because it is there,
is backed up with the memories and can be shared by several plugin processes; every other store gets a file in the
user's data folder. Nothing is created or opened here.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from utils.config import dsn
from utils.config.pgvector import PgvectorConfig
from utils.config.values import Where, is_missing, text

FILE_NAME: Final = "mem0_dify.sqlite3"
FOLDER_VARIABLE: Final = "MEM0_DIFY_STATE_DIR"
_WHERE: Final = Where("state_db_url")
_SQLITE_URL: Final = re.compile(r"sqlite(\+\w+)?:(///?)?(?P<path>.*)", re.IGNORECASE | re.DOTALL)
_LOOKS_LIKE_A_PATH: Final = re.compile(r"[/\\~.]|[A-Za-z]:[/\\]|.*\.(db|sqlite|sqlite3)\Z", re.DOTALL)
_IN_MEMORY: Final = ("", ":memory:")


@dataclass(frozen=True, slots=True)
class PostgresLocation:
    """A PostgreSQL database; the tables live in a schema of their own.

    Attributes:
        conninfo: libpq connection string with keep-alives; holds the password.
    """

    conninfo: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class SqliteLocation:
    """A SQLite file; its folder may not exist yet.

    Attributes:
        path: absolute path of the file.
    """

    path: Path


def state_location(
    state_db_url: str | None, postgres: PgvectorConfig | None, environ: Mapping[str, str] = os.environ
) -> PostgresLocation | SqliteLocation:
    """Where a credential set keeps its state.

    Args:
        state_db_url: the credential, if it is set.
        postgres: the vector store, if it is pgvector.
        environ: environment variables.

    Raises:
        CredentialError: ``state_db_url`` cannot be used, or a file is wanted and neither ``MEM0_DIFY_STATE_DIR`` nor a
            home folder says where.
    """
    if state_db_url is not None:
        return parse_location(state_db_url)
    if postgres is not None:
        return PostgresLocation(postgres.conninfo)
    return SqliteLocation(state_folder(environ) / FILE_NAME)


def parse_location(state_db_url: str) -> PostgresLocation | SqliteLocation:
    """The database ``state_db_url`` names: a PostgreSQL URL or DSN, a SQLite URL in SQLAlchemy's form, or a path.

    Raises:
        CredentialError: it is none of these, or a database that vanishes with the process.
    """
    given = text(state_db_url, _WHERE).strip()
    if sqlite := _SQLITE_URL.fullmatch(given):
        return _file(unquote(sqlite["path"].partition("?")[0]))
    if dsn.looks_like_dsn(given):
        return PostgresLocation(dsn.write(dsn.with_defaults(dsn.parse(given, _WHERE))))
    if "://" not in given and _LOOKS_LIKE_A_PATH.match(given):
        return _file(given)
    raise _WHERE.error("credentials_state_db_url")


def _file(path: str) -> SqliteLocation:
    if path.strip() in _IN_MEMORY:
        raise _WHERE.error("credentials_state_in_memory")
    try:
        return SqliteLocation(Path(path).expanduser().absolute())
    except RuntimeError:
        raise _WHERE.error("credentials_state_folder", variable=FOLDER_VARIABLE) from None


def state_folder(environ: Mapping[str, str]) -> Path:
    """The folder of the SQLite file: ``MEM0_DIFY_STATE_DIR``, or ``mem0_dify`` in the user's data folder.

    Raises:
        CredentialError: neither is known.
    """
    if not is_missing(given := environ.get(FOLDER_VARIABLE)):
        return Path(str(given)).absolute()
    try:
        return _data_folder(environ) / "mem0_dify"
    except RuntimeError:  # no home folder
        raise _WHERE.error("credentials_state_folder", variable=FOLDER_VARIABLE) from None


def _data_folder(environ: Mapping[str, str]) -> Path:
    """Where the platform keeps a user's application data. Three rules, so no package is needed for them."""
    if sys.platform == "win32":
        local = environ.get("LOCALAPPDATA", "")
        return Path(local) if local else Path.home() / "AppData" / "Local"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support"
    data_home = environ.get("XDG_DATA_HOME", "")
    # the XDG specification: a relative path is to be ignored
    return Path(data_home) if data_home.startswith("/") else Path.home() / ".local" / "share"
