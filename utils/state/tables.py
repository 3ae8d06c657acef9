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
    # Stable within a statement, so that an index on a time can be used; clock_timestamp() would be asked for each row.
    return "extract(epoch from statement_timestamp())::double precision"


@compiles(epoch_now, "sqlite")
def _sqlite_now(_element: epoch_now, _compiler: Any, **_options: Any) -> str:
    return "((julianday('now') - 2440587.5) * 86400.0)"  # 2440587.5: the Julian day of 1970-01-01T00:00Z


schema_version: Final = Table("schema_version", metadata, Column("version", Integer, nullable=False))

# One row per user with writes: who works on them now, and when there is something to do.
#
# `due_at` is null when nothing is pending, DUE_NOW when there is work, else the time of the next attempt. "Now" is a
# constant and no time: a clock that is set back must not make a user wait. `waiting_since` only orders the queues that
# are due. `token` is the fencing token, one higher with every lease.
write_queues: Final = Table(
    "write_queues",
    metadata,
    Column("scope", String(64), primary_key=True),
    Column("user_id", Text, primary_key=True),
    Column("owner", String(64)),
    Column("token", BigInteger, nullable=False, server_default=text("0")),
    Column("lease_expires_at", Double),
    Column("due_at", Double),
    Column("waiting_since", Double, nullable=False, server_default=text("0")),
    Index("write_queues_due", "scope", "due_at"),
)
DUE_NOW: Final = 0.0

PENDING: Final = "pending"
DONE: Final = "done"
FAILED: Final = "failed"
SUPERSEDED: Final = "superseded"  # by a delete_all that was accepted later

