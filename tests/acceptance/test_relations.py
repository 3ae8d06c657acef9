"""Relations as a workflow sees them: with a Neo4j in the credentials, out of the add's one request to the model."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from playground.credentials import pgvector_block
from playground.dify_app import History, StandInDify
from playground.dify_host import PluginProcess
from playground.neo4j_server import Graph
from playground.postgres import Database
from playground.stand_in_model import StandInModel
from tests.acceptance.test_extraction import NOON_S, ended, start, yesterday
from tests.graph_ledger import GraphLedger, relations, triples, with_graph
from tests.plugin import Plugin

CITIES = ("Lisbon", "Oslo", "Kyoto", "Natal", "Bergen", "Quito", "Dakar", "Hanoi", "Porto", "Cairo")
PEOPLE = ("Ada", "Bruno", "Chiyo", "Davi")


@pytest.fixture
def plugin(module_process: PluginProcess, collection_credentials: dict[str, Any], neo4j_graph: Graph) -> Plugin:
    """In synchronous mode: a write has been carried out when it answers."""
    return Plugin(module_process, {**with_graph(collection_credentials, neo4j_graph), "async_mode": False})


@pytest.fixture
def graph(neo4j_graph: Graph) -> Iterator[GraphLedger]:
    with GraphLedger(neo4j_graph) as ledger:
        yield ledger


@pytest.fixture
def user_id() -> str:
    """Of the test alone: all tests share the graph."""
    return f"user-{uuid.uuid4().hex[:8]}"


def fact(text: str, *related: tuple[str, str, str], event: str = "ADD", **more: str) -> dict[str, Any]:
    """A model's answer with one fact and what it connects."""
    said = [{"source": one[0], "relation": one[1], "destination": one[2], "memory": 0} for one in related]
    return {"memory": [{"event": event, "text": text, **more}], "relations": said}


def add(plugin: Plugin, model: StandInModel, user_id: str, answer: dict[str, Any], **more: Any) -> str:
    """Add a message of which the model makes ``answer``; the memory's id."""
    model.control.script(answer)
    added = plugin.call("add_memory", user_id=user_id, user=answer["memory"][0]["text"], **more)
    assert added.status == "SUCCESS", added.envelope
    return str(added.results[0]["id"])


def test_an_add_asks_once_and_a_search_finds_its_relations(
    plugin: Plugin, graph: GraphLedger, stand_in_model: StandInModel, user_id: str
) -> None:
    memory_id = add(plugin, stand_in_model, user_id, fact("Ada moved to Lisbon", ("Ada", "lives in", "Lisbon")))
    graph.wait_for(user_id, ("Ada", "lives in", "Lisbon"))
    [found] = relations(plugin, user_id, "Who lives in Lisbon?")
    assert found == {
        "source": "Ada",
        "relation": "lives in",
        "destination": "Lisbon",
        "memory_id": memory_id,
        "memory": "Ada moved to Lisbon",
    }
    assert "Ada \u2013 lives in \u2013 Lisbon" in plugin.call("search_memory", user_id=user_id, query="Lisbon").text
    assert stand_in_model.control.counts["chat"] == 1
    # The text of a memory that is not among the results is not told.
    add(plugin, stand_in_model, user_id, fact("Oslo is cold", ("Oslo", "is", "cold")))
    told = {one["source"]: one["memory"] for one in relations(plugin, user_id, "Oslo is cold", top_k=1)}
    assert told == {"Oslo": "Oslo is cold", "Ada": None}


def test_an_add_that_is_waited_for_answers_its_relations(
    plugin: Plugin, stand_in_model: StandInModel, user_id: str
) -> None:
    for _ in range(20):  # the graph is waited for for five seconds, which a busy machine may need for other things
        stand_in_model.control.script(fact("Ada likes tea", ("Ada", "likes", "tea")))
        added = plugin.call("add_memory", user_id=user_id, user="Ada likes tea.")
        told = added.envelope["relations"]
        if told:
            break
        assert "The graph store has not taken the relations yet" in added.text
        assert plugin.call("delete_all_memories", user_id=user_id).status == "SUCCESS"
    assert triples(told) == [("Ada", "likes", "tea")]
    assert told[0]["memory_id"] == added.results[0]["id"] and told[0]["memory"] == "Ada likes tea"
    assert "Ada \u2013 likes \u2013 tea" in added.text
    accepted = plugin.with_credentials(async_mode=True).call("add_memory", user_id=user_id, user="hello")
    assert accepted.envelope["relations"] == []
    plugin.drain(user_id)


