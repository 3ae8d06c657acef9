"""What a tool's ``output_schema`` promises is what it answers: the workflow editor offers its fields before any call.

A schema is read more strictly here than Dify reads it: a field that is not declared must not come, and null may come
only where the description says so.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any, Final

import psycopg
import pytest
import yaml
from jsonschema import Draft202012Validator

from playground.dify_app import History, StandInDify
from playground.dify_host import PluginProcess
from playground.invocation import Invocation
from playground.postgres import Database
from playground.stand_in_model import StandInModel
from tests.plugin import Plugin
from utils.extraction.request import range_before

TOOLS: Final = Path(__file__).resolve().parents[2] / "tools"
SCHEMAS: Final[dict[str, Any]] = {
    path.stem: yaml.safe_load(path.read_text(encoding="utf-8"))["output_schema"] for path in TOOLS.glob("*.yaml")
}
NOON_S: Final = 12 * 3600
UNKNOWN_ID: Final = "00000000-0000-4000-8000-000000000000"


def strict(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema with nothing allowed but what it says."""
    read = dict(schema)
    if "null" in schema.get("description", ""):
        read["type"] = [schema["type"], "null"]
    if "properties" in schema:
        read |= {"properties": {name: strict(one) for name, one in schema["properties"].items()}}
        read["additionalProperties"] = False
    if "items" in schema:
        read["items"] = strict(schema["items"])
    return read


VALIDATORS: Final = {name: Draft202012Validator(strict(schema)) for name, schema in SCHEMAS.items()}


class Checking(Plugin):
    """A plugin whose every answer must fit its tool's schema, with all the variables that it declares."""

    def call(self, tool: str, **parameters: Any) -> Invocation:
        answer = super().call(tool, **parameters)
        assert answer.variables.keys() == SCHEMAS[tool]["properties"].keys()
        faults = [f"{list(fault.path)}: {fault.message}" for fault in VALIDATORS[tool].iter_errors(answer.variables)]
        assert faults == [], tool
        return answer


@pytest.fixture
def plugin(module_process: PluginProcess, collection_credentials: dict[str, Any]) -> Checking:
    return Checking(module_process, collection_credentials)


@pytest.fixture
def synchronous(plugin: Checking) -> Checking:
    return Checking(plugin.process, {**plugin.credentials, "async_mode": False})


@pytest.fixture
def dify() -> Iterator[StandInDify]:
    with StandInDify(History()) as app:
        yield app


def untyped(schema: dict[str, Any], place: str) -> Iterator[str]:
    """Places that a person in the editor can pick but not look into, or that have no type."""
    if schema.get("type") not in {"string", "integer", "number", "boolean", "object", "array"}:
        yield place
    if schema.get("type") == "array" and "items" not in schema:
        yield place
    if schema.get("type") == "object" and "properties" not in schema:
        yield place
    for name, one in schema.get("properties", {}).items():
        yield from untyped(one, f"{place}.{name}")
    if "items" in schema:
        yield from untyped(schema["items"], f"{place}[]")


def test_every_field_has_a_type_and_every_object_its_fields() -> None:
    # Keys of these are the author's own, or ids.
    free = {"metadata", "conversations"}
    places = [place for name, schema in SCHEMAS.items() for place in untyped(schema, name)]
    assert [place for place in places if place.rpartition(".")[2] not in free] == []


def test_a_memory_from_its_first_word_to_its_end(plugin: Checking, synchronous: Checking) -> None:
    assert plugin.call("add_memory", user_id="ana", user="I like tea.").results[0]["event"] == "ACCEPT"
    plugin.drain("ana")
    for said in ({"user": " "}, {"user": "I live in Lisbon."}, {"user": "I own a cello.", "infer": False}):
        synchronous.call("add_memory", user_id="ana", agent_id="app", metadata='{"topic": "home"}', **said)
    found = plugin.call("search_memory", user_id="ana", query="tea", include_retention=True)
    assert found.envelope["count"] == len(found.results) == 3
    memory_id = found.results[0]["id"]
    for tool, more in (
        ("get_memory", {}),
        ("update_memory", {"text": "I like white tea."}),
        ("get_memory_history", {}),
        ("delete_memory", {}),
    ):
        assert synchronous.call(tool, memory_id=memory_id, **more).status == "SUCCESS"
        assert plugin.call(tool, memory_id=UNKNOWN_ID, **more).status in ("NOT_FOUND", "SUCCESS")
    other_id = plugin.call("get_all_memories", user_id="ana").results[0]["id"]
    assert plugin.call("update_memory", memory_id=other_id, text="I own two cellos.").status == "SUCCESS"
    assert plugin.call("delete_memory", memory_id=other_id).status == "SUCCESS"
    plugin.drain("ana")
    assert synchronous.call("delete_all_memories", user_id="ana").results["count"] == 1
    write = plugin.call("delete_all_memories", user_id="ana").envelope["write_id"]
    assert plugin.call("check_extraction_status", task_id=write).status == "SUCCESS"
    assert plugin.call("search_memory", user_id="ana", query="tea").envelope["count"] == 0


def test_what_is_forgotten(plugin: Checking, synchronous: Checking, module_database: Database) -> None:
    synchronous.call("add_memory", user_id="ana", user="I was at a concert.", infer=False)
    collection = json.loads(plugin.credentials["local_vector_db_json_secret"])["config"]["collection_name"]
    with psycopg.connect(module_database.uri, autocommit=True) as connection:
        aged = '{"created_at": "2020-01-01T00:00:00+00:00"}'
        connection.execute(f"UPDATE {collection} SET payload = payload || %s::jsonb".encode(), (aged,))
    shown = plugin.call("forget_memories", user_id="ana", dry_run=True)
    assert len(shown.results["would_delete"]) == 1 and shown.blobs
    forgotten = plugin.call("forget_memories", user_id="ana")
    assert forgotten.results["deleted_count"] == 1


def test_an_extraction_and_what_it_leaves(plugin: Checking, dify: StandInDify) -> None:
    dify.history.converse("ana", range_before(date.today(), 1)[0] + NOON_S, ("I like green tea.", "Noted."))
    key = dify.control.settings.accepted_key
    asked = {"user_ids": "ana,ben", "app_id": "app", "dify_base_url": dify.base_url, "dify_api_key": key}
    task_id = plugin.call("extract_long_term_memory", **asked).envelope["task_id"]
    while (state := plugin.call("check_extraction_status", task_id=task_id).envelope)["task_status"] != "completed":
        assert state["task_status"] in ("queued", "running")
        time.sleep(0.05)
    assert len(state["final_report"]["per_user"]) == 2
    assert plugin.call("get_user_checkpoint", user_id="ana").status == "SUCCESS"
    assert plugin.call("get_user_checkpoint", user_id="nobody").status == "NOT_FOUND"


@pytest.mark.parametrize("tool", SCHEMAS)
def test_a_call_that_fails(plugin: Checking, tool: str) -> None:
    assert plugin.call(tool).status == "ERROR"


def test_a_model_that_refuses(synchronous: Checking, stand_in_model: StandInModel) -> None:
    stand_in_model.control.set(unauthorised=True)
    assert synchronous.call("add_memory", user_id="ana", user="I like tea.").status == "ERROR"
    assert synchronous.call("search_memory", user_id="ana", query="tea").status == "ERROR"
