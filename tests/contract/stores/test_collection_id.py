"""What a collection is known by when its address changes."""

from __future__ import annotations

import asyncio
from pathlib import Path

import psycopg

from playground.postgres import Database
from tests.contract.stores.rows import DIMS
from utils.config import pgvector
from utils.config.values import Where
from utils.stores.mem0.store import Mem0Store
from utils.stores.pgvector.store import PgvectorStore


def store(database: Database, **config: object) -> PgvectorStore:
    block = {"connection_string": database.uri, "minconn": 1, **config}
    return PgvectorStore(pgvector.read(block, Where("local_vector_db_json_secret")), DIMS)


async def known_by(database: Database, *, beside_state: bool, **config: object) -> str | None:
    one = store(database, **config)
    try:
        return await one.collection_id(beside_state)
    finally:
        await one.close()


async def test_beside_the_state_it_is_the_name_in_its_schema(database: Database) -> None:
    """The schema may be the role's own: then the credentials do not say it, and the server must be asked."""
    with psycopg.connect(database.uri, autocommit=True) as administrator:
        administrator.execute("CREATE SCHEMA tenant_a")
        administrator.execute("CREATE EXTENSION vector")
    tenants = await known_by(database, beside_state=True, options="-c search_path=tenant_a,public")
    usual = await known_by(database, beside_state=True)
    assert usual == await known_by(database, beside_state=True, minconn=2)
    assert usual == await known_by(database, beside_state=True, options="-c search_path=public")
    other = await known_by(database, beside_state=True, collection_name="other")
    assert len({usual, other, tenants}) == 3
    with psycopg.connect(database.uri, autocommit=True) as administrator:
        setting = "SET search_path = tenant_a, public"
        administrator.execute(f'ALTER ROLE CURRENT_USER IN DATABASE "{database.dbname}" {setting}')
    assert await known_by(database, beside_state=True) == tenants


async def test_elsewhere_it_is_an_id_in_the_tables_comment_which_keeps_what_it_says(database: Database) -> None:
    one = store(database)
    await one.open()
    with psycopg.connect(database.uri, autocommit=True) as administrator:
        administrator.execute("COMMENT ON TABLE mem0 IS 'ours, do not touch'")
        many = await asyncio.gather(*(one.collection_id(False) for _ in range(8)))
        assert len(set(many)) == 1 and many[0] is not None and len(many[0]) == 64
        [(comment,)] = administrator.execute("SELECT obj_description('mem0'::regclass, 'pg_class')").fetchall()
    assert comment.startswith("ours, do not touch ")
    await one.close()
    assert await known_by(database, beside_state=False) == many[0]
    assert await known_by(database, beside_state=False, collection_name="other") != many[0]


async def test_a_folder_keeps_the_id_of_its_collections(tmp_path: Path) -> None:
    def folder(name: str, collection: str = "mem0") -> Mem0Store:
        return Mem0Store("qdrant", {"path": str(tmp_path / name), "collection_name": collection}, DIMS)

    here, other = await folder("here").collection_id(False), await folder("here", "other").collection_id(False)
    assert here is not None and len(here) == 64 and here != other
    (tmp_path / "here").rename(tmp_path / "there")
    assert await folder("there").collection_id(False) == here
    assert await folder("here").collection_id(False) != here


async def test_a_server_has_no_place_for_one() -> None:
    assert await Mem0Store("qdrant", {"host": "localhost", "port": 6333}, DIMS).collection_id(False) is None
