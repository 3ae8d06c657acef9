"""The knobs and the counters of the stand-in: how it fails, what changes between two pages, what it was asked."""

from __future__ import annotations

import random
import threading
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Final

FAILURE_KINDS: Final = ("500", "429", "reset", "garbage")


@dataclass(slots=True)
class Settings:
    """How the stand-in behaves.

    Attributes:
        accepted_key: requests with another API key are answered 401.
        failure_share: the share (0 to 1) of requests that fail, drawn from ``failure_seed``.
        failure_kinds: what a failing request meets, drawn evenly: ``500``; ``429`` with ``Retry-After``; ``reset``, the
            connection; ``garbage``, a body cut in the middle of its JSON.
        failure_seed: of the draws.
        retry_after_s: what a 429 tells the client to wait.
        refused_users: requests for these users are answered 401.
        held: no request is answered while this is set.
        latency_s: seconds before a request is answered.
        app_mode: ``workflow`` is answered 400 ``not_chat_app``.
        api_enabled: 403 where it is not.
    """

    accepted_key: str = "app-stand-in"
    failure_share: float = 0.0
    failure_kinds: tuple[str, ...] = FAILURE_KINDS
    failure_seed: int = 0
    retry_after_s: float = 1.0
    refused_users: tuple[str, ...] = ()
    held: bool = False
    latency_s: float = 0.0
    app_mode: str = "advanced-chat"
    api_enabled: bool = True


class Control:
    """Settings, scripted failures, changes to come, counters and what was asked; safe to use from any thread.

    ``counts`` holds ``conversations``, ``messages`` (requests), ``answered`` and ``failed_<kind>``; ``asked`` every
    request that was answered, as (path, query).
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.reset()

    def reset(self) -> None:
        """Back to the defaults, with nothing counted."""
        with self._lock:
            self.settings = Settings()
            self.counts: Counter[str] = Counter()
            self.asked: list[tuple[str, dict[str, str]]] = []
            self._failures: deque[str] = deque()
            self._changes: deque[Callable[[], object] | None] = deque()
            self._lots = random.Random(self.settings.failure_seed)

    def set(self, **settings: Any) -> None:
        """Change settings by name.

        Raises:
            ValueError: an unknown name or an unknown kind of failure.
        """
        if unknown := settings.keys() - {field.name for field in fields(Settings)}:
            raise ValueError(f"unknown settings {sorted(unknown)}")
        if strange := set(settings.get("failure_kinds", ())) - set(FAILURE_KINDS):
            raise ValueError(f"unknown failure kinds {sorted(strange)}; known: {list(FAILURE_KINDS)}")
        with self._lock:
            for name, value in settings.items():
                setattr(self.settings, name, tuple(value) if isinstance(value, list) else value)
            if "failure_seed" in settings:
                self._lots = random.Random(self.settings.failure_seed)

    def fail_next(self, *kinds: str) -> None:
        """What the next requests meet, in order; ``""`` for one that is answered."""
        with self._lock:
            self._failures.extend(kinds)

    def change_after_next(self, *changes: Callable[[], object] | None) -> None:
        """What happens to the history after each of the next answers, so that it lies between two pages."""
        with self._lock:
            self._changes.extend(changes)

    def draw_failure(self) -> str:
        """The kind of failure this request meets; empty when it is answered."""
        with self._lock:
            if self._failures:
                return self._failures.popleft()
            if self._lots.random() >= self.settings.failure_share:
                return ""
            return self._lots.choice(self.settings.failure_kinds)

    def count(self, name: str) -> None:
        """Add 1 to a counter."""
        with self._lock:
            self.counts[name] += 1

    def answered(self, path: str, query: Mapping[str, str]) -> None:
        """Note an answer, and let the change that waits for it happen."""
        with self._lock:
            self.counts["answered"] += 1
            self.asked.append((path, dict(query)))
            change = self._changes.popleft() if self._changes else None
        if change is not None:
            change()
