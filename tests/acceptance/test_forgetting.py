"""Forgetting as a workflow sees it: searches strengthen, a dry run shows, a real run deletes."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from PIL import Image

from playground.dify_host import PluginProcess
from playground.postgres import Database
from tests.faults.ledger import wait_until
from tests.plugin import Plugin

COUNTS = ("deleted_count", "retained_count", "checkpoints_cleaned", "locks_cleaned")


class Past:
    """Makes memories older than they are."""

    def __init__(self, database: Database) -> None:
        self._uri = database.uri

    def rows(self, statement: str, *params: Any) -> list[tuple[Any, ...]]:
        with psycopg.connect(self._uri, autocommit=True) as connection:
            cursor = connection.execute(statement.encode(), params)
            return cursor.fetchall() if cursor.description else []

    def age(self, text: str, days: int) -> None:
        made = (
            "jsonb_build_object('created_at', to_char(now() - make_interval(days => %s), 'YYYY-MM-DD\"T\"HH24:MI:SS'))"
        )
        self.rows(f"UPDATE mem0 SET payload = payload || {made} WHERE payload ->> 'data' = %s", days, text)

    def recalled(self) -> int:
        [(count,)] = self.rows("SELECT count(*) FROM mem0_dify.recalls")
        return int(count)


@pytest.fixture
def past(database: Database) -> Past:
    return Past(database)


@pytest.fixture
def plugin(plugin_process: Callable[..., PluginProcess], pgvector_credentials: dict[str, Any], past: Past) -> Plugin:
    """Alice's four memories: two have faded, of which one is pinned; one has faded and will be recalled; one is new."""
    plugin = Plugin(plugin_process(), pgvector_credentials)
    for text, metadata in (
        ("Was at a concert in Porto", '{"memory_subtype": "episodic"}'),
        ("Is allergic to peanuts", '{"pinned": true}'),
        ("Plays the cello on Sundays", '{"memory_subtype": "semantic"}'),
        ("Has a new bicycle", "{}"),
    ):
        plugin.accept("alice", text, infer=False, metadata=metadata, agent_id="app")
    plugin.drain("alice")
    past.age("Was at a concert in Porto", 60)
    past.age("Is allergic to peanuts", 500)
    past.age("Plays the cello on Sundays", 500)
    return plugin


def test_a_dry_run_shows_and_a_real_run_deletes(plugin: Plugin, past: Past) -> None:
    shown = plugin.call("forget_memories", user_id="alice", dry_run=True)
    assert [shown.results[name] for name in COUNTS] == [2, 2, 0, 0] and shown.results["dry_run"] is True
    cello, concert = shown.results["would_delete"]  # least retention first
    assert (cello["memory"], concert["memory"]) == ("Plays the cello on Sundays", "Was at a concert in Porto")
    info = concert["retention_info"]
    assert (info["s0_used"], info["memory_subtype"], info["recall_count"], info["forget"]) == (14, "episodic", 0, True)
    assert info["retention"] == pytest.approx(0.0138, abs=0.001) and round(info["age_days"]) == 60
    assert "| 1.4% | 60 | 0 | episodic | Was at a concert in Porto |" in shown.text
    assert len(plugin.memories("alice")) == 4

    found = plugin.call("search_memory", user_id="alice", query="Plays the cello on Sundays", top_k=1)
    assert [memory["score"] > 0.5 for memory in found.results] == [True]
    assert "retention" not in found.results[0]
    wait_until(lambda: past.recalled() == 1)
    again = plugin.call(
        "search_memory", user_id="alice", query="Plays the cello on Sundays", top_k=1, include_retention=True
    )
    assert again.results[0]["retention"] == pytest.approx(1.0, abs=0.01)

    gone = plugin.call("forget_memories", user_id="alice")
    assert gone.status == "SUCCESS" and gone.variables["task_id"].startswith("forget_")
    assert gone.results == {**dict(zip(COUNTS, (1, 3, 0, 0), strict=True)), "dry_run": False}
    assert "Was at a concert in Porto" not in plugin.texts("alice")
    [change] = [one for one in history(plugin, concert["id"]) if one["is_deleted"]]
    assert (change["reason"], change["old_memory"]) == ("forgotten", "Was at a concert in Porto")


