"""The tables of the state store, written once for PostgreSQL and SQLite.

All live in the schema ``mem0_dify`` (on SQLite, which has none, in the file itself). Times that workers compare are
seconds since the epoch *of the database's clock* (:func:`epoch_now`), so that machines whose clocks differ agree on
when a lease ends.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Double,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import GenericFunction

SCHEMA: Final = "mem0_dify"
metadata: Final = MetaData(schema=SCHEMA)

_Sequence = BigInteger().with_variant(Integer(), "sqlite")  # SQLite numbers rows by itself only in an INTEGER key


class epoch_now(GenericFunction[float]):  # noqa: N801 - SQL functions are written in lower case
    """The database's present time, in seconds since the epoch."""

    type = Double()
    inherit_cache = True


@compiles(epoch_now, "postgresql")
def _postgresql_now(_element: epoch_now, _compiler: Any, **_options: Any) -> str:
    return "extract(epoch from clock_timestamp())::double precision"


@compiles(epoch_now, "sqlite")
def _sqlite_now(_element: epoch_now, _compiler: Any, **_options: Any) -> str:
    return "((julianday('now') - 2440587.5) * 86400.0)"  # 2440587.5: the Julian day of 1970-01-01T00:00Z


schema_version: Final = Table("schema_version", metadata, Column("version", Integer, nullable=False))

# One row per user with writes: who works on them now. `token` is the fencing token, one higher with every lease.
write_queues: Final = Table(
    "write_queues",
    metadata,
    Column("scope", String(64), primary_key=True),
    Column("user_id", String(512), primary_key=True),
    Column("fingerprint", String(64), nullable=False),
    Column("owner", String(64)),
    Column("token", BigInteger, nullable=False, server_default=text("0")),
    Column("lease_expires_at", Double),
    Column("due_at", Double),
    Index("write_queues_due", "scope", "due_at"),
)

PENDING: Final = "pending"
DONE: Final = "done"
FAILED: Final = "failed"

# One row per accepted write; `status` is one of these three. `payload` and `plan` hold user text and are erased
# when it is done; `parked` marks failures of a service, which are tried again under other credentials.
writes: Final = Table(
    "writes",
    metadata,
    Column("seq", _Sequence, primary_key=True, autoincrement=True),
    Column("id", String(36), nullable=False, unique=True),
    Column("scope", String(64), nullable=False),
    Column("user_id", String(512), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("fingerprint", String(64), nullable=False),
    Column("accepted_by", String(64), nullable=False),
    Column("status", String(8), nullable=False),
    Column("parked", Boolean, nullable=False, server_default=text("false")),
    Column("payload", JSON(none_as_null=True)),
    Column("plan", JSON(none_as_null=True)),
    Column("result", JSON(none_as_null=True)),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Column("next_attempt_at", Double, nullable=False),
    Column("error_code", String(32)),
    Column("error", Text),
    Column("created_at", Double, nullable=False),
    Column("finished_at", Double),
    Index("writes_of_user", "scope", "user_id", "status", "seq"),
    Index("writes_accepted_by", "accepted_by", "status", "next_attempt_at"),
    Index("writes_finished", "status", "finished_at"),
)

# What happened to every memory. One write changes a memory at most once, which makes recording it twice harmless.
history: Final = Table(
    "history",
    metadata,
    Column("seq", _Sequence, primary_key=True, autoincrement=True),
    Column("scope", String(64), nullable=False),
    Column("user_id", String(512), nullable=False),
    Column("agent_id", String(512)),
    Column("memory_id", String(512), nullable=False),
    Column("write_id", String(36), nullable=False),
    Column("event", String(8), nullable=False),
    Column("old_memory", Text),
    Column("new_memory", Text),
    Column("created_at", String(40), nullable=False),
    Column("updated_at", String(40), nullable=False),
    Column("is_deleted", Boolean, nullable=False),
    UniqueConstraint("write_id", "memory_id", name="history_once"),
    Index("history_of_memory", "scope", "memory_id", "seq"),
    Index("history_of_user", "scope", "user_id"),
)
