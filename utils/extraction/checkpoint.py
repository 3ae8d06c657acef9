"""How far a history has been read: one checkpoint for each conversation of a (user, app), and one for the user.

They promise that any sequence of runs, cut anywhere, takes each message of the ranges asked for exactly once:

* what a run asks for is added to the user's ``wanted`` before its first request, and leaves it when the run has seen
  to every conversation in it. A run that dies, fails or reaches a limit leaves it there, for the next run;
* a conversation's checkpoint moves together with the chunk that was taken (one transaction of the caller). It says
  which seconds are ``done`` and which were asked for and left (``pending``). Of a second that a limit cut in two, the
  ids that were taken are ``seen``: order inside a second is arbitrary (SPEC 5), so only ids tell its messages apart.

Values are frozen and know no database; ``to_json`` and ``from_json`` are what the state store keeps.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Self

from utils.extraction.intervals import NOTHING, Intervals

VERSION: Final = 1  # of the JSON; read by this version and later ones
# Seconds that are younger than this may still get a message: its transaction has begun, or Dify's clock is behind.
SETTLE_S: Final = 60

type Place = tuple[int, str]
"""Where a message stands in its conversation: its epoch second, and its id, which decides inside the second."""


@dataclass(frozen=True, slots=True)
class ConversationCheckpoint:
    """How far one conversation has been read.

    Attributes:
        last: the newest message that was taken; None before the first.
        done: seconds whose messages have all been taken, or that hold none.
        pending: seconds that were asked for and left to the next run, whatever range that one asks for.
        seen: messages that were taken in seconds that are not ``done``.
        deferred_messages: how many messages are known to wait in ``pending``.
    """

    last: Place | None = None
    done: Intervals = NOTHING
    pending: Intervals = NOTHING
    seen: frozenset[Place] = frozenset()
    deferred_messages: int = 0

    @property
    def last_processed_message_id(self) -> str:
        """The id of the newest message that was taken; empty before the first."""
        return self.last[1] if self.last else ""

    def unread(self, wanted: Intervals) -> Intervals:
        """The seconds to read for a run that wants ``wanted``: also those left earlier, and nothing that is done."""
        return (wanted | self.pending) - self.done

    def is_done(self, place: Place) -> bool:
        """Whether the message that stands there has been taken already."""
        return place[0] in self.done or place in self.seen

    def after(self, read: Intervals, taken: Collection[Place], left: Collection[Place]) -> ConversationCheckpoint:
        """The checkpoint once ``taken`` is recorded.

        Args:
            read: the seconds that were read through (:meth:`unread`).
            taken: messages found in them and taken now; all older than those left, by ``Place``.
            left: messages found in them and left to the next run: everything from the oldest of them on is pending.
        """
        if left:
            cut = min(left)[0]
            done, pending = self.done | read.before(cut), read.since(cut)
        else:
            done, pending = self.done | read, self.pending - read
        return ConversationCheckpoint(
            last=max((place for place in (self.last, *taken) if place), default=None),
            done=done,
            pending=pending - done,
            seen=frozenset(place for place in (*self.seen, *taken) if place[0] not in done),
            deferred_messages=len(left),
        )

    def without_pending(self) -> ConversationCheckpoint:
        """The checkpoint of a conversation that Dify no longer has: nothing of it is waited for."""
        return replace(self, done=self.done | self.pending, pending=NOTHING, deferred_messages=0)

    def to_json(self) -> dict[str, Any]:
        """As the state store keeps it; :meth:`from_json` reads it."""
        return {
            "v": VERSION,
            "last": list(self.last) if self.last else None,
            "done": self.done.to_json(),
            "pending": self.pending.to_json(),
            "seen": [list(place) for place in sorted(self.seen)],
            "deferred_messages": self.deferred_messages,
        }

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Self:
        """The inverse of :meth:`to_json`."""
        return cls(
            last=_place(plain["last"]) if plain["last"] else None,
            done=Intervals.of(plain["done"]),
            pending=Intervals.of(plain["pending"]),
            seen=frozenset(_place(one) for one in plain["seen"]),
            deferred_messages=plain["deferred_messages"],
        )


@dataclass(frozen=True, slots=True)
class Resume:
    """Where selection goes on after a run whose conversation limit was reached.

    Attributes:
        conversation_id: the newest conversation that was left.
        conversations: how many were left.
        run_at: epoch second of the run that left them.
        start_at: the first second that is wanted of them.
    """

    conversation_id: str
    conversations: int
    run_at: int
    start_at: int


@dataclass(frozen=True, slots=True)
class UserCheckpoint:
    """What of a user's history was asked for and is not seen to yet.

    Attributes:
        wanted: seconds that runs asked for and that the next run sees to, whatever range that one asks for.
        resume: set only while a limit has left conversations to the next run.
    """

    wanted: Intervals = NOTHING
    resume: Resume | None = None

    def asked(self, start: int, end: int) -> UserCheckpoint:
        """With the range of a run added. Record it before the run's first request: a run that is cut has then left
        its range to the next one. The same holds for a user whom a run does not come to.
        """
        return replace(self, wanted=self.wanted | Intervals.between(start, end))

    def settled(self, now: float) -> Intervals:
        """What of it a run at the epoch second ``now`` can see to: no message can be added to these seconds."""
        return self.wanted.before(int(now) - SETTLE_S)

    def seen_to(self, seconds: Intervals, left: Sequence[str], now: float) -> UserCheckpoint:
        """The checkpoint at the end of a run that came to its end.

        Args:
            seconds: what it saw to (:meth:`settled`, as it was at the beginning).
            left: ids of the conversations that its limit left, last touched first; all of ``seconds`` stay wanted then.
            now: epoch second of the run.
        """
        if left:
            return replace(self, resume=Resume(left[0], len(left), run_at=int(now), start_at=seconds.start))
        return UserCheckpoint(wanted=self.wanted - seconds)

    def to_json(self) -> dict[str, Any]:
        """As the state store keeps it; :meth:`from_json` reads it."""
        resume = self.resume
        return {
            "v": VERSION,
            "wanted": self.wanted.to_json(),
            "resume": resume
            and {
                "conversation_id": resume.conversation_id,
                "conversations": resume.conversations,
                "run_at": resume.run_at,
                "start_at": resume.start_at,
            },
        }

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Self:
        """The inverse of :meth:`to_json`."""
        resume = plain["resume"]
        return cls(wanted=Intervals.of(plain["wanted"]), resume=Resume(**resume) if resume else None)


def deferred_messages(user: UserCheckpoint, conversations: Iterable[ConversationCheckpoint]) -> int:
    """How many messages are known to wait for a later run; a conversation that was not read counts as one, the least
    it can have.
    """
    left = user.resume.conversations if user.resume else 0
    return sum(one.deferred_messages for one in conversations) + left


def _place(plain: Any) -> Place:
    second, message_id = plain
    return int(second), str(message_id)
