"""Nothing of another user ever comes back, and no text ever becomes Cypher."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from dataclasses import fields

import pytest

from tests.integration.graph.changes import edge, make, setting, triples, vector_of
from utils.graph import statements
from utils.graph import store as store_module
from utils.graph.relations import relation
from utils.graph.store import GraphStore
from utils.stores.protocol import Owner

ALICE, BOB = Owner("alice"), Owner("bob")
NAMES = [f"name {number}" for number in range(40)]
HOSTILE = (
    "}) DETACH DELETE n //",
    "'}) MATCH (n) DETACH DELETE n //",
    '"]->() WITH 1 AS x MATCH (n) DELETE n //',
    "`KNOWS`]->() DETACH DELETE `",
    "KNOWS {owner: 'somebody else'}",
    "$owner",
    "\\u0027 OR 1=1 --",
    "a\0b",
    "x" * 10_000,
    "\N{FACE WITH TEARS OF JOY}\N{ZERO WIDTH JOINER}\N{FAMILY}",
    "*",
    "null",
)


def every_statement() -> dict[str, str]:
    """By name: all Cypher there is but that which makes constraints and indexes."""
    texts = {name: text for name, text in vars(statements).items() if name.isupper() and isinstance(text, str)}
    for provider, dialect in statements.DIALECTS.items():
        for name in ("search", "index_search", "merge_entities"):
            texts[f"{provider}.{name}"] = getattr(dialect, name)
    return {name: text for name, text in texts.items() if not name.startswith("_")}


@pytest.mark.parametrize("name", every_statement())
def test_the_statement_is_bounded_by_the_owner(name: str) -> None:
    """Each node and each edge that a statement names is compared with the owner, or its id is made of the owner's."""
    statement = every_statement()[name]
    variables = set(re.findall(r"\((\w+):Mem0Entity", statement)) | set(re.findall(r"\[(\w+):MEM0", statement))
    unbounded = {each for each in variables if not _is_bounded(each, statement)}
    assert unbounded == set() and "$owner" in statement


def _is_bounded(variable: str, statement: str) -> bool:
    own = rf"{variable}(:\w+)? ?\{{owner: \$owner\}}|{variable}\.owner = \$owner"
    by_its_edge = re.search(rf"\({variable}:Mem0Entity\)-\[r|->\({variable}:Mem0Entity\)", statement)
    return bool(re.search(own, statement)) or bool(by_its_edge and "r.owner = $owner" in statement)


def test_every_statement_is_looked_at() -> None:
    """A statement that is sent has a name here; a new field of the dialects that holds one must be looked at, too."""
    assert {field.name for field in fields(statements.Dialect)} == {
        *("needed", "probe", "schema", "schema_repeats", "cosine", "set_embedding", "vector_index")
    }
    source = "\n".join(text for text in every_statement().values())
    assert not re.search(r"['\"]\s*\+|%s|\{\}", source)
    assert len(every_statement()) >= 12


@pytest.mark.parametrize("name", HOSTILE, ids=lambda name: ascii(name[:12]))
async def test_a_hostile_name_is_text_or_refused(graph_store: GraphStore, name: str) -> None:
    """As entity, as relation, as memory id, as user: it comes back as it went in, and nothing else is touched."""
    await make(graph_store, BOB, setting([edge("m", ("bob", "has", "a boat"))]))
    owner, triple = Owner(name), (name, name, f"{name} too")
    memory_id = name[:512]  # no tool takes a longer id
    await make(graph_store, owner, setting([edge(memory_id, triple)]))
    assert await triples(graph_store, owner) == {(memory_id, triple)}
    assert [found.source for found in await graph_store.search(owner, vector_of(name), 5)] == [name]
    await make(graph_store, owner, setting([], gone=[memory_id]))
    assert await graph_store.counts(owner) == (0, 0)
    assert await triples(graph_store, BOB) == {("m", ("bob", "has", "a boat"))}
    # What a model says is cleaned before it comes here.
    cleaned = relation(name, name, name)
    assert cleaned is None if len(name) > 200 else cleaned == (name.replace("\0", ""),) * 3


@pytest.mark.parametrize(
    "searches", [60, pytest.param(10_000, marks=pytest.mark.long)], ids=lambda count: f"{count} searches"
)
@pytest.mark.parametrize("is_large", [False, True], ids=["exact", "vector-index"])
async def test_two_users_with_the_same_names(
    graph_store: GraphStore,
    new_graph_store: Callable[..., GraphStore],
    monkeypatch: pytest.MonkeyPatch,
    searches: int,
    is_large: bool,
) -> None:
    """Same names, same vectors, same memory ids even; two users of one store, and one user of two stores."""
    monkeypatch.setattr(store_module, "_EXACT_ENTITIES", 10 if is_large else 10_000)
    elsewhere = new_graph_store(scope="another-vector-store")
    owners = [
        (graph_store, ALICE, "alice says"),
        (graph_store, BOB, "bob says"),
        (elsewhere, ALICE, "alice says elsewhere"),
        (graph_store, Owner("alice\0"), "not alice says"),
    ]
    rng = random.Random(17)
    for store, owner, said in owners:
        pairs = [(rng.choice(NAMES), rng.choice(NAMES)) for _ in range(120)]
        await make(store, owner, setting([edge(f"m{i}", (a, said, b), "app") for i, (a, b) in enumerate(pairs)]))
    for _ in range(searches):
        store, owner, said = rng.choice(owners)
        query = [value + rng.gauss(0, 0.2) for value in vector_of(rng.choice(NAMES))]
        found = await store.search(Owner(owner.user_id, rng.choice([None, "app"])), query, 10)
        assert found and {one.relation for one in found} == {said}
        assert await store.search(Owner(owner.user_id, "another app"), query, 10) == []
    for store, owner, _ in owners:
        await store.remove_before(owner, 99, "")


async def test_a_row_of_another_owner_is_left_out_whatever_the_statement_let_through(
    graph_store: GraphStore, new_graph_store: Callable[..., GraphStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second wall: rows are compared with the owner when they are here."""
    await make(graph_store, ALICE, setting([edge("m", ("alice", "has", "a cat"))]))
    ours = "{owner: $owner}"
    holed = statements.Dialect.search.fget(statements.DIALECTS["neo4j"])  # type: ignore[attr-defined]
    holed = holed.replace(ours, "").replace("r.owner = $owner", "true")
    assert "owner: $owner" not in holed and "owner = $owner" not in holed
    monkeypatch.setattr(statements.Dialect, "search", property(lambda _: holed))
    stranger = new_graph_store(scope="another-scope")
    assert await stranger.search(ALICE, vector_of("alice"), 10_000) == []
    assert [one.relation for one in await graph_store.search(ALICE, vector_of("alice"), 10_000)] == ["has"]
