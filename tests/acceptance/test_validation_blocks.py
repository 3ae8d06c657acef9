"""Mistakes in what is pasted: what is read all the same, and what saving the credentials says, in four languages."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from playground.credentials import Endpoint, block, credential_set, qdrant_block
from playground.dify_host import PluginProcess
from tests.acceptance.refusals import EMBEDDER, LLM, RERANKER, STORE


def single_quotes(pasted: str) -> str:
    return pasted.replace('"', "'")


def python_literal(pasted: str) -> str:
    return repr({**json.loads(pasted), "config": {**json.loads(pasted)["config"], "temperature": None}})


def code_fence(pasted: str) -> str:
    return f"```json\n{pasted}\n```\n"


@pytest.mark.parametrize("written", [single_quotes, python_literal, code_fence])
def test_what_can_be_meant_in_one_way_only_is_read(
    process: PluginProcess, pgvector_credentials: dict[str, Any], written: Callable[[str], str]
) -> None:
    assert process.validate({**pgvector_credentials, LLM: written(pgvector_credentials[LLM])}).error is None


def trailing_comma(pasted: str) -> str:
    return pasted.replace("}}", ",\n}}")


def typographic_quotes(pasted: str) -> str:
    return pasted.replace('"provider"', "\u201cprovider\u201d")


def missing_bracket(pasted: str) -> str:
    return pasted[:-1]


@pytest.mark.parametrize(
    ("written", "says"),
    [
        (trailing_comma, "there is a comma before a closing bracket. Remove this comma."),
        (typographic_quotes, "is not valid JSON: at line 1, column 2 there is a typographic quote"),
        (missing_bracket, "Check the quotes, commas and brackets there."),
    ],
)
def test_what_is_no_json_is_told_with_its_place(
    refusal: Callable[..., str], pgvector_credentials: dict[str, Any], written: Callable[[str], str], says: str
) -> None:
    said = refusal({**pgvector_credentials, EMBEDDER: written(pgvector_credentials[EMBEDDER])})
    assert said.startswith(f"{EMBEDDER} is not valid JSON") and "line 1, column " in said and says in said


def test_a_model_in_the_box_of_the_vector_store(
    refusal: Callable[..., str], pgvector_credentials: dict[str, Any]
) -> None:
    said = refusal({**pgvector_credentials, STORE: pgvector_credentials[LLM]})
    assert said.startswith(f"{STORE}: the provider openai belongs in {LLM}, {EMBEDDER}. Accepted here: ")


def test_a_key_that_is_missing(refusal: Callable[..., str], pgvector_credentials: dict[str, Any]) -> None:
    said = refusal({**pgvector_credentials, LLM: block("openai", model="m")})
    assert said == f"{LLM}: config.api_key is missing; the provider openai needs it."


def test_a_deployment_that_is_not_named(refusal: Callable[..., str], pgvector_credentials: dict[str, Any]) -> None:
    azure = {"api_key": "canary", "azure_endpoint": "https://x.openai.azure.com", "api_version": "2024-10-21"}
    said = refusal({**pgvector_credentials, LLM: block("azure_openai", azure_kwargs=azure)})
    assert said.startswith(f"{LLM}: config.azure_kwargs.azure_deployment is missing; the provider azure_openai needs")


def test_a_package_that_is_missing(refusal: Callable[..., str], pgvector_credentials: dict[str, Any]) -> None:
    said = refusal({**pgvector_credentials, RERANKER: block("sentence_transformer")})
    assert said.startswith(f"{RERANKER}: the provider sentence_transformer needs the Python package sentence-")


def test_an_ipv6_address_without_brackets(refusal: Callable[..., str], pgvector_credentials: dict[str, Any]) -> None:
    llm = block("openai", model="m", api_key="canary", openai_base_url="http://::1:8000/v1")
    said = refusal({**pgvector_credentials, LLM: llm})
    assert said.startswith(f"{LLM}: config.openai_base_url holds an IPv6 address without brackets")


@pytest.mark.parametrize("provider", ["qdrant", "faiss", "chroma"])
def test_a_folder_that_nobody_may_write(refusal: Callable[..., str], endpoint: Endpoint, provider: str) -> None:
    said = refusal(credential_set(endpoint, block(provider, path="/dev/null/memories")))
    assert said.startswith(f"{STORE}: the plugin's user may not make or write the folder /dev/null/memories.")


def test_a_folder_that_is_not_there_yet_is_made(process: PluginProcess, endpoint: Endpoint, tmp_path: Path) -> None:
    folder = tmp_path / "not" / "there" / "yet"
    assert process.validate(credential_set(endpoint, qdrant_block(folder))).error is None
    assert folder.is_dir()