def test_planted_relations_are_found_and_those_of_another_user_never(
    plugin: Plugin, graph: GraphLedger, stand_in_model: StandInModel, user_id: str
) -> None:
    other_id = f"{user_id}-other"
    planted = [(who, f"knows somebody in {city}", city) for who in PEOPLE for city in CITIES]
    stand_in_model.control.script(*(fact(" ".join(one), one) for one in planted))
    asynchronous = plugin.with_credentials(async_mode=True)
    for who, said, city in planted:
        asynchronous.accept(user_id, f"{who} {said} {city}")
    asynchronous.drain(user_id)
    theirs = [(who, "was never in", city) for who in PEOPLE for city in CITIES]
    answers = [fact(" ".join(one), one) for one in theirs]
    stand_in_model.control.script(*answers)
    for answer in answers:
        asynchronous.accept(other_id, answer["memory"][0]["text"])
    asynchronous.drain(other_id)
    assert stand_in_model.control.counts["chat"] == len(planted) + len(theirs)  # 1.00 an add
    graph.wait_for(user_id, *planted)
    graph.wait_for(other_id, *theirs)
    found = [(one, triples(relations(plugin, user_id, " ".join(one)))) for one in planted]
    assert sum(one in seen for one, seen in found) >= 0.95 * len(planted)
    assert {one for _, seen in found for one in seen} <= set(planted)
    assert all(len(seen) <= 10 for _, seen in found)


def test_two_databases_may_share_a_graph(
    plugin: Plugin, graph: GraphLedger, stand_in_model: StandInModel, database: Database, user_id: str
) -> None:
    """A user of the one is not the user of that id in the other, although their collections have one name."""
    block = json.loads(plugin.credentials["local_vector_db_json_secret"])["config"]["collection_name"]
    other = plugin.with_credentials(local_vector_db_json_secret=pgvector_block(database, collection_name=block))
    add(plugin, stand_in_model, user_id, fact("Ada likes tea", ("Ada", "likes", "tea")))
    add(other, stand_in_model, user_id, fact("Ada likes coffee", ("Ada", "likes", "coffee")))
    graph.wait_for(user_id, ("Ada", "likes", "tea"), ("Ada", "likes", "coffee"))
    assert triples(relations(plugin, user_id, "Ada")) == [("Ada", "likes", "tea")]
    assert triples(relations(other, user_id, "Ada")) == [("Ada", "likes", "coffee")]
    assert plugin.call("delete_all_memories", user_id=user_id).status == "SUCCESS"
    graph.wait_for(user_id, ("Ada", "likes", "coffee"))


def test_spellings_merge_and_agents_do_not(
    plugin: Plugin, graph: GraphLedger, stand_in_model: StandInModel, user_id: str
) -> None:
    add(plugin, stand_in_model, user_id, fact("Ada likes tea", ("ADA ", "likes", "tea")), agent_id="a")
    add(plugin, stand_in_model, user_id, fact("Ada has a cat", ("Ada.", "has", "a cat")), agent_id="a")
    add(plugin, stand_in_model, user_id, fact("Ada is tall", ("Ada", "is", "tall")), agent_id="b")
    graph.wait_for(user_id, ("Ada.", "likes", "tea"), ("Ada.", "has", "a cat"), ("Ada", "is", "tall"))
    assert graph.entities(user_id) == ["Ada", "Ada.", "a cat", "tall", "tea"]
    assert sorted(triples(relations(plugin, user_id, "Ada", agent_id="a"))) == [
        ("Ada.", "has", "a cat"),
        ("Ada.", "likes", "tea"),
    ]
    assert triples(relations(plugin, user_id, "Ada", agent_id="b")) == [("Ada", "is", "tall")]
    assert len(relations(plugin, user_id, "Ada")) == 3
    assert plugin.call("delete_all_memories", user_id=user_id, agent_id="a").status == "SUCCESS"
    graph.wait_for(user_id, ("Ada", "is", "tall"))
    assert graph.entities(user_id) == ["Ada", "tall"]


