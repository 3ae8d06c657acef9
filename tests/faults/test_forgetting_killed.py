"""A forgetting that is killed half way is finished by the next process, with the true counts and no orphans."""

from __future__ import annotations

import psycopg

from tests.faults.conftest import Site
from tests.faults.ledger import PostgresLedger, wait_until

MEMORIES = 3_000


def test_killed_half_way(postgres_site: Site[PostgresLedger]) -> None:
    plugin = postgres_site.start()
    plugin.accept("alice", "I like tea.", infer=False)
    plugin.drain("alice")
    with psycopg.connect(postgres_site.ledger.uri) as connection:  # every third is young; all were recalled once
        connection.execute(
            "INSERT INTO mem0 SELECT gen_random_uuid(), vector, payload || jsonb_build_object('created_at',"
            " CASE WHEN n %% 3 = 0 THEN '2999-01-01' ELSE '2001-01-01' END)"
            " FROM mem0, generate_series(1, %s) n",
            (MEMORIES,),
        )
        connection.execute(
            "INSERT INTO mem0_dify.recalls (scope, user_id, memory_id, quality_ema, recall_count, last_recalled_at)"
            " SELECT (SELECT scope FROM mem0_dify.writes), 'alice', id::text, 0.5, 1,"
            " extract(epoch FROM (payload ->> 'created_at')::timestamptz) FROM mem0"
        )
    plugin.submit("forget_memories", user_id="alice")
    gone = "SELECT count(*) FROM mem0_dify_history WHERE reason = ?"
    wait_until(lambda: postgres_site.ledger.rows(gone, "forgotten")[0][0] >= 300)
    plugin.process.kill()
    orphans = "SELECT count(*) FROM mem0_dify_recalls r WHERE NOT EXISTS (SELECT FROM mem0 WHERE id::text = memory_id)"
    assert postgres_site.ledger.rows(orphans) == [(0,)]
    plugin = postgres_site.start()
    plugin.drain("alice")
    [(result,)] = postgres_site.ledger.rows("SELECT result FROM mem0_dify_writes WHERE kind = ?", "forget")
    assert (result["deleted_count"], result["retained_count"]) == (2_000, 1_001)
    assert postgres_site.ledger.rows("SELECT count(*) FROM mem0") == [(1_001,)]
    assert postgres_site.ledger.rows("SELECT count(*) FROM mem0_dify_recalls") == [(1_001,)]
