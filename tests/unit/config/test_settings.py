"""The provider form as a whole: defaults, older names, and that nothing leaks or falls over."""

from __future__ import annotations

import json
from typing import Any

import pydantic
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.unit.config.forms import POSTGRES, credentials, embedder, read, refusal, store
from utils import messages
from utils.config import dsn, pgvector
from utils.config.settings import Settings
from utils.errors import CredentialError
from utils.mem0 import building, registry
from utils.mem0.registry import FORM_NAMES, Kind


def test_the_defaults() -> None:
    seen = read()
    assert (seen.llm.provider, seen.llm.timeout_s, seen.embedder.timeout_s) == ("openai", 20.0, None)
    assert (seen.graph, seen.reranker, seen.memory_ttl_days, seen.state_db_url) == (None, None, None, None)
    assert (seen.async_mode, seen.max_concurrent_memory_operations, seen.heartbeat_interval_s) == (True, 20, 120)
    assert (seen.log_level, seen.checkpoint_ttl_days, seen.language, seen.warnings) == ("INFO", 90, "en_US", ())
    assert seen.pgvector is not None
    assert seen.pgvector.collection_name == "mem0"
    assert dsn.address(dsn.parameters_of(seen.pgvector.conninfo)) == ("db.example", "5432", "memories")


def test_what_the_form_says_is_used() -> None:
    seen = read(
        async_mode=False,
        max_concurrent_memory_operations="7",
        heartbeat_interval=" 45 ",
        log_level="debug",
        memory_ttl_days="365",
        checkpoint_ttl_days="30",
        language="ja_JP",
        graph="",
        reranker=json.dumps({"provider": "llm_reranker", "config": {"model": "m", "api_key": "k"}}),
    )
    assert (seen.async_mode, seen.max_concurrent_memory_operations, seen.heartbeat_interval_s) == (False, 7, 45)
    assert (seen.log_level, seen.memory_ttl_days, seen.checkpoint_ttl_days, seen.language) == (
        "DEBUG",
        365,
        30,
        "ja_JP",
    )
    assert seen.reranker is not None
    assert seen.reranker.provider == "llm_reranker"
    assert seen.warnings == ()


@pytest.mark.parametrize(
    ("given_value", "mode"),
    [
        (True, True),
        (False, False),
        ("true", True),
        ("False", False),
        (" NO ", False),
        ("on", True),
        (0, False),
        (1, True),
    ],
)
def test_the_ways_of_saying_async(given_value: object, mode: bool) -> None:
    assert read(async_mode=given_value).async_mode is mode


@pytest.mark.parametrize("value", ["many", "0", "-3", "2.5", 2.5, True, [], {}, "1e3", "９", "10001", None, "  "])
def test_a_concurrency_that_is_no_positive_integer_is_the_default_with_a_warning(value: object) -> None:
    seen = read(max_concurrent_memory_operations=value)
    assert seen.max_concurrent_memory_operations == 20
    if value is None or value == "  ":
        assert seen.warnings == ()
    else:
        (warning,) = seen.warnings
        assert warning.startswith("max_concurrent_memory_operations must be a whole number from 1 to 10000;")
        assert warning.endswith("The default 20 is used.")


@pytest.mark.parametrize(
    ("name", "value", "default"),
    [
        ("heartbeat_interval", "29", 120),
        ("heartbeat_interval", "soon", 120),
        ("log_level", "LOUD", "INFO"),
        ("log_level", 5, "INFO"),
        ("language", "fr_FR", "en_US"),
        ("async_mode", "perhaps", True),
    ],
)
def test_tuning_falls_back_with_a_warning(name: str, value: object, default: object) -> None:
    seen = read(**{name: value})
    attribute = "heartbeat_interval_s" if name == "heartbeat_interval" else name
    assert getattr(seen, attribute) == default
    (warning,) = seen.warnings
    assert warning.startswith(name)
    assert warning.endswith(f"The default {default} is used.")


@pytest.mark.parametrize("name", ["memory_ttl_days", "checkpoint_ttl_days"])
@pytest.mark.parametrize("value", ["0", "-1", "soon", "1.5", True, [], "99999999"])
def test_an_age_that_decides_what_is_deleted_is_exact(name: str, value: object) -> None:
    assert refusal(**{name: value}).startswith(f"{name} must be a whole number from 1 to 36500;")


def test_older_names_are_read_when_the_new_ones_are_empty() -> None:
    form = {name.removesuffix("_secret"): value for name, value in credentials().items()}
    assert Settings.from_credentials(form).identity.client == read().identity.client
    empty = dict.fromkeys(credentials(), " ")
    assert Settings.from_credentials({**form, **empty}).identity.client == read().identity.client
    assert Settings.from_credentials(credentials() | {"local_llm_json": "{"}).identity.client == read().identity.client
    with pytest.raises(CredentialError, match=r"^local_llm_json is not valid JSON"):
        Settings.from_credentials({**form, "local_llm_json": "{"})


@pytest.mark.parametrize("kind", ["llm", "embedder", "vector_store"])
def test_the_three_required_blocks_are_required(kind: str) -> None:
    assert refusal(**{kind: ""}).startswith(f"{FORM_NAMES[kind]} is empty.")  # type: ignore[index]


def test_dimensions_come_from_the_embedder_then_from_the_store() -> None:
    assert read().embedding_dims is None
    assert read(embedder=embedder(embedding_dims=256)).embedding_dims == 256
    assert read(vector_store=store("pgvector", **POSTGRES, embedding_model_dims=512)).embedding_dims == 512
    assert read(vector_store=store("qdrant", path="/q", embedding_model_dims="512")).embedding_dims == 512
    both = read(
        embedder=embedder(embedding_dims="512"), vector_store=store("qdrant", path="/q", embedding_model_dims=512)
    )
    assert both.embedding_dims == 512


