"""The histories of one app's users, and how they change: Dify's tables, in so far as its API shows them."""

from __future__ import annotations

import itertools
import threading
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

NO_PARENT: Final = "00000000-0000-0000-0000-000000000000"
_NAMESPACE: Final = uuid.UUID("5b4c2f0e-6a3d-4f0e-9d0b-2f1c8e7a9b10")


@dataclass(slots=True)
class Message:
    """One turn; ``created_at`` is a whole epoch second, rounded, as Dify's column has it."""

    id: str
    created_at: int
    query: str
    answer: str = ""
    status: str = "normal"
    error: str | None = None


@dataclass(slots=True)
class Conversation:
    """A conversation; ``updated_at`` has fractions in the database and none in answers.

    ``listed`` is false for one that was made in the web app: the API does not list it, but shows its messages.
    """

    id: str
    user: str
    name: str
    created_at: int
    updated_at: float
    messages: list[Message] = field(default_factory=list)
    listed: bool = True


class History:
    """All conversations of one app. Safe to use from any thread; ids are the same in every run.

    Args:
        seed: makes the ids of two histories differ.
    """

    def __init__(self, seed: str = "") -> None:
        self.lock = threading.RLock()
        self.conversations: dict[str, Conversation] = {}
        self._seed = seed
        self._numbers = itertools.count()
        self._touches = itertools.count(1)

    def _new_id(self) -> str:
        return str(uuid.uuid5(_NAMESPACE, f"{self._seed}/{next(self._numbers)}"))

    def converse(
        self, user: str, at: float, *turns: tuple[str, str], name: str = "", every_s: float = 30.0, listed: bool = True
    ) -> Conversation:
        """A new conversation of ``user``: ``turns`` are (query, answer), the first at ``at`` (epoch seconds) and each
        ``every_s`` seconds after the one before.
        """
        with self.lock:
            made = Conversation(self._new_id(), user, name or "New conversation", round(at), at, listed=listed)
            self.conversations[made.id] = made
            for number, (query, answer) in enumerate(turns):
                self.say(made.id, at + number * every_s, query, answer)
            return made

    def say(self, conversation_id: str, at: float, query: str, answer: str = "", **more: Any) -> Message:
        """A turn that starts at ``at``; without an answer it runs until :meth:`finish`."""
        with self.lock:
            conversation = self.conversations[conversation_id]
            message = Message(self._new_id(), round(at), query, answer, **more)
            conversation.messages.append(message)
            self._touch(conversation, at)
            return message

    def finish(self, message: Message, answer: str) -> None:
        """The answer arrives, which does not move the conversation's ``updated_at``."""
        with self.lock:
            message.answer = answer

    def fail(self, message: Message, error: str = "Run failed: Aborted: User requested stop") -> None:
        """The turn fails, or is stopped by its caller: what had been said is gone."""
        with self.lock:
            message.answer, message.status, message.error = "", "error", error

    def rename(self, conversation_id: str, at: float, name: str) -> None:
        """Rename a conversation, which moves it to the top of the list."""
        with self.lock:
            self.conversations[conversation_id].name = name
            self._touch(self.conversations[conversation_id], at)

    def delete(self, conversation_id: str) -> None:
        """Delete a conversation with its messages."""
        with self.lock:
            del self.conversations[conversation_id]

    def messages(self, user: str | None = None) -> Iterator[Message]:
        """Every message, or every one of a user."""
        with self.lock:
            found = [one for each in self.of_user(user) for one in each.messages]
        return iter(found)

    def of_user(self, user: str | None) -> Iterable[Conversation]:
        """The conversations of a user; of all where it is None."""
        with self.lock:
            return [one for one in self.conversations.values() if user is None or one.user == user]

    def _touch(self, conversation: Conversation, at: float) -> None:
        """Times have microseconds in the database: no two are equal."""
        conversation.updated_at = max(conversation.updated_at, at + next(self._touches) * 1e-6)