def history(plugin: Plugin, memory_id: str) -> list[dict[str, Any]]:
    changes: list[dict[str, Any]] = plugin.call("get_memory_history", memory_id=memory_id).results
    return changes


def test_a_dry_run_brings_a_picture_of_every_kind_of_memory(plugin: Plugin) -> None:
    [blob] = plugin.call("forget_memories", user_id="alice", dry_run=True).blobs
    assert blob.meta == {"mime_type": "image/png", "filename": "memory-retention.png"}
    with Image.open(io.BytesIO(blob.data)) as image:
        assert image.format == "PNG" and image.size == (960, 640)
    assert plugin.call("forget_memories", user_id="alice").blobs == []


def test_an_apps_memories_and_a_user_without_any(plugin: Plugin) -> None:
    nobody = plugin.call("forget_memories", user_id="nobody", dry_run=True)
    assert [nobody.results[name] for name in COUNTS] == [0, 0, 0, 0] and len(nobody.blobs) == 1
    other = plugin.call("forget_memories", user_id="alice", app_id="another")
    assert other.results["deleted_count"] == other.results["retained_count"] == 0
    waited_for = plugin.with_credentials(async_mode=False, memory_ttl_days="300", language="ja_JP")
    gone = waited_for.call("forget_memories", user_id="alice", app_id="app")
    assert (gone.results["deleted_count"], "忘却" in gone.text) == (2, True)
    assert sorted(plugin.texts("alice")) == ["Has a new bicycle", "Is allergic to peanuts"]


def test_deleted_memories_take_what_was_recorded_of_their_recalls_along(plugin: Plugin, past: Past) -> None:
    found = plugin.call("search_memory", user_id="alice", query="Has a new bicycle", top_k=1, threshold=0.5)
    wait_until(lambda: past.recalled() == 1)
    plugin.call("delete_memory", memory_id=found.results[0]["id"])
    plugin.drain("alice")
    assert past.recalled() == 0
    plugin.call("search_memory", user_id="alice", query="Is allergic to peanuts", top_k=1)
    wait_until(lambda: past.recalled() == 1)
    plugin.call("delete_all_memories", user_id="alice")
    plugin.drain("alice")
    assert past.recalled() == 0


def test_a_search_that_came_too_late_strengthens_nothing(plugin: Plugin, database: Database, past: Past) -> None:
    with psycopg.connect(database.uri) as connection:
        connection.execute("LOCK TABLE mem0_dify.recalls IN ACCESS EXCLUSIVE MODE")
        late = plugin.call(
            "search_memory", user_id="alice", query="Has a new bicycle", top_k=1, include_retention=True, timeout=3
        )
        assert late.status == "TIMEOUT"
    found = plugin.call("search_memory", user_id="alice", query="Is allergic to peanuts", top_k=1)
    peanuts = found.results[0]["id"]
    # Recalls are recorded in the order in which they came: the late one's would be there by then.
    wait_until(lambda: past.rows("SELECT 1 FROM mem0_dify.recalls WHERE memory_id = %s", peanuts) != [])
    assert past.recalled() == 1


def test_what_takes_longer_goes_on_in_the_background(plugin: Plugin, database: Database, past: Past) -> None:
    with psycopg.connect(database.uri) as connection:
        connection.execute("LOCK TABLE mem0 IN SHARE ROW EXCLUSIVE MODE")
        accepted = plugin.call("forget_memories", user_id="alice", timeout=3)
        assert accepted.status == "ACCEPTED" and accepted.results["deleted_count"] is None
        task_id = accepted.variables["task_id"]
        under_way = plugin.call("check_extraction_status", task_id=task_id)
        assert under_way.variables["task_status"] in ("queued", "running")
    plugin.drain("alice")
    done = plugin.call("check_extraction_status", task_id=task_id)
    assert done.variables["task_status"] == "completed"
    assert done.variables["final_report"] == dict(zip(COUNTS, (2, 2, 0, 0), strict=True))
    assert "Memories forgotten: 2, kept: 2." in done.text
    [(status, result)] = past.rows("SELECT status, result FROM mem0_dify.writes WHERE id = %s", task_id)
    assert status == "done" and result == dict(zip(COUNTS, (2, 2, 0, 0), strict=True))
