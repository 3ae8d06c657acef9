"""A connection to the store that is cut without a word is given up: the kernel would go on sending for a quarter of an
hour, and the call wait for it.
"""

from __future__ import annotations

import psycopg
import pytest

from playground.postgres import Database
from tests.contract.stores.conftest import pgvector_settings
from utils.stores.pgvector.sessions import Login


@pytest.mark.parametrize(("given", "counts"), [({}, "20000"), ({"tcp_user_timeout": "7000"}, "7000")])
async def test_every_connection_has_an_end(given: dict[str, str], counts: str, stores_database: Database) -> None:
    config = pgvector_settings(stores_database, "memories")
    login = Login(psycopg.conninfo.make_conninfo(config.conninfo, **given))
    async with login.connection() as session:
        assert session.info.get_parameters()["tcp_user_timeout"] == counts
    pooled = psycopg.conninfo.conninfo_to_dict(login.conninfo)
    assert pooled["tcp_user_timeout"] == counts