# One row per accepted write; `status` is one of these four. `payload` and `plan` hold user text and are erased when
# it ends otherwise than by failing. `parked` marks failures of a service, which are tried again under other
# credentials, and stays when they are: such a write is late. `waited_for` marks a write whose caller waits: it is tried
# twice and then not any more. `version` is that of the form of payload and plan: a process leaves alone what it does
# not know.
writes: Final = Table(
    "writes",
    metadata,
    Column("seq", _Sequence, primary_key=True, autoincrement=True),
    Column("id", String(36), nullable=False, unique=True),
    Column("scope", String(64), nullable=False),
    Column("user_id", Text, nullable=False),
    Column("kind", String(16), nullable=False),
    Column("version", Integer, nullable=False, server_default=text("1")),
    Column("fingerprint", String(64), nullable=False),
    Column("accepted_by", String(64), nullable=False),
    Column("waited_for", Boolean, nullable=False, server_default=text("false")),
    Column("status", String(16), nullable=False),
    Column("parked", Boolean, nullable=False, server_default=text("false")),
    Column("payload", JSON(none_as_null=True)),
    Column("plan", JSON(none_as_null=True)),
    Column("result", JSON(none_as_null=True)),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Column("next_attempt_at", Double, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("finished_at", Double),
    Column("error_code", String(32)),
    Column("error", Text),
    Index("writes_of_user", "scope", "user_id", "status", "seq"),
    Index("writes_accepted_by", "accepted_by", "status", "next_attempt_at"),
    Index("writes_finished", "status", "finished_at"),
)

# Who works on the writes of a store, one row for each worker and fingerprint it serves. A fingerprint that nobody
# has served for minutes is nobody's any more: its writes may be carried out under other credentials.
workers: Final = Table(
    "workers",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("fingerprint", String(64), primary_key=True),
    Column("scope", String(64), nullable=False),
    Column("seen_at", Double, nullable=False),
    Index("workers_of_fingerprint", "scope", "fingerprint", "seen_at"),
)

# Who reads the history of an app's conversations with a user, while somebody does: one row for each (user, app) that is
# leased. It goes with the lease.
leases: Final = Table(
    "leases",
    metadata,
    Column("scope", String(64), primary_key=True),
    Column("user_id", Text, primary_key=True),
    Column("app_id", Text, primary_key=True),
    Column("owner", String(64)),
    Column("token", BigInteger, nullable=False),
    Column("lease_expires_at", Double),
)

# How far the conversations of a user with an app have been read: what is still wanted of them all, and a row for each
# conversation. `state` holds ids and times, no text; `extraction.checkpoint` makes it.
checkpoints: Final = Table(
    "checkpoints",
    metadata,
    Column("scope", String(64), primary_key=True),
    Column("user_id", Text, primary_key=True),
    Column("app_id", Text, primary_key=True),
    Column("state", JSON(none_as_null=True), nullable=False),
    Column("updated_at", Double, nullable=False),
)
checkpoint_conversations: Final = Table(
    "checkpoint_conversations",
    metadata,
    Column("scope", String(64), primary_key=True),
    Column("user_id", Text, primary_key=True),
    Column("app_id", Text, primary_key=True),
    Column("conversation_id", Text, primary_key=True),
    Column("state", JSON(none_as_null=True), nullable=False),
    Column("updated_at", Double, nullable=False),
)

QUEUED: Final = "queued"
RUNNING: Final = "running"
COMPLETED: Final = "completed"  # and FAILED, as for a write
SKIPPED: Final = "skipped"  # a user's part alone

# One row per task: work on the history of many users, or on all memories of one, that outlasts the call that asked for
# it. `updated_at` is its heartbeat, `ends_at` the end of its time budget. `secret` is encrypted, and erased with its
# end; `result` is what it came to, as far as that is not said by `task_users`.
tasks: Final = Table(
    "tasks",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("scope", String(64), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("fingerprint", String(64), nullable=False),
    Column("run_id", Text, nullable=False),
    Column("status", String(16), nullable=False),
    Column("request", JSON(none_as_null=True), nullable=False),
    Column("secret", Text),
    Column("owner", String(64)),
    Column("token", BigInteger, nullable=False),
    Column("lease_expires_at", Double),
    Column("ends_at", Double, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("started_at", Double),
    Column("updated_at", Double, nullable=False),
    Column("finished_at", Double),
    Column("result", JSON(none_as_null=True)),
    Column("error", Text),
    Index("tasks_unfinished", "scope", "status", "fingerprint"),
    Index("tasks_finished", "finished_at"),
)

# What a task has come to for each of its users, in the order they were given. The counts only grow; what was carried
# out and its count are committed together.
task_users: Final = Table(
    "task_users",
    metadata,
    Column("task_id", String(64), primary_key=True),
    Column("place", Integer, primary_key=True, autoincrement=False),
    Column("user_id", Text, nullable=False),
    Column("status", String(16), nullable=False),
    Column("reason", String(32)),
    Column("lock_holder", String(64)),
    Column("scanned_conversations", Integer, nullable=False, server_default=text("0")),
    Column("scanned_messages", Integer, nullable=False, server_default=text("0")),
    Column("processed_conversations", Integer, nullable=False, server_default=text("0")),
    Column("processed_messages", Integer, nullable=False, server_default=text("0")),
    Column("deferred_messages", Integer, nullable=False, server_default=text("0")),
    Column("semantic", Integer, nullable=False, server_default=text("0")),
    Column("episodic", Integer, nullable=False, server_default=text("0")),
    Column("procedural", Integer, nullable=False, server_default=text("0")),
    Column("llm_calls", Integer, nullable=False, server_default=text("0")),
    Column("notes", JSON(none_as_null=True)),
    Index("task_users_of_user", "user_id"),
)

# Under which scope the store at an address is kept. An address is settled once and then never changes its scope.
scopes: Final = Table(
    "scopes",
    metadata,
    Column("address", String(64), primary_key=True),
    Column("scope", String(64), nullable=False),
)

# What happened to every memory. One write changes a memory at most once, which makes recording it twice harmless.
# Ids and times are text of any length: memories that others wrote hold what they like there.
history: Final = Table(
    "history",
    metadata,
    Column("seq", _Sequence, primary_key=True, autoincrement=True),
    Column("scope", String(64), nullable=False),
    Column("user_id", Text, nullable=False),
    Column("agent_id", Text),
    Column("memory_id", Text, nullable=False),
    Column("write_id", String(36), nullable=False),
    Column("event", String(8), nullable=False),
    Column("old_memory", Text),
    Column("new_memory", Text),
    Column("created_at", Text, nullable=False),
    Column("updated_at", Text, nullable=False),
    Column("is_deleted", Boolean, nullable=False),
    Column("reason", String(16)),  # why it was deleted, where nobody asked for this very memory's deletion
    UniqueConstraint("write_id", "memory_id", name="history_once"),
    Index("history_of_memory", "scope", "memory_id", "seq"),
    Index("history_of_user", "scope", "user_id"),
)

# How often and how well a memory was found again, one row for each that ever was. Ids sort by their bytes, as a scan of
# the memories does, so that the two can be compared page by page.
_Id = Text().with_variant(Text(collation="C"), "postgresql")
recalls: Final = Table(
    "recalls",
    metadata,
    Column("scope", String(64), primary_key=True),
    Column("user_id", _Id, primary_key=True),
    Column("memory_id", _Id, primary_key=True),
    Column("agent_id", Text),
    Column("quality_ema", Double, nullable=False),
    Column("recall_count", Integer, nullable=False),
    Column("last_recalled_at", Double, nullable=False),
)

# The stores of memories whose rows of earlier plugins are taken over (``legacy``).
imports: Final = Table(
    "imports",
    metadata,
    Column("scope", String(64), primary_key=True),
    Column("done_at", Double, nullable=False),
)