@pytest.mark.parametrize(("provider", "config"), [("pgvector", POSTGRES), ("qdrant", {"path": "/q"})])
def test_dimensions_that_differ_are_told_with_both_numbers(provider: str, config: dict[str, Any]) -> None:
    said = refusal(
        embedder=embedder(embedding_dims=256), vector_store=store(provider, **config, embedding_model_dims=768)
    )
    assert said.startswith("local_embedder_json_secret: config.embedding_dims is 256, but ")
    assert "local_vector_db_json_secret: config.embedding_model_dims is 768" in said


def test_a_store_that_would_land_in_tmp_is_warned_of() -> None:
    for provider in ("qdrant", "faiss"):
        (warning,) = read(vector_store=store(provider)).warnings
        assert provider in warning
        assert "/tmp" in warning  # noqa: S108
    assert read(vector_store=store("qdrant", path="/data/q")).warnings == ()
    assert read(vector_store=store("qdrant", url="http://q:6333")).warnings == ()


def test_settings_are_frozen() -> None:
    with pytest.raises(pydantic.ValidationError):
        read().log_level = "DEBUG"


# --- nothing leaks, nothing else is raised

SECRET = "canary5EcReTcanary"
OTHERS = [
    "async_mode", "max_concurrent_memory_operations", "heartbeat_interval", "log_level", "memory_ttl_days",
    "checkpoint_ttl_days", "state_db_url", "language",
]  # fmt: skip
OPENAI = {"model": "m", "api_key": "k"}
GOOD: list[tuple[Kind, str, dict[str, Any], frozenset[str]]] = [
    ("llm", "openai", OPENAI, registry.llm_keys("openai") | {"timeout"}),
    ("llm", "vllm", {"model": "m"}, registry.llm_keys("vllm")),
    ("embedder", "openai", OPENAI, registry.embedder_keys() | {"timeout"}),
    (
        "vector_store",
        "pgvector",
        POSTGRES,
        building.vector_store_keys("pgvector") | pgvector._POOL_KEYS | {"options"},
    ),
    ("vector_store", "pgvector", {"connection_string": "host=h user=u"}, frozenset({"connection_string", "sslmode"})),
    ("vector_store", "pgvector", {"connection_pool": POSTGRES}, frozenset({"connection_pool"})),
    ("vector_store", "qdrant", {"path": "/q"}, building.vector_store_keys("qdrant")),
    ("reranker", "llm_reranker", OPENAI, registry.reranker_keys("llm_reranker") | {"timeout"}),
    ("reranker", "llm_reranker", {"llm": {"provider": "openai", "config": OPENAI}}, frozenset({"llm", "provider"})),
]
secrets = st.sampled_from(
    [SECRET, f"postgresql://u:{SECRET}@h/d", f"postgresql://u:x/{SECRET}@h/d", f"user={SECRET} host='", f"\0{SECRET}"]
) | st.text(max_size=6).map(lambda rest: SECRET + rest)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | secrets
names = st.sampled_from(["provider", "config", *sorted(set().union(*(known for *_, known in GOOD)))])
anything = st.recursive(
    scalars | st.sampled_from([provider for _, provider, _, _ in GOOD]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=4),
    max_leaves=8,
)


@st.composite
def spoilt_forms(draw: st.DrawFn) -> dict[str, Any]:
    """A form that is right but for one block, in which a few known keys hold anything at all.

    But for the collection's name, which is said wherever the collection is meant.
    """
    kind, provider, config, known = draw(st.sampled_from(GOOD))
    keys = st.sampled_from(sorted(known - {"collection_name"}))
    changes = draw(st.dictionaries(keys, anything, min_size=1, max_size=2))
    block = {"provider": provider, "config": config | changes}
    return credentials(**{kind: draw(st.sampled_from([block, json.dumps(block)]))})


def without_secrets(form: dict[str, Any]) -> None:
    """Reading the form shows none of its secrets, whether it works or not."""
    try:
        seen = Settings.from_credentials(form)
    except CredentialError as exc:
        shown = [exc.sentence(language) for language in messages.LANGUAGES] + [repr(exc), repr(exc.__cause__)]
    else:
        shown = [repr(seen), *seen.warnings]
    assert not any(SECRET in text for text in shown)


@settings(deadline=None, max_examples=400)
@given(spoilt_forms())
@example(credentials(reranker={"provider": "llm_reranker", "config": OPENAI | {"provider": SECRET}}))
def test_a_spoilt_block_is_read_or_refused_without_showing_a_secret(form: dict[str, Any]) -> None:
    without_secrets(form)


@pytest.mark.long
@settings(deadline=None, max_examples=20_000)
@given(spoilt_forms())
def test_a_spoilt_block_is_read_or_refused_without_showing_a_secret_long(form: dict[str, Any]) -> None:
    without_secrets(form)


@settings(deadline=None, max_examples=200)
@given(st.dictionaries(st.sampled_from([*FORM_NAMES.values(), *OTHERS]), anything), st.booleans())
def test_any_form_is_read_or_refused_without_showing_a_secret(form: dict[str, Any], complete: bool) -> None:
    without_secrets(credentials() | form if complete else form)


def test_no_secret_in_the_representation() -> None:
    seen = read(
        vector_store=store("pgvector", **POSTGRES | {"password": SECRET}), state_db_url=f"postgresql://u:{SECRET}@h/d"
    )
    assert SECRET not in repr(seen)
    assert SECRET not in str(seen)