def test_edges_live_as_long_as_what_their_memory_says(
    plugin: Plugin, graph: GraphLedger, stand_in_model: StandInModel, user_id: str
) -> None:
    lisbon, oslo = ("user", "lives_in", "in Lisbon"), ("user", "lives_in", "in Oslo")
    tea = ("Ada", "drinks", "tea")
    assert plugin.call("add_memory", user_id=user_id, user="I live in Lisbon.").status == "SUCCESS"
    tea_id = add(plugin, stand_in_model, user_id, fact("Drinks tea with Ada", tea))
    graph.wait_for(user_id, lisbon, tea)
    [moved] = plugin.call("add_memory", user_id=user_id, user="I live in Oslo.").results
    assert moved["event"] == "UPDATE"
    graph.wait_for(user_id, oslo, tea)  # replaced, from the same answer
    assert plugin.call("update_memory", memory_id=moved["id"], text="Lives in Bergen").status == "SUCCESS"
    graph.wait_for(user_id, tea)  # there is no answer to take new ones from
    assert graph.entities(user_id) == ["Ada", "tea"]
    assert plugin.call("delete_memory", memory_id=tea_id).status == "SUCCESS"
    graph.wait_for(user_id)
    assert graph.entities(user_id) == []
    add(plugin, stand_in_model, user_id, fact("Drinks tea with Ada", tea))
    graph.wait_for(user_id, tea)
    assert plugin.call("delete_all_memories", user_id=user_id).status == "SUCCESS"
    graph.wait_for(user_id)
    assert graph.entities(user_id) == []


def test_what_is_no_relation_costs_nothing(
    plugin: Plugin, graph: GraphLedger, stand_in_model: StandInModel, user_id: str
) -> None:
    good = {"source": "Ada", "relation": "likes", "destination": "tea", "memory": 0}
    nonsense: list[Any] = [
        None, 7, "Ada likes tea", [good], {}, {**good, "memory": 1}, {**good, "memory": "x"}, {**good, "memory": True},
        {**good, "source": ""}, {**good, "source": "..."}, {**good, "relation": None}, {**good, "destination": 5},
        {**good, "source": "<who or what>"}, {**good, "destination": "whom or what"},
        {**good, "source": "a" * 10_000}, {**good, "destination": "key sk-abcdefghijklmnopqrstuvwx"},
    ]  # fmt: skip
    answer = {**fact("Ada likes tea"), "relations": [*nonsense, {**good, "memory": "0"}, good]}
    add(plugin, stand_in_model, user_id, answer)
    graph.wait_for(user_id, ("Ada", "likes", "tea"))
    hostile = ("}) DETACH DELETE n //", "`]->() SET n.owner = 'x' //", "\u0000🦊 said \"' \\")
    add(plugin, stand_in_model, user_id, fact("Ada has strange friends", hostile))
    graph.wait_for(user_id, ("Ada", "likes", "tea"), (hostile[0], hostile[1], "🦊 said \"' \\"))
    listed = {"memory": [{"event": "ADD", "text": "Ada is tall"}, good], "relations": "none"}
    add(plugin, stand_in_model, user_id, listed)
    assert plugin.texts(user_id) == ["Ada likes tea", "Ada has strange friends", "Ada is tall"]
    assert stand_in_model.control.counts["chat"] == 3


def test_what_is_stored_as_it_is_has_no_relations(plugin: Plugin, stand_in_model: StandInModel, user_id: str) -> None:
    added = plugin.call("add_memory", user_id=user_id, user="I live in Lisbon.", infer=False)
    assert added.envelope["relations"] == [] and "graph" not in added.text
    assert stand_in_model.control.counts["chat"] == 0


