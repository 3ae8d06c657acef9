"""What two credential sets share: the client, the open store, the scope of the memories, the state."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.unit.config.forms import LLM, POSTGRES, credentials, embedder, read, store
from utils.config.identity import credentials_identity
from utils.config.settings import Settings


def test_every_value_of_the_form_makes_another_set() -> None:
    form = credentials(language="ja_JP")
    assert credentials_identity(form) == credentials_identity(dict(reversed(form.items())))
    assert read(language="ja_JP").identity.credentials == credentials_identity(form)
    assert credentials_identity(form) != credentials_identity(credentials(language="pt_BR"))
    assert credentials_identity({"a": "b", "c": "d"}) != credentials_identity({"a": "b', 'c': 'd"})


def test_the_client_is_stable_and_independent_of_how_it_was_pasted() -> None:
    first = read()
    fenced = {name: f"```json\n{value}\n```" for name, value in credentials().items()}
    assert (
        first.identity.client
        == Settings.from_credentials(fenced).identity.client
        == read(log_level="DEBUG").identity.client
    )
    assert len(first.identity.client) == 64
    assert int(first.identity.client, 16)


@pytest.mark.parametrize(
    "changed",
    [
        {"llm": json.dumps(LLM | {"config": LLM["config"] | {"api_key": "sk-new"}})},  # type: ignore[operator]
        {"llm": json.dumps(LLM | {"config": LLM["config"] | {"timeout": 21}})},  # type: ignore[operator]
        {"embedder": embedder(model="large")},
        {"vector_store": store("pgvector", **POSTGRES | {"password": "new"})},
        {"reranker": json.dumps({"provider": "llm_reranker", "config": {"model": "m", "api_key": "k"}})},
        {"state_db_url": "/data/state.db"},
    ],
)
def test_whatever_decides_which_services_are_used_changes_the_client(changed: dict[str, Any]) -> None:
    assert read(**changed).identity.client != read().identity.client


ELSEWHERE = "/data/state.db"
PLACES = {
    "pgvector": [
        store("pgvector", **POSTGRES),
        store("pgvector", **POSTGRES | {"password": "new", "user": "bob", "maxconn": 3, "sslmode": "require"}),
        store("pgvector", connection_string="postgresql://carol:x@DB.example:5432/memories"),
    ],
    "pgvector, another database": [store("pgvector", **POSTGRES | {"dbname": "other"})],
    "pgvector, another collection": [store("pgvector", **POSTGRES, collection_name="other")],
    "pgvector, another port": [store("pgvector", **POSTGRES, port=5433)],
    "pgvector, a pooler's customer": [store("pgvector", **POSTGRES | {"user": "postgres.one"})],
    "pgvector, a pooler's other customer": [store("pgvector", **POSTGRES | {"user": "postgres.two"})],
    "qdrant on a server": [
        store("qdrant", url="http://q:6333", api_key="a"),
        store("qdrant", url="http://Q:6333/", api_key="b", on_disk=True, embedding_model_dims=5),
    ],
    "qdrant on another server": [store("qdrant", url="http://r:6333", api_key="a")],
    "qdrant, another collection": [store("qdrant", url="http://q:6333", api_key="a", collection_name="other")],
    "qdrant in a folder": [store("qdrant", path="/q"), store("qdrant", path="/q", on_disk=True)],
    "qdrant by host": [store("qdrant", host="q", port=6333), store("qdrant", host="q", port=6333, api_key="x")],
    "faiss": [store("faiss", path="/f"), store("faiss", path="/f", normalize_L2=True)],
    "milvus": [
        store("milvus", url="http://user:one@m:19530", token="a"),
        store("milvus", url="http://user:two@m:19530", token="b"),
    ],
}


def test_the_address_tells_stores_apart_and_nothing_else() -> None:
    seen = {
        name: {read(vector_store=each, state_db_url=ELSEWHERE).identity.address for each in same}
        for name, same in PLACES.items()
    }
    assert {name: len(identities) for name, identities in seen.items()} == dict.fromkeys(PLACES, 1)
    assert len(set().union(*seen.values())) == len(PLACES)


def test_other_models_leave_the_address_alone() -> None:
    assert read(embedder=embedder(model="large")).identity.address == read().identity.address


# --- the state beside the vectors

RENAMED = [
    store("pgvector", **POSTGRES),
    store("pgvector", **POSTGRES | {"host": "db-2.example", "port": 6432, "user": "bob", "password": "new"}),
    store("pgvector", **POSTGRES | {"dbname": "renamed"}),
    store("pgvector", **POSTGRES | {"user": "postgres.tenant"}),
    store("pgvector", **POSTGRES, options="-c search_path=public"),
]


def test_a_renamed_database_has_another_address_and_is_beside_its_state_still() -> None:
    assert all(read(vector_store=each).identity.beside_state for each in RENAMED)
    assert len({read(vector_store=each).identity.address for each in RENAMED}) == 4


@pytest.mark.parametrize(
    "url", ["postgresql://carol:x@DB.example:5432/memories", "host=db.example dbname=memories user=carol", ""]
)
def test_a_state_database_may_be_named_that_is_the_vectors_own(url: str) -> None:
    assert read(state_db_url=url).identity.beside_state


@pytest.mark.parametrize("url", [ELSEWHERE, "postgresql://u:x@db.example/other", "postgresql://u:x@other/memories"])
def test_the_state_in_another_database_is_not_beside_the_vectors(url: str) -> None:
    assert not read(state_db_url=url).identity.beside_state


def test_what_version_1_of_the_state_store_has_written_is_still_known() -> None:
    """Computed by the first release: a migration finds its rows by them."""
    assert read().identity.client == "39cde54cd18d957146be904c34fec672158a5186e4477641ce6382cbbaf981d8"
    assert read().identity.address == "944a2d64ab6fe4361a29809df058f486f8c53f5aeebb5c40a6d7e29137a40280"
    pooled = read(vector_store=store("pgvector", **POSTGRES | {"user": "postgres.one"}))
    assert pooled.identity.address == "6836e02ad05d90344f40d7433ce125545c4d8508714e405f8e0215183e77effd"
    qdrant = read(vector_store=store("qdrant", url="http://q:6333", api_key="a"))
    assert qdrant.identity.address == "0d9cc4e3dccd877fdc065205e289cc3bd6207de093f01e9e9039ff6c82116726"
