"""The real model endpoint of the demo, when the environment names one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import openai

from playground.credentials import Endpoint

_BASE_URL: Final = "https://api.openai.com/v1"
_MODEL: Final = "gpt-4.1-mini"
_EMBEDDING_MODEL: Final = "text-embedding-3-small"
_TIMEOUT_S: Final = 20.0


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
