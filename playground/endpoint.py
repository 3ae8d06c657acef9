"""The model endpoint of the demo: the real one that the environment names, or one on this machine."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import openai

from playground import e5
from playground.credentials import Endpoint
from playground.stand_in_model import ABOUT, StandInModel

_BASE_URL: Final = "https://api.openai.com/v1"
_MODEL: Final = "gpt-4.1-mini"
_EMBEDDING_MODEL: Final = "text-embedding-3-small"
_TIMEOUT_S: Final = 20.0
_FETCHING: Final = "Fetching a small embedding model, once (91 MB; at most two minutes)"
_REAL_EMBEDDER: Final = (
    f"Embedder: {e5.MODEL} on this machine, so the scores below are real similarities. "
    "Chat model: a stand-in that answers by fixed rules, no model. Set OPENAI_API_KEY for real ones."
)


class EndpointError(Exception):
    """The endpoint cannot be used; the message says why, without the key."""


def real_endpoint(environment: Mapping[str, str]) -> Endpoint | None:
    """What ``OPENAI_API_KEY``, ``_BASE_URL``, ``_MODEL`` and ``_EMBEDDING_MODEL`` name; None without a key.

    One text is embedded, to learn how long the model's vectors are.

    Raises:
        EndpointError: that did not work.
    """
    api_key = environment.get("OPENAI_API_KEY", "")
    if not api_key:
        return None
    base_url = environment.get("OPENAI_BASE_URL") or _BASE_URL
    embedding_model = environment.get("OPENAI_EMBEDDING_MODEL") or _EMBEDDING_MODEL
    return Endpoint(
        base_url=base_url,
        api_key=api_key,
        model=environment.get("OPENAI_MODEL") or _MODEL,
        embedding_model=embedding_model,
        dimensions=_dimensions(base_url, api_key, embedding_model),
    )


def local_endpoint(stack: ExitStack, embedder: Path | None, say: Callable[[str], None]) -> Endpoint:
    """Start an endpoint on this machine: a real embedder if it can be had, beside a stand-in for the chat model.

    Args:
        stack: ends it.
        embedder: the folder of the embedder, which is fetched if it is not there; None for no real one.
        say: is told, in a sentence, what it is.
    """
    try:
        model = None if embedder is None else _embedder(embedder, say)
    except e5.EmbedderUnavailable as reason:
        say(f"The embedding model cannot be used: {reason}.")
        model = None
    if model is None:
        say(f"Models: {ABOUT} Set OPENAI_API_KEY for a real one.")
        return Endpoint(stack.enter_context(StandInModel()).base_url)
    say(_REAL_EMBEDDER)
    server = stack.enter_context(StandInModel(embed=model.embed))
    return Endpoint(server.base_url, embedding_model=e5.MODEL, dimensions=e5.DIMENSIONS)


def _embedder(folder: Path, say: Callable[[str], None]) -> e5.E5:
    if not e5.is_installed(folder):
        say(_FETCHING)
        e5.install(folder)
    return e5.E5(folder)


def _dimensions(base_url: str, api_key: str, model: str) -> int:
    try:
        with openai.OpenAI(base_url=base_url, api_key=api_key, timeout=_TIMEOUT_S, max_retries=1) as client:
            return len(client.embeddings.create(model=model, input="How long is this?").data[0].embedding)
    except openai.APIStatusError as error:
        reason = f"it answered {error.status_code}"
    except openai.APITimeoutError:
        reason = f"it did not answer within {_TIMEOUT_S:g} s"
    except openai.APIConnectionError:
        reason = "it cannot be reached"
    raise EndpointError(f"The embedding model {model} at {base_url} cannot be used: {reason}. Check OPENAI_*.")
