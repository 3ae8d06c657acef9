"""A small pooler in front of PostgreSQL that gives every transaction another server session, as PgBouncer may.

It keeps a few server sessions and hands one to a client with the first message of a transaction, never the one the
client had last while another is free. When the server is ready for the next query and in no transaction, the session
goes back, with all that was left in it: settings, prepared statements, locks. Like PgBouncer it refuses start-up
options, makes up the keys for cancel requests, and forwards these to whichever session the client has.

It runs on a loop and thread of its own, so that blocking clients may use it. Log-in to the server is psycopg's; from
then on bytes are passed on. Clients need no password, and no TLS.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import struct
import threading
from collections import deque
from dataclasses import dataclass, replace
from typing import Any, Self

import psycopg

from playground.postgres import Database

_SSL_REQUEST, _GSS_REQUEST, _CANCEL_REQUEST = 80877103, 80877104, 80877102
_TOLD = ("server_version", "client_encoding", "DateStyle", "TimeZone", "standard_conforming_strings")
_ALLOWED = {"user", "database", "client_encoding", "application_name", "datestyle", "timezone"}
_ENDS_A_REQUEST = (b"Q", b"S", b"F")  # simple query, sync, function call: each is answered by one "ready for query"


@dataclass(eq=False)
class _Session:
    """One session at the server, logged in."""

    login: psycopg.Connection[Any]
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter


@dataclass(eq=False)
class _Client:
    """One client: the session it has now, the one it had last, and how many answers it still waits for."""

    writer: asyncio.StreamWriter
    session: _Session | None = None
    last: _Session | None = None
    awaited: int = 0
    in_request: bool = False
    relay: asyncio.Task[None] | None = None


class TransactionPooler:
    """The pooler over one database.

    Args:
        database: where it leads.
        sessions: how many server sessions all clients share.
    """

    def __init__(self, database: Database, sessions: int = 2) -> None:
        self._upstream = database
        self._count = sessions
        self._free: deque[_Session] = deque()
        self._freed = asyncio.Condition()
        self._clients: dict[bytes, _Client] = {}
        self._told: dict[str, str] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="transaction pooler", daemon=True)
        self._port = 0
        self.handed_over = 0

    @property
    def database(self) -> Database:
        """The same database behind the pooler."""
        return replace(self._upstream, host="127.0.0.1", port=self._port)

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._open(), self._loop).result()
        return self

    def __exit__(self, *exc_info: object) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _open(self) -> None:
        for _ in range(self._count):
            self._free.append(await self._log_in())
        told = self._free[0].login.info.parameter_status
        self._told = {name: told(name) or "" for name in _TOLD}
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self._port = self._server.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        self._server.close()
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for session in self._free:
            session.writer.close()
            session.login.close()

    async def _log_in(self) -> _Session:
        login = await asyncio.to_thread(psycopg.connect, f"{self._upstream.uri}?sslmode=disable", autocommit=True)
        raw = socket.socket(fileno=os.dup(login.fileno()))
        raw.setblocking(False)
        return _Session(login, *await asyncio.open_connection(sock=raw))

    # -- a client

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        client = _Client(writer)
        key = secrets.token_bytes(8)
        try:
            if await self._admit(reader, writer, key):
                self._clients[key] = client
                while (message := await _message(reader))[:1] != b"X":
                    await self._forward(client, message)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self._clients.pop(key, None)
            await self._abandon(client)
            writer.close()

    async def _admit(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, key: bytes) -> bool:
        """The start of a connection; False when it was no log-in."""
        while True:
            (length,) = struct.unpack(">I", await reader.readexactly(4))
            body = await reader.readexactly(length - 4)
            (code,) = struct.unpack(">I", body[:4])
            if code == _CANCEL_REQUEST:
                await self._cancel(body[4:])
                return False
            if code not in (_SSL_REQUEST, _GSS_REQUEST):
                break
            writer.write(b"N")
        names = set(body[4:].rstrip(b"\0").decode().split("\0")[::2])
        if names - _ALLOWED:
            fault = f"SFATAL\0C08P01\0Munsupported startup parameter: {', '.join(names - _ALLOWED)}\0\0"
            writer.write(_packed(b"E", fault.encode()))
            return False
        writer.write(_packed(b"R", struct.pack(">I", 0)))
        for name in _TOLD:
            writer.write(_packed(b"S", f"{name}\0{self._told[name]}\0".encode()))
        writer.write(_packed(b"K", key) + _packed(b"Z", b"I"))
        return True

    async def _cancel(self, key: bytes) -> None:
        client = self._clients.get(key)
        if client is not None and client.session is not None:
            await asyncio.to_thread(client.session.login.cancel_safe)

    async def _forward(self, client: _Client, message: bytes) -> None:
        if client.session is None:
            client.session = await self._take(client.last)
            client.relay = asyncio.create_task(self._relay(client, client.session))
        client.in_request = message[:1] not in _ENDS_A_REQUEST
        client.awaited += not client.in_request
        client.session.writer.write(message)
        await client.session.writer.drain()

    async def _relay(self, client: _Client, session: _Session) -> None:
        """Pass answers on until the server is ready, in no transaction, and nothing more has been asked."""
        while True:
            message = await _message(session.reader)
            client.writer.write(message)
            if message[:1] != b"Z":
                continue
            client.awaited -= 1
            if message[5:6] == b"I" and client.awaited == 0 and not client.in_request:
                client.session, client.last = None, session
                await self._give_back(session)
                return

    # -- the sessions

    async def _take(self, last: _Session | None) -> _Session:
        async with self._freed:
            await self._freed.wait_for(lambda: bool(self._free))
            session = next((session for session in self._free if session is not last), self._free[0])
            self._free.remove(session)
            self.handed_over += 1
            return session

    async def _give_back(self, session: _Session) -> None:
        async with self._freed:
            self._free.append(session)
            self._freed.notify()

    async def _abandon(self, client: _Client) -> None:
        """A client went away in the middle: its session ends, and a new one takes its place."""
        session, client.session = client.session, None
        if session is None:
            return
        if client.relay is not None:
            client.relay.cancel()
        session.writer.close()
        session.login.close()
        await self._give_back(await self._log_in())


async def _message(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readexactly(5)
    (length,) = struct.unpack(">I", head[1:])
    return head + await reader.readexactly(length - 4)


def _packed(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack(">I", len(body) + 4) + body
