"""Who carries out a write: the credentials it was accepted under, for as long as anybody serves them."""

from __future__ import annotations

from playground.stand_in_model import StandInModel
from tests.faults.conftest import Site
from tests.faults.ledger import PostgresLedger, wait_until
from tests.faults.test_model_faults import with_config


def other_key(site: Site[PostgresLedger], key: str) -> dict[str, str]:
    """The site's credentials with another key for the models."""
    names = ("local_llm_json_secret", "local_embedder_json_secret")
    return {name: with_config(site.credentials[name], api_key=key) for name in names}


def test_nobodys_text_goes_to_another_ones_model_while_its_own_credentials_are_alive(
    postgres_site: Site[PostgresLedger], stand_in_model: StandInModel
) -> None:
    """Alice's model is away for a while; Bob's credentials reach the same store and see her write waiting."""
    stand_in_model.control.set(verbatim=True, failure_share=1.0, failure_kinds=("500",), failing_endpoints=["chat"])
    alice = postgres_site.start(**other_key(postgres_site, "alices-key"))
    alice.accept("alice", "Alice likes tea.")
    wait_until(lambda: postgres_site.ledger.rows("SELECT attempts FROM mem0_dify_writes")[0][0] >= 1)
    alice.process.kill()
    stand_in_model.control.set(failure_share=0.0, failing_endpoints=["chat", "embeddings"])
    bob = postgres_site.start(**other_key(postgres_site, "bobs-key"))
    bob.accept("bob", "Bob likes coffee.")
    bob.drain("bob")
    due = (
        "SELECT count(*) FROM mem0_dify_write_queues WHERE user_id = 'alice'"
        " AND coalesce(lease_expires_at, 0) < extract(epoch from clock_timestamp())"
        " AND due_at < extract(epoch from clock_timestamp())"
    )
    wait_until(lambda: postgres_site.ledger.rows(due) == [(1,)])
    bob.accept("bob", "Bob likes cake.")
    bob.drain("bob")
    assert bob.pending("alice") == 1, "taken over although her credentials had just been seen"
    postgres_site.ledger.forget_workers()
    bob.drain("alice")
    assert bob.texts("alice") == ["Alice likes tea."]


def test_credential_sets_beyond_the_limit_leave_no_accepted_write_undone(
    postgres_site: Site[PostgresLedger], stand_in_model: StandInModel
) -> None:
    """Four sets are held open. The first one's writes are pending when five others have come after it."""
    stand_in_model.control.set(verbatim=True, held_endpoints=["chat"])
    first = postgres_site.start(max_concurrent_memory_operations=10, **other_key(postgres_site, "tenant-0"))
    texts = [f"note number {number}" for number in range(9)]
    for text in texts:
        first.accept("alice", text)
    for tenant in range(1, 6):
        other = first.with_credentials(**other_key(postgres_site, f"tenant-{tenant}"))
        assert other.call("get_all_memories", user_id="bob").status == "SUCCESS"
    # Whichever set was to go has gone by now: the one that is asked here is opened after that.
    assert other.with_credentials(language="pt_BR").pending("alice") == len(texts)
    stand_in_model.control.set(held_endpoints=[], accepted_key="tenant-0")
    other.drain("alice")
    assert other.texts("alice") == texts, "carried out under its own key"
    assert stand_in_model.control.counts["chat"] == len(texts)


def test_sets_beyond_the_limit_are_closed_though_nobody_calls(postgres_site: Site[PostgresLedger]) -> None:
    """The longest unused ones go, with their connections."""
    plugin = postgres_site.start()
    for tenant in range(8):
        store = with_config(
            postgres_site.credentials["local_vector_db_json_secret"], application_name=f"tenant-{tenant}", minconn=1
        )
        one = plugin.with_credentials(local_vector_db_json_secret=store)
        assert one.call("get_all_memories", user_id="bob").status == "SUCCESS"
    connected = "SELECT DISTINCT application_name FROM pg_stat_activity WHERE application_name LIKE 'tenant-%'"
    wait_until(lambda: len(postgres_site.ledger.rows(connected.replace("%", "%%"))) == 4)


def test_a_failed_write_of_a_quiet_tenant_stays_his_while_his_set_is_open(
    postgres_site: Site[PostgresLedger], stand_in_model: StandInModel
) -> None:
    """His key is refused, and he does not call. Another tenant's does work, and he is busy."""
    stand_in_model.control.set(verbatim=True, accepted_key="bobs-key")
    alice = postgres_site.start(**other_key(postgres_site, "alices-key"))
    alice.accept("alice", "Alice likes tea.")
    wait_until(lambda: postgres_site.ledger.rows("SELECT status FROM mem0_dify_writes") == [("failed",)])
    bob = alice.with_credentials(**other_key(postgres_site, "bobs-key"))
    bob.accept("bob", "Bob likes coffee.")
    bob.drain("bob")
    postgres_site.ledger.forget_workers()
    seen = "SELECT count(*) FROM mem0_dify_workers WHERE seen_at > extract(epoch from clock_timestamp()) - 60"
    wait_until(lambda: postgres_site.ledger.rows(seen) == [(2,)])
    bob.accept("bob", "Bob likes cake.")
    bob.drain("bob")
    assert bob.call("get_all_memories", user_id="alice").envelope["failed_writes"] == 1
