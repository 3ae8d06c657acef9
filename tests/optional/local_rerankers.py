"""Rerankers that run in the plugin's process: mem0's ``sentence_transformer`` and ``huggingface``, on a tiny model.

Not part of ``make test``, as torch is 5 GB. Where it is installed: ``pytest tests/optional/local_rerankers.py``. The
model is made here, with weights drawn by chance: texts go in and scores from 0 to 1 come out, good ones they are not.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast

from playground.credentials import block
from playground.dify_host import PluginProcess
from tests.plugin import Plugin

RERANKER = "local_reranker_json_secret"
TEXTS = ("green tea in the morning", "a house by the sea")
WORDS = sorted({word for text in TEXTS for word in text.split()})


@pytest.fixture
def tiny_model(tmp_path: Path) -> Callable[..., str]:
    """Makes a cross encoder in a folder: ``tiny_model()``, or with the function its makers put after it."""

    def make(**config: Any) -> str:
        folder = tmp_path / "model"
        folder.mkdir()
        (folder / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]))
        size = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
        torch.manual_seed(1)
        model = BertForSequenceClassification(BertConfig(vocab_size=5 + len(WORDS), num_labels=1, **size, **config))
        torch.nn.init.normal_(model.classifier.weight, std=2.0)  # else all scores are nearly equal
        model.save_pretrained(folder)
        BertTokenizerFast(vocab=str(folder / "vocab.txt")).save_pretrained(folder)
        return str(folder)

    return make


@pytest.fixture
def search(plugin_process: Callable[..., PluginProcess], pgvector_credentials: dict[str, Any]) -> Callable[[str], Any]:
    """A search among two memories, with the reranker of a block."""

    def searched(reranker: str) -> Any:
        credentials = {**pgvector_credentials, RERANKER: reranker, "async_mode": False}
        plugin = Plugin(plugin_process({"HF_HUB_OFFLINE": "1", "PYTHONFAULTHANDLER": "1"}), credentials)
        for text in TEXTS:
            plugin.call("add_memory", user_id="alice", user=text, infer=False)
        return plugin.call("search_memory", user_id="alice", query="green tea")

    return searched


@pytest.mark.parametrize("provider", ["sentence_transformer", "huggingface"])
@pytest.mark.parametrize(
    "activation", ["torch.nn.modules.linear.Identity", "torch.nn.modules.activation.Sigmoid", None]
)
def test_scores_lie_between_0_and_1_whatever_stands_behind_the_model(
    search: Callable[[str], Any], tiny_model: Callable[..., str], provider: str, activation: str | None
) -> None:
    behind = {} if activation is None else {"sentence_transformers": {"activation_fn": activation}}
    found = search(block(provider, model=tiny_model(**behind), device="cpu", timeout=600))
    scores = [one["rerank_score"] for one in found.results]
    assert "reranker" not in found.text, found.text
    assert len(scores) == 2 and all(0.0 < score < 1.0 for score in scores), scores
    assert scores == sorted(scores, reverse=True)
    print(provider, activation, scores)


@pytest.mark.parametrize("provider", ["sentence_transformer", "huggingface"])
def test_a_model_that_is_not_there_leaves_the_order_of_similarity_and_that_is_said(
    search: Callable[[str], Any], tmp_path: Path, provider: str
) -> None:
    found = search(block(provider, model=str(tmp_path / "nothing"), timeout=600))
    assert [(one["memory"], one["rerank_score"]) for one in found.results] == [(text, None) for text in TEXTS]
    assert "The reranker failed (" in found.text


def test_a_model_that_fails_leaves_the_order_of_similarity_and_that_is_said(
    search: Callable[[str], Any], tiny_model: Callable[..., str]
) -> None:
    """mem0 answers 0.0 for every text when its model raises, here for a device that is not there while it works."""
    found = search(block("huggingface", model=tiny_model(max_position_embeddings=2), timeout=600))
    assert all(one["rerank_score"] is None for one in found.results)
    assert "The reranker failed (no scores)" in found.text
