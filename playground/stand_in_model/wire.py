"""OpenAI's wire format: what a chat completion and an embedding look like, right, wrong and unusable."""

from __future__ import annotations

import base64
import json
import time
from array import array
from collections.abc import Callable, Mapping
from typing import Any, Final

from playground.stand_in_model import prompt as prompts
from playground.stand_in_model.answer import answer as answer_to
from playground.stand_in_model.answer import verbatim_answer
from playground.stand_in_model.control import Control
from playground.stand_in_model.embeddings import DEFAULT_DIMENSIONS

CHAT_MODEL: Final = "stand-in-chat"
EMBEDDING_MODEL: Final = "stand-in-embedding"
_CHARACTERS_PER_TOKEN: Final = 4
# The unit vector of a text, of so many dimensions if it can choose.
type Embed = Callable[[str, int], list[float]]
_UNUSABLE: Final = ("I am afraid I cannot help with that.", "", '{"memory": [{"ev', "```json\n", "null")


def answer(endpoint: str, body: Mapping[str, Any], control: Control, embed: Embed) -> dict[str, Any]:
    """The JSON answer of an endpoint (``chat`` or ``embeddings``) to a request's body; ``embed`` makes the vectors.

    Raises:
        KeyError, TypeError, ValueError: the request is not one of OpenAI's.
    """
    return _chat(body, control) if endpoint == "chat" else _embeddings(body, control, embed)


def models() -> dict[str, Any]:
    """The answer to ``GET /v1/models``."""
    ids = (CHAT_MODEL, EMBEDDING_MODEL)
    return {"object": "list", "data": [{"id": id_, "object": "model", "owned_by": "playground"} for id_ in ids]}


def error(code: str, message: str) -> dict[str, Any]:
    """An error in OpenAI's shape."""
    return {"error": {"message": message, "type": code, "param": None, "code": code}}


def unusable_completion(number: int) -> dict[str, Any]:
    """A well-formed completion in which there is nothing to use; ``number`` picks which."""
    return _completion(CHAT_MODEL, _UNUSABLE[number % len(_UNUSABLE)], prompt_characters=0)


def _chat(body: Mapping[str, Any], control: Control) -> dict[str, Any]:
    messages = body["messages"]
    if not isinstance(messages, list) or not messages:
        raise ValueError("messages must be a list that is not empty")
    if body.get("stream"):
        raise ValueError("the stand-in does not stream")
    most = control.settings.context_chars
    if most and len(str(messages[-1]["content"])) > most:
        raise ValueError("the context is too long")
    control.record(messages)
    scripted, content = control.next_scripted()
    if not scripted:
        prompt = prompts.read(messages)
        content = verbatim_answer(prompt) if control.settings.verbatim else answer_to(prompt)
    text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
    text = text[: control.settings.answer_chars or None]
    return _completion(
        str(body.get("model", CHAT_MODEL)), text, prompt_characters=sum(len(str(message)) for message in messages)
    )


def _completion(model: str, content: str, *, prompt_characters: int) -> dict[str, Any]:
    asked, answered = prompt_characters // _CHARACTERS_PER_TOKEN, len(content) // _CHARACTERS_PER_TOKEN
    return {
        "id": "chatcmpl-stand-in",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": model,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": content},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": asked, "completion_tokens": answered, "total_tokens": asked + answered},
    }


def _embeddings(body: Mapping[str, Any], control: Control, embed: Embed) -> dict[str, Any]:
    texts = [body["input"]] if isinstance(body["input"], str) else list(body["input"])
    if not texts or not all(isinstance(text, str) and text for text in texts):
        raise ValueError("input must be a text or a list of texts, none of them empty")
    dimensions = int(body.get("dimensions") or DEFAULT_DIMENSIONS)
    control.count("embedded_texts", len(texts))
    as_base64 = body.get("encoding_format") == "base64"
    vectors = [embed(text, dimensions) for text in texts]
    used = sum(len(text) for text in texts) // _CHARACTERS_PER_TOKEN
    return {
        "object": "list",
        "model": str(body.get("model", EMBEDDING_MODEL)),
        "data": [
            {"object": "embedding", "index": index, "embedding": _base64(vector) if as_base64 else vector}
            for index, vector in enumerate(vectors)
        ],
        "usage": {"prompt_tokens": used, "total_tokens": used},
    }


def _base64(vector: list[float]) -> str:
    return base64.b64encode(array("f", vector).tobytes()).decode()
