"""A worker that the state store no longer answers, while everybody else reaches it: it stops before its lease ends."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import psycopg
import pytest

from playground.postgres import Database
from playground.stand_in_model import StandInModel
from tests.faults.conftest import Site
from tests.faults.ledger import DEADLINE_S, PostgresLedger, planned, wait_until
from tests.faults.test_model_faults import with_config
from tests.faults.test_stall import lost_leases
from tests.silent_proxy import SilentProxy

MEMORIES = 4
# Every change that the cut-off one makes takes its time; the other's take none.
SLOW_CHANGES = """
CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN
        IF current_setting('application_name') = 'cut-off' THEN PERFORM pg_sleep(4); END IF;
        RETURN NULL;
    END $$;
CREATE TRIGGER dawdle BEFORE UPDATE ON mem0 FOR EACH STATEMENT EXECUTE FUNCTION dawdle();
"""


@pytest.fixture
def proxies(database: Database) -> Iterator[tuple[SilentProxy, SilentProxy]]:
    with SilentProxy(database.host, database.port) as one, SilentProxy(database.host, database.port) as other:
        yield one, other


def updates(version: int) -> dict[str, Any]:
    """A model's answer that replaces every memory."""
    return {
        "memory": [
            {"event": "UPDATE", "id": str(number), "text": f"drink {number} in version {version}"}
            for number in range(MEMORIES)
        ]
    }


def test_a_worker_cut_off_from_its_state_changes_nothing_after_its_lease(
    postgres_site: Site[PostgresLedger],
    stand_in_model: StandInModel,
    database: Database,
    proxies: tuple[SilentProxy, SilentProxy],
) -> None:
    """The state lives elsewhere than the memories, so that no transaction guards the changes."""
    block = json.loads(postgres_site.credentials["local_vector_db_json_secret"])

    def through(proxy: SilentProxy, **config: Any) -> dict[str, str]:
        return {
            "state_db_url": replace(database, port=proxy.port).uri,
            "local_vector_db_json_secret": with_config(json.dumps(block), **config),
        }

    cut_off = postgres_site.start(**through(proxies[0], application_name="cut-off"))
    other = postgres_site.start(**through(proxies[1]))
    for number in range(MEMORIES):
        other.accept("alice", f"drink {number} in version 0", infer=False)
    other.drain("alice")
    cut_off.drain("alice")
    with psycopg.connect(database.uri, autocommit=True) as administrator:
        administrator.execute(SLOW_CHANGES)
    stand_in_model.control.script(updates(1), updates(2))
    cut_off.accept("alice", "All my drinks have changed.")
    wait_until(lambda: planned(postgres_site.ledger) == 1)
    proxies[0].silence()
    cut_off.process.wait_until(lambda: lost_leases(cut_off) == 1, DEADLINE_S)
    postgres_site.ledger.forget_workers()
    other.accept("alice", "And once more.")
    other.drain("alice")
    newest = sorted(f"drink {number} in version 2" for number in range(MEMORIES))
    assert sorted(other.texts("alice")) == newest
    proxies[0].speak()
    cut_off.drain("alice")
    assert sorted(other.texts("alice")) == newest
