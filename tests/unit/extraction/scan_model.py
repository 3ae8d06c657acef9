"""A run of extraction on a model of Dify's API, without HTTP: the scan's decisions are real, what is between them is
the test's.

The model is the stand-in's own history and pages. A run can be cut before any request, and things happen between any
two.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from playground.dify_app import History, pages
from utils.extraction.checkpoint import ConversationCheckpoint, UserCheckpoint, deferred_messages
from utils.extraction.history import Conversation, Page, Turn, read_conversations, read_turns
from utils.extraction.intervals import NOTHING, Intervals
from utils.extraction.scan import Chunk, Listing, Reading, select

USER = "ana"


class Cut(Exception):
    """The process was killed."""


def tokens(turn: Turn) -> int:
    return len(turn.user) + len(turn.assistant)


@dataclass
class Machine:
    """What outlives a run: checkpoints, and what was taken, in one transaction each."""

    history: History
    page_rows: int
    now: float = 0.0
    user: UserCheckpoint = field(default_factory=UserCheckpoint)
    checkpoints: dict[str, ConversationCheckpoint] = field(default_factory=dict)
    taken: list[tuple[str, Turn]] = field(default_factory=list)
    asked: Intervals = NOTHING
    requests: list[tuple[str, str]] = field(default_factory=list)
    before_request: Callable[[], None] = lambda: None

    def conversations(self, last_id: str) -> Page[Conversation] | None:
        self._before("conversations", last_id)
        status, body = pages.conversations(
            self.history, {"user": USER, "limit": str(self.page_rows), "last_id": last_id}
        )
        return read_conversations(body) if status == 200 else None

    def messages(self, conversation_id: str, first_id: str) -> Page[Turn] | None:
        self._before("messages", conversation_id)
        query = {"user": USER, "conversation_id": conversation_id, "limit": str(self.page_rows), "first_id": first_id}
        status, body = pages.messages(self.history, query)
        return read_turns(body) if status == 200 else None

    def _before(self, path: str, id_: str) -> None:
        self.before_request()
        self.requests.append((path, id_))

    def run(self, start: int, end: int, conversations_limit: int = 500, max_tokens: int = 10**9) -> Iterator[Chunk]:
        """One run; yields each chunk after it was recorded.

        Raises:
            Cut: by ``before_request``.
        """
        owed = self.user.wanted
        self.user, self.asked = self.user.asked(start, end), self.asked | Intervals.between(start, end)
        now = self.now
        wanted = self.user.settled(now)
        if not wanted:
            return
        listing = Listing(wanted)
        while (last_id := listing.next_request()) is not None:
            listing.feed(self.conversations(last_id))
        selection = select(listing.found, self.checkpoints, wanted, owed, conversations_limit)
        for selected in selection.chosen:
            reading = Reading(selected, now, max_tokens)
            while (first_id := reading.next_request()) is not None:
                page = self.messages(selected.conversation_id, first_id)
                reading.feed(page, [tokens(turn) for turn in reading.fresh(page)] if page else [])
            chunk = reading.chunk()
            self.checkpoints[chunk.conversation_id] = chunk.checkpoint
            self.taken += [(chunk.conversation_id, turn) for turn in chunk.turns]
            yield chunk
        self.user = self.user.seen_to(wanted, selection.left, now)

    def deferred(self) -> int:
        return deferred_messages(self.user, self.checkpoints.values())
