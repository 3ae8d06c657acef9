"""The knobs and the counters of the stand-in: how slow it is, how it fails, what it was asked.

Tests hold the object itself; a stand-in in another process is reached over ``GET`` and ``POST /control``.
"""

from __future__ import annotations

import random
import threading
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Final

FAILURE_KINDS: Final = ("500", "429", "reset", "hang", "garbage")
_PROMPTS_KEPT: Final = 50


@dataclass(slots=True)
class Settings:
    """How the stand-in behaves.

    Attributes:
        chat_latency_s: seconds before a chat completion is answered.
        embedding_latency_s: the same for embeddings.
        held_endpoints: which of ``chat`` and ``embeddings`` give no answer for as long as they stand here.
        held_texts: a chat request with one of these in its messages gets no answer for as long as they stand here.
        failure_share: the share (0 to 1) of requests that fail, drawn from ``failure_seed``.
        failure_kinds: what a failing request meets, drawn evenly: ``500``; ``429`` with ``Retry-After``; ``reset``, the
            connection; ``hang``, no answer until the client leaves; ``garbage``, an answer nobody can use.
        failing_endpoints: which of ``chat`` and ``embeddings`` may fail.
        retry_after_s: what a 429 tells the client to wait.
        unauthorised: every request is answered 401.
        accepted_key: when not empty, requests with another API key are answered 401.
        verbatim: one ADD per message of the user's, word for word.
        context_chars: a chat request with a longer text in its last message is answered 400, as a model with a short
            context does; 0: none.
        answer_chars: an answer breaks off after so many characters; 0: none does.
    """

    chat_latency_s: float = 0.0
    embedding_latency_s: float = 0.0
    held_endpoints: tuple[str, ...] = ()
    held_texts: tuple[str, ...] = ()
    failure_share: float = 0.0
    failure_kinds: tuple[str, ...] = FAILURE_KINDS
    failing_endpoints: tuple[str, ...] = ("chat", "embeddings")
    failure_seed: int = 0
    retry_after_s: float = 1.0
    unauthorised: bool = False
    accepted_key: str = ""
    verbatim: bool = False
    context_chars: int = 0
    answer_chars: int = 0


class Control:
    """Settings, scripted answers, counters and the last prompts; safe to use from any thread.

    ``counts`` holds ``chat``, ``embeddings`` (requests), ``embedded_texts``, ``answered`` and ``failed_<kind>``.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.reset()

    def reset(self) -> None:
        """Back to the defaults, with nothing counted."""
        with self._lock:
            self.settings = Settings()
            self.counts: Counter[str] = Counter()
            self.prompts: deque[list[Any]] = deque(maxlen=_PROMPTS_KEPT)
            self._scripted: deque[Any] = deque()
            self._lots = random.Random(self.settings.failure_seed)

    def set(self, **settings: Any) -> None:
        """Change settings by name.

        Raises:
            ValueError: an unknown name or an unknown kind of failure.
        """
        known = {field.name for field in fields(Settings)}
        if unknown := settings.keys() - known:
            raise ValueError(f"unknown settings {sorted(unknown)}; known: {sorted(known)}")
        if strange := set(settings.get("failure_kinds", ())) - set(FAILURE_KINDS):
            raise ValueError(f"unknown failure kinds {sorted(strange)}; known: {list(FAILURE_KINDS)}")
        with self._lock:
            for name, value in settings.items():
                setattr(self.settings, name, tuple(value) if isinstance(value, list) else value)
            if "failure_seed" in settings:
                self._lots = random.Random(self.settings.failure_seed)

    def script(self, *contents: Any) -> None:
        """Answer the next chat completions with these contents, in order: text as it is, anything else as JSON."""
        with self._lock:
            self._scripted.extend(contents)

    def next_scripted(self) -> tuple[bool, Any]:
        """Whether there is a scripted answer, and the answer, which is used up."""
        with self._lock:
            return (True, self._scripted.popleft()) if self._scripted else (False, None)

    def count(self, name: str, times: int = 1) -> None:
        """Add to a counter."""
        with self._lock:
            self.counts[name] += times

    def record(self, messages: list[Any]) -> None:
        """Keep the messages of a chat request."""
        with self._lock:
            self.prompts.append(messages)

    def draw_failure(self, endpoint: str) -> str | None:
        """The kind of failure this request meets, or None when it is answered."""
        with self._lock:
            settings = self.settings
            if endpoint not in settings.failing_endpoints or self._lots.random() >= settings.failure_share:
                return None
            return self._lots.choice(settings.failure_kinds)

    def snapshot(self) -> dict[str, Any]:
        """Everything as JSON-ready values."""
        with self._lock:
            return {
                "settings": asdict(self.settings),
                "counts": dict(self.counts),
                "prompts": list(self.prompts),
                "scripted": len(self._scripted),
            }

    def apply(self, body: Mapping[str, Any]) -> None:
        """What ``POST /control`` does: ``{"reset": true, "script": [...], <setting>: <value>, ...}``."""
        settings = {name: value for name, value in body.items() if name not in {"reset", "script"}}
        if body.get("reset"):
            self.reset()
        self.set(**settings)
        self.script(*body.get("script", ()))
