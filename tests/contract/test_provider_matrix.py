"""The tables of providers in CONFIG.md: made of the code, and each row true of what happens here."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from playground.dify_host import PluginProcess
from playground.provider_matrix import CONFIG, KINDS, Row, knowledge, rows, written
from tests.contract.build_provider import outcome
from tests.contract.stores.conftest import EMBEDDED
from tests.unit.models.scripted_endpoint import Reply, ScriptedEndpoint, chat, embeddings
from utils import messages
from utils.aio.blocking import ThreadPool, use_pool
from utils.config.blocks import read_block
from utils.config.settings import Settings
from utils.errors import CredentialError
from utils.mem0 import registry
from utils.mem0.packages import missing_package
from utils.mem0.registry import FORM_NAMES
from utils.models.models import Models
from utils.models.reranker import build_reranker

ROWS: Final = [pytest.param(row, id=f"{row.kind}-{row.name}") for kind in KINDS for row in rows(kind)]
REFUSED: Final = [param for param in ROWS if param.values[0].refusal]
USABLE: Final = [param for param in ROWS if not param.values[0].refusal]
# With a request to a server that stands in for the vendor's, where the vendor's client is installed.
ASKED: Final = [
    param
    for param in USABLE
    if param.values[0].run == "stand-in"
    and not missing_package(param.values[0].kind, param.values[0].name, param.values[0].block)
]
ANTHROPIC: Final = {"id": "m", "type": "message", "role": "assistant", "model": "m", "stop_reason": "end_turn"}
ANSWERS: Final[dict[str, Reply]] = {
    "llm": chat("fine"),
    "embedder": embeddings([1.0, 0.0]),
    "reranker": Reply(
        {"results": [{"index": number, "relevance_score": score} for number, score in enumerate((0.8, 0.5))]}
    ),
    "reranker-llm_reranker": chat('{"0": 0.8, "1": 0.5}'),
    "llm-anthropic": Reply(
        ANTHROPIC | {"content": [{"type": "text", "text": "fine"}], "usage": {"input_tokens": 1, "output_tokens": 1}}
    ),
    "llm-ollama": Reply({"model": "m", "done": True, "message": {"role": "assistant", "content": "fine"}}),
    "embedder-ollama": Reply({"model": "m", "embeddings": [[1.0, 0.0]]}),
}
OPENAI: Final = {"provider": "openai", "config": {"model": "m", "api_key": "k"}}


def test_the_tables_are_what_the_code_says() -> None:
    """``python -m playground.provider_matrix`` writes them."""
    document = CONFIG.read_text("utf-8")
    assert written(document) == document


def test_every_provider_of_mem0_has_a_row_and_no_other() -> None:
    for kind in KINDS:
        assert {row.name for row in rows(kind)} == registry.providers(kind) == knowledge()[kind].keys()


def test_every_package_was_tried_or_is_too_heavy_to_be() -> None:
    named = {(package, row.run) for param in USABLE for row in param.values for package in row.package.split()}
    untried = {package for package, _ in named if package not in knowledge()["tested"]}
    assert untried <= {package for package, run in named if run == "read"}


def test_a_store_that_the_suite_of_stores_runs_is_said_to_be_run_here() -> None:
    run = {row.name for row in rows("vector_store") if row.run == "here"}
    assert run >= {"pgvector", *(provider for provider, _ in EMBEDDED.values())}


@pytest.mark.parametrize("row", REFUSED)
def test_a_refused_provider_is_refused_with_its_sentence(row: Row) -> None:
    with pytest.raises(CredentialError) as refusal:
        read_block(row.kind, {"provider": row.name, "config": {}})
    for language in messages.LANGUAGES:
        said = refusal.value.sentence(language)
        assert said.startswith(FORM_NAMES[row.kind]) and row.name in said
    assert row.refusal.rstrip(".") in refusal.value.sentence("en_US").replace("the provider", "The provider")


@pytest.mark.parametrize("row", USABLE)
def test_a_row_says_what_happens(row: Row, tmp_path: Path) -> None:
    """It builds, or the package that the row names is named."""
    config = _placed(row.block or {}, tmp_path)
    missing = missing_package(row.kind, row.name, config)
    if missing is not None:
        assert missing == row.package
        key, params = outcome(row.kind, row.name, config) or ("", {})
        assert (key, params.get("package")) == ("credentials_package_missing", row.package)
        return
    if (row.kind, row.name) == ("embedder", "ollama"):  # its constructor asks the server what models it has
        config = {**config, "ollama_base_url": "http://127.0.0.1:9"}
        with pytest.raises(ConnectionError):
            outcome(row.kind, row.name, config)
        return
    assert outcome(row.kind, row.name, config) is None


def _placed(config: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The block with the folder of a test instead of the container's."""
    text = json.dumps(config).replace("/app/storage/mem0", str(folder))
    placed: dict[str, Any] = json.loads(text)
    return placed


@pytest.fixture
def vendor() -> Iterator[ScriptedEndpoint]:
    """A server that stands in for a vendor's."""
    with ScriptedEndpoint() as endpoint:
        yield endpoint


@pytest.fixture
def _lane() -> Iterator[None]:
    """The workers that a lane gives its tasks."""
    workers = ThreadPool("lane", 2)
    token = use_pool(workers)
    yield
    token.var.reset(token)
    workers.close()


@pytest.mark.usefixtures("_lane")
@pytest.mark.parametrize("row", ASKED)
async def test_the_vendors_client_asks_where_the_block_says(row: Row, vendor: ScriptedEndpoint) -> None:
    vendor.script(ANSWERS.get(f"{row.kind}-{row.name}", ANSWERS[row.kind]))
    text = re.sub(r"https?://[\w.:-]+", vendor.base_url, json.dumps(row.block))
    block = read_block(row.kind, {"provider": row.name, "config": {**json.loads(text), **_model(row)}})
    if row.kind == "reranker":
        assert build_reranker(block, 300.0, 300.0).rerank("tea", ["tea", "coffee"]) == [0.8, 0.5]
    else:
        await _ask(row, block.config)
    assert vendor.requests >= 1


def _model(row: Row) -> dict[str, str]:
    return {"model": "m"} if row.name == "ollama" else {}  # the one that the stand-in has


async def _ask(row: Row, config: dict[str, Any]) -> None:
    blocks = {"local_llm_json_secret": OPENAI, "local_embedder_json_secret": OPENAI}
    dims = {"embedding_dims": 2} if "embedding_dims" in config else {}
    blocks[FORM_NAMES[row.kind]] = {"provider": row.name, "config": {**config, **dims}}
    store = {"provider": "qdrant", "config": {"path": "/nowhere"}}
    models = Models(Settings.from_credentials({**blocks, "local_vector_db_json_secret": store}))
    try:
        if row.kind == "llm":
            chat_model = await models.chat_model()
            assert chat_model.generate([{"role": "user", "content": "hello"}]) == "fine"
        else:
            assert await models.embed("tea") == [1.0, 0.0]
    finally:
        models.close()


def test_saving_a_refused_store_says_so_in_the_language_of_the_form(
    plugin_process: Callable[..., PluginProcess], pgvector_credentials: dict[str, Any]
) -> None:
    process = plugin_process()
    for row in rows("vector_store"):
        if row.refusal:
            store = json.dumps({"provider": row.name, "config": {"collection_name": "memories"}})
            with pytest.raises(CredentialError) as refusal:
                read_block("vector_store", store)
            for language in messages.LANGUAGES:
                saved = {**pgvector_credentials, "local_vector_db_json_secret": store, "language": language}
                assert refusal.value.sentence(language) in str(process.validate(saved).error)
