"""The table behind a pgvector collection: adopted as it is or created, and its indexes, built once and in the
background.

The table is mem0's: ``id uuid PRIMARY KEY, vector vector(n), payload jsonb``. An existing one is never rewritten. Two
indexes make it fast: a B-tree on the owner and the id (``payload ->> 'user_id', id``: it finds a user's rows, and
gives them in the order in which they are scanned), and one for approximate nearest neighbours, HNSW on the cosine
distance (up to 2,000 dimensions; up to 4,000 on a ``halfvec`` cast; above that search is exact), or DiskANN where it is
asked for and the extension is there. An index somebody else made counts as soon as it is valid and of that definition.
An owner index of earlier versions, on the user alone, serves until the new one is built, and is dropped then.

Any number of processes may do this at the same time: creation holds an advisory lock, a build is left to whoever holds
another one, and a build that was interrupted (PostgreSQL leaves an invalid index) is dropped and begun again. An index
on an existing table is built ``CONCURRENTLY``: it blocks neither readers nor writers.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from dataclasses import dataclass
from typing import Any, Final, Literal

import psycopg
from psycopg import AsyncConnection, IsolationLevel, sql

from utils.stores.errors import rejected

type Connection = AsyncConnection[tuple[Any, ...]]
type AnnKind = Literal["hnsw", "diskann"]

VECTOR_INDEX_DIMS: Final = 2000  # pgvector's limit for an index on float4 vectors
HALFVEC_INDEX_DIMS: Final = 4000  # and on half-precision ones
_ITERATIVE_SCAN_SINCE: Final = (0, 8)  # before it, an index scan cannot fill top_k for one owner
_CREATE_TIMEOUT_MS: Final = 60_000  # per statement, waiting for another creator included
_NAME_BYTES: Final = 63  # PostgreSQL cuts longer identifiers
_ID_MARK: Final = "mem0_dify_id="
_CREATE_LOCK: Final = "mem0_dify create"
_BUILD_LOCK: Final = "mem0_dify index"
_UUID_OID: Final = 2950
_JSONB_OID: Final = 3802
_USER_KEY: Final = "(payload ->> 'user_id'::text)"


@dataclass(frozen=True, slots=True)
class Index:
    """One index of ours: how it is recognised and how it is made.

    Attributes:
        suffix: what its name adds to the table's.
        method: B-tree, HNSW, ...
        opclass: operator class of the first key; the others' is the default.
        keys: its columns and expressions, as PostgreSQL prints them.
    """

    suffix: str
    method: str
    opclass: str
    keys: tuple[str, ...]

    @property
    def definition(self) -> tuple[str, str, tuple[str, ...]]:
        """What two indexes of one use have in common, whoever named them."""
        return self.method, self.opclass, self.keys

    def name(self, table: str) -> str:
        """A name for it that fits, also beside other collections whose names begin alike."""
        full = f"{table}_{self.suffix}"
        if len(full.encode()) <= _NAME_BYTES:
            return full
        digest = hashlib.sha256(table.encode()).hexdigest()[:8]
        kept = table.encode()[: _NAME_BYTES - len(self.suffix) - len(digest) - 2].decode(errors="ignore")
        return f"{kept}_{digest}_{self.suffix}"


@dataclass(frozen=True, slots=True)
class Table:
    """A collection's table as the server has it.

    Attributes:
        name: its name, one identifier.
        oid: its object id.
        dims: length of its vectors; None when the column does not fix one.
        ann: the approximate index it should have; None for exact search only.
    """

    name: str
    oid: int
    dims: int | None
    ann: Index | None

    @property
    def indexes(self) -> tuple[Index, ...]:
        """Every index the collection should have."""
        return (OWNER_INDEX,) if self.ann is None else (OWNER_INDEX, self.ann)


OWNER_INDEX: Final = Index("owner_idx", "btree", "text_ops", (_USER_KEY, "id"))
_SUPERSEDED_OWNER_INDEX: Final = Index("user_id_idx", "btree", "text_ops", (_USER_KEY,))


def quoted(name: str) -> sql.SQL:
    """``name`` as an SQL identifier inside statements that take parameters (where a percent sign is doubled)."""
    return sql.SQL(sql.Identifier(name).as_string().replace("%", "%%"))


async def find_or_create(conn: Connection, name: str, dims: int | None, ann: AnnKind | None) -> Table | None:
    """Find the collection's table, or create it with its indexes; None when it is missing and ``dims`` is not known.

    Args:
        conn: a connection in autocommit mode.
        name: the collection's name.
        dims: vector length of a table that is to be created.
        ann: which approximate index is wanted, if any.

    Raises:
        ServiceRejected: something else has this name.
        psycopg.Error: as the database says.
    """
    table = await _describe(conn, name, ann)
    if table is None and dims is not None:
        await _create(conn, name, dims, ann)
        table = await _describe(conn, name, ann)
    return table


async def require_writable(conn: Connection, table: Table) -> None:
    """Refuse a table that this user, in this database, may read only.

    Raises:
        ServiceRejected: it may.
    """
    cursor = await conn.execute(
        "SELECT current_setting('transaction_read_only')::bool, array(SELECT kind"
        " FROM unnest(array['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS kind"
        " WHERE NOT has_table_privilege(%s::oid, kind))",
        [table.oid],
    )
    [(read_only, missing)] = await cursor.fetchall()
    if read_only:
        raise rejected("store_read_only", "ReadOnlySqlTransaction 25006")
    if missing:
        raise rejected(
            "store_no_rights", "InsufficientPrivilege 42501", collection=table.name, missing=", ".join(missing)
        )


async def _describe(conn: Connection, name: str, ann: AnnKind | None) -> Table | None:
    cursor = await conn.execute(
        "SELECT a.attrelid, a.attname, a.atttypid, a.atttypmod, t.typname FROM pg_attribute a"
        " JOIN pg_type t ON t.oid = a.atttypid"
        " WHERE a.attrelid = to_regclass(%s) AND a.attnum > 0 AND NOT a.attisdropped",
        [sql.Identifier(name).as_string()],
    )
    columns = {
        column: (oid, type_oid, modifier, type_name)
        for oid, column, type_oid, modifier, type_name in await cursor.fetchall()
    }
    if not columns:
        return None
    blank = (0, 0, -1, "")
    vector = columns.get("vector", blank)
    if (columns.get("id", blank)[1], columns.get("payload", blank)[1], vector[3]) != (_UUID_OID, _JSONB_OID, "vector"):
        raise rejected("store_not_a_collection", "UndefinedColumn", collection=name)
    dims = vector[2] if vector[2] > 0 else None
    return Table(name, vector[0], dims, await _ann_index(conn, dims, ann))


async def _ann_index(conn: Connection, dims: int | None, ann: AnnKind | None) -> Index | None:
    """The approximate index for vectors of this length on this server."""
    if ann is None or dims is None or dims > HALFVEC_INDEX_DIMS:
        return None
    cursor = await conn.execute(
        "SELECT extname, extversion FROM pg_extension WHERE extname IN ('vector', 'vectorscale')"
    )
    versions: dict[str, str] = dict(await cursor.fetchall())
    if ann == "diskann" and "vectorscale" in versions and dims <= VECTOR_INDEX_DIMS:
        return Index("diskann_idx", "diskann", "vector_cosine_ops", ("vector",))
    if _version(versions.get("vector", "0")) < _ITERATIVE_SCAN_SINCE:
        return None
    if dims <= VECTOR_INDEX_DIMS:
        return Index("hnsw_idx", "hnsw", "vector_cosine_ops", ("vector",))
    return Index("hnsw_half_idx", "hnsw", "halfvec_cosine_ops", (f"(vector::halfvec({dims}))",))


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".") if part.isdigit())


async def _create(conn: Connection, name: str, dims: int, ann: AnnKind | None) -> None:
    async with conn.transaction():
        await conn.execute(sql.SQL("SET LOCAL statement_timeout = {}").format(sql.Literal(_CREATE_TIMEOUT_MS)))
        # Without the lock two sessions that find no table both try, and IF NOT EXISTS does not keep one from failing.
        await conn.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"{_CREATE_LOCK} {name}"])
        await _create_extension(conn)
        await conn.execute(
            sql.SQL("CREATE TABLE IF NOT EXISTS {} (id uuid PRIMARY KEY, vector vector({}), payload jsonb)").format(
                sql.Identifier(name), sql.Literal(dims)
            )
        )
        table = await _describe(conn, name, ann)
        for index in table.indexes if table else ():
            await conn.execute(_create_index(name, index, concurrently=False))


async def id_by_name(conn: Connection, name: str) -> str:
    """The id of the collection ``name`` within this database: of its schema, or of the one it would be made in.

    The schema may hang on the role (``"$user"``, a setting of its own), so only the server can tell it.
    """
    cursor = await conn.execute(
        "SELECT coalesce((SELECT relnamespace::regnamespace::text FROM pg_class WHERE oid = to_regclass(%s)),"
        " current_schema())",
        [sql.Identifier(name).as_string()],
    )
    [(schema,)] = await cursor.fetchall()
    return hashlib.sha256(json.dumps(["pgvector beside the state", schema, name]).encode()).hexdigest()


async def id_in_comment(conn: Connection, table: Table) -> str | None:
    """The id in the comment on the table, written there by the first who asks; None for a user who may not.

    A comment moves with a dump, a renamed host and a renamed database; what else it says stays.

    Raises:
        psycopg.Error: as the database says.
    """
    if (found := await _read_comment(conn, table))[0] is not None:
        return found[0]
    try:
        async with conn.transaction():
            # Two who find no id would both write one, and the first would go by one that is not there any more.
            await conn.execute(
                "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"{_CREATE_LOCK} {table.name}"]
            )
            known, comment = await _read_comment(conn, table)
            if known is not None:
                return known
            made = secrets.token_hex(32)
            text = f"{comment} {_ID_MARK}{made}".strip()
            await conn.execute(
                sql.SQL("COMMENT ON TABLE {} IS {}").format(sql.Identifier(table.name), sql.Literal(text))
            )
            return made
    except psycopg.errors.InsufficientPrivilege:  # a table of somebody else's
        return None


async def _read_comment(conn: Connection, table: Table) -> tuple[str | None, str]:
    cursor = await conn.execute("SELECT coalesce(obj_description(%s::oid, 'pg_class'), '')", [table.oid])
    [(comment,)] = await cursor.fetchall()
    found = re.search(rf"{_ID_MARK}([0-9a-f]{{64}})", comment)
    return found and found[1], comment


async def _create_extension(conn: Connection) -> None:
    """Make the extension if it is missing: the statement needs rights that a user of a prepared database may lack."""
    cursor = await conn.execute("SELECT FROM pg_extension WHERE extname = 'vector'")
    if await cursor.fetchone() is not None:
        return
    # Collections of different names are created under different locks, the extension is one.
    await conn.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [_CREATE_LOCK])
    try:
        await conn.execute("CREATE EXTENSION IF NOT EXISTS vector")
    except psycopg.errors.InsufficientPrivilege as exc:
        raise rejected("store_no_extension", type(exc).__name__) from exc
    except (psycopg.errors.UndefinedFile, psycopg.errors.FeatureNotSupported) as exc:  # of older and newer servers
        raise rejected("store_extension_not_installed", type(exc).__name__) from exc


def _create_index(table: str, index: Index, *, concurrently: bool) -> sql.Composed:
    first, *others = (key if key.startswith("(") else f"({key})" for key in index.keys)
    return sql.SQL("CREATE INDEX {} IF NOT EXISTS {} ON {} USING {} ({} {}{})").format(
        sql.SQL("CONCURRENTLY" if concurrently else ""),
        sql.Identifier(index.name(table)),
        sql.Identifier(table),
        sql.Identifier(index.method),
        sql.SQL(first),
        sql.Identifier(index.opclass),
        sql.SQL("".join(f", {key}" for key in others)),
    )


@dataclass(frozen=True, slots=True)
class IndexState:
    """How the collection's indexes stand.

    Attributes:
        missing: those it should have and has not, valid and whole.
        superseded: names of our own from earlier versions that are needed no more.
    """

    missing: tuple[Index, ...]
    superseded: tuple[str, ...]

    @property
    def complete(self) -> bool:
        """Whether there is nothing to do."""
        return not self.missing and not self.superseded


async def index_state(conn: Connection, table: Table) -> IndexState:
    """How the collection's indexes stand now."""
    found = await _indexes(conn, table)
    valid = {index.definition for index in found if index.valid}
    old = _SUPERSEDED_OWNER_INDEX
    superseded = [
        index.name for index in found if (index.name, index.definition) == (old.name(table.name), old.definition)
    ]
    return IndexState(
        tuple(index for index in table.indexes if index.definition not in valid),
        tuple(superseded if OWNER_INDEX.definition in valid else ()),
    )