def test_without_a_graph_the_model_is_asked_for_none(
    plugin: Plugin, stand_in_model: StandInModel, user_id: str
) -> None:
    without = plugin.with_credentials(local_graph_db_json_secret="")
    assert without.call("add_memory", user_id=user_id, user="I live in Lisbon.").envelope["relations"] == []
    assert without.call("search_memory", user_id=user_id, query="Lisbon").envelope["relations"] == []
    assert "relations" not in json.dumps(list(stand_in_model.control.prompts))


def test_filters_bound_relations_too(
    plugin: Plugin, graph: GraphLedger, stand_in_model: StandInModel, user_id: str
) -> None:
    for topic, one in (("food", ("Ada", "likes", "tea")), ("home", ("Ada", "lives in", "Oslo"))):
        metadata = json.dumps({"topic": topic})
        add(plugin, stand_in_model, user_id, fact(" ".join(one), one), metadata=metadata)
    graph.wait_for(user_id, ("Ada", "likes", "tea"), ("Ada", "lives in", "Oslo"))
    found = relations(plugin, user_id, "Ada", filters='{"topic": "food"}')
    assert triples(found) == [("Ada", "likes", "tea")]


def test_what_others_deleted_or_changed_is_not_told_and_is_repaired(
    plugin: Plugin, graph: GraphLedger, stand_in_model: StandInModel, module_database: Database, user_id: str
) -> None:
    tea, oslo, cat = ("Ada", "likes", "tea"), ("Ada", "lives in", "Oslo"), ("Ada", "has", "a cat")
    ids = [add(plugin, stand_in_model, user_id, fact(" ".join(one), one)) for one in (tea, oslo, cat)]
    graph.wait_for(user_id, tea, oslo, cat)
    collection = json.loads(plugin.credentials["local_vector_db_json_secret"])["config"]["collection_name"]
    with psycopg.connect(module_database.uri) as connection:  # another program
        connection.execute(f"DELETE FROM {collection} WHERE id = %s", [ids[0]])
        renamed = 'UPDATE {} SET payload = payload || \'{{"data": "Ada moved"}}\' WHERE id = %s'
        connection.execute(renamed.format(collection), [ids[1]])
    assert triples(relations(plugin, user_id, "Ada")) == [cat]
    graph.wait_for(user_id, cat)
    with psycopg.connect(module_database.uri) as connection:
        connection.execute(f"DELETE FROM {collection} WHERE id = %s", [ids[2]])
    assert plugin.call("forget_memories", user_id=user_id).status == "SUCCESS"
    graph.wait_for(user_id)


def test_forgetting_takes_the_edges_along(
    plugin: Plugin, graph: GraphLedger, stand_in_model: StandInModel, module_database: Database, user_id: str
) -> None:
    tea, oslo = ("Ada", "likes", "tea"), ("Ada", "lives in", "Oslo")
    old_id, _ = [add(plugin, stand_in_model, user_id, fact(" ".join(one), one)) for one in (tea, oslo)]
    graph.wait_for(user_id, tea, oslo)
    collection = json.loads(plugin.credentials["local_vector_db_json_secret"])["config"]["collection_name"]
    aged = 'UPDATE {} SET payload = payload || \'{{"created_at": "2020-01-01T00:00:00"}}\' WHERE id = %s'
    with psycopg.connect(module_database.uri) as connection:
        connection.execute(aged.format(collection), [old_id])
    forgotten = plugin.call("forget_memories", user_id=user_id)
    assert forgotten.results["deleted_count"] == 1
    graph.wait_for(user_id, oslo)
    assert graph.entities(user_id) == ["Ada", "Oslo"]


def test_a_conversation_gives_relations_too(
    plugin: Plugin, graph: GraphLedger, stand_in_model: StandInModel, user_id: str
) -> None:
    with StandInDify(History()) as dify:
        dify.history.converse(user_id, yesterday() + NOON_S, ("I live in Porto.", "Nice!"))
        asynchronous = plugin.with_credentials(async_mode=True)
        state = ended(asynchronous, start(asynchronous, dify, json.dumps([user_id])))
    assert (state["task_status"], state["llm_calls"]) == ("completed", 1)
    graph.wait_for(user_id, ("user", "lives_in", "in Porto"))
