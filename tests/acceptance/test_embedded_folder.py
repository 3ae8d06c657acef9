"""A changed credential that names the same folder works at once, beside the credentials before it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from playground.credentials import Endpoint, block, credential_set
from playground.dify_host import PluginProcess
from tests.plugin import Plugin

PLACES: dict[str, dict[str, str]] = {
    "qdrant": {"path": "{folder}"},
    "chroma": {"path": "{folder}"},
    "faiss": {"path": "{folder}"},
    "milvus": {"url": "{folder}/milvus.db"},
}
# A key that changes how the same collection is reached, and nothing else.
ADDED: dict[str, dict[str, Any]] = {
    "qdrant": {"on_disk": True},
    "chroma": {},
    "faiss": {"normalize_L2": True},
    "milvus": {"db_name": ""},
}


@pytest.mark.parametrize("provider", PLACES)
def test_two_credential_sets_share_a_folder(
    provider: str, plugin_process: Callable[..., PluginProcess], endpoint: Endpoint, tmp_path: Path
) -> None:
    folder = tmp_path / "store"
    folder.mkdir()
    process = plugin_process()

    def plugin(place: Path, collection: str, **config: Any) -> Plugin:
        where = {key: value.format(folder=place) for key, value in PLACES[provider].items()}
        dims = {} if provider == "chroma" else {"embedding_model_dims": endpoint.dimensions}
        store = block(provider, collection_name=collection, **where, **dims, **config)
        return Plugin(process, {**credential_set(endpoint, store), "async_mode": "false"})

    def add(to: Plugin, text: str) -> None:
        assert to.call("add_memory", user_id="alice", user=text, infer=False).status == "SUCCESS"

    first, other = plugin(folder, "first"), plugin(folder, "other")
    same = plugin(folder / ".." / "store", "first", **ADDED[provider])
    add(first, "in the first")
    add(other, "in the other")
    add(same, "in the first, by the changed credentials")
    for of in (first, same):
        assert of.texts("alice") == ["in the first", "in the first, by the changed credentials"]
    assert other.texts("alice") == ["in the other"]