@dataclass(frozen=True, slots=True)
class _FoundIndex:
    """An index over all rows of the table, as the server has it."""

    name: str
    definition: tuple[str, str, tuple[str, ...]]
    valid: bool
    being_built: bool


async def _indexes(conn: Connection, table: Table) -> list[_FoundIndex]:
    cursor = await conn.execute(
        "SELECT c.relname, am.amname, op.opcname,"
        " ARRAY(SELECT pg_get_indexdef(i.indexrelid, k, true) FROM generate_series(1, i.indnkeyatts) AS k),"
        " i.indisvalid, EXISTS (SELECT FROM pg_stat_progress_create_index p WHERE p.index_relid = i.indexrelid)"
        " FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am am ON am.oid = c.relam"
        " JOIN pg_opclass op ON op.oid = i.indclass[0] WHERE i.indrelid = %s AND i.indpred IS NULL",
        [table.oid],
    )
    return [
        _FoundIndex(name, (method, opclass, tuple(keys)), valid, being_built)
        for name, method, opclass, keys, valid, being_built in await cursor.fetchall()
    ]


async def build_indexes(conn: Connection, lock_holder: Connection, table: Table) -> bool:
    """Build what is missing, concurrently, then drop what that supersedes; False when another session is at it.

    Args:
        conn: a connection of its own in autocommit mode without statement time-out; a build of HNSW over millions of
            rows takes as long as it takes.
        lock_holder: another connection, to hold the lock meanwhile.
        table: the collection.

    Raises:
        psycopg.Error: as the database says; the user of a borrowed table may not index it.
    """
    # The lock belongs to a transaction: a pooler would leave a session's lock with whoever gets that session next. The
    # transaction must hold no snapshot while it is idle, or a concurrent build would wait for its end.
    await lock_holder.set_isolation_level(IsolationLevel.READ_COMMITTED)
    async with lock_holder.transaction():
        # Try, never wait: waiting for the lock would hold a snapshot, too.
        lock = f"{_BUILD_LOCK} {table.oid}"
        cursor = await lock_holder.execute("SELECT pg_try_advisory_xact_lock(hashtextextended(%s, 0))", [lock])
        if await cursor.fetchone() != (True,):
            return False
        # The answer of a SELECT keeps its snapshot until the next statement: this one, which needs none.
        await lock_holder.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
        for index in (await index_state(conn, table)).missing:
            if await _clear_the_way(conn, table, index):
                await conn.execute(_create_index(table.name, index, concurrently=True))
        for name in (await index_state(conn, table)).superseded:
            await _drop_index(conn, name)
    return True


async def _clear_the_way(conn: Connection, table: Table, index: Index) -> bool:
    """Drop what an interrupted build of this index left behind; False when it is still being built."""
    for found in await _indexes(conn, table):
        if not found.valid and found.definition == index.definition:
            if found.being_built:
                return False
            await _drop_index(conn, found.name)
    return True


async def _drop_index(conn: Connection, name: str) -> None:
    await conn.execute(sql.SQL("DROP INDEX CONCURRENTLY IF EXISTS {}").format(sql.Identifier(name)))
