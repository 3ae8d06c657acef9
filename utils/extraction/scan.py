"""What to ask Dify next, and what in its answers is new: three steps without any input or output of their own.

1. :class:`Listing` pages through a user's conversations, last touched first, down to the first second wanted. One that
   is touched between two pages jumps to the top and later pages no longer show it, so the top is read again until it
   shows nothing new.
2. :func:`select` decides which of them this run reads, and in which order.
3. :class:`Reading` pages back through one conversation's turns and takes the oldest unread ones as one chunk.

The driver asks :meth:`next_request`, gives the answer to :meth:`feed` (None where Dify no longer has what the request
named), and so on until there is no next request. ``reader`` is that driver; the tests have another, on a model of
Dify's API, and let everything happen between two pages.
"""

from __future__ import annotations

import bisect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from utils.extraction.checkpoint import ConversationCheckpoint, Place
from utils.extraction.history import Conversation, Page, Turn, unusable
from utils.extraction.intervals import Intervals
from utils.messages import Sentence

# A message's second is rounded, a conversation's is cut, and the message is saved a little later: measured, a message
# can be one second newer than its conversation's updated_at. One more for whoever rounds otherwise.
MARGIN_S: Final = 2
_MOST_PAGES_WITHOUT_NEWS: Final = 100  # an API that ignores last_id would be asked for ever

_NO_CHECKPOINT: Final = ConversationCheckpoint()


class Listing:
    """The conversations of one user that can hold a message of the seconds wanted.

    Args:
        wanted: not empty.
    """

    def __init__(self, wanted: Intervals) -> None:
        self.found: dict[str, Conversation] = {}
        self._wanted = wanted
        self._last_id: str | None = ""
        self._down_to = wanted.start - MARGIN_S  # a pass ends at the first row that was last touched before this
        self._tops: list[Conversation] = []  # the first row of each pass: what is touched later stands above it
        self._pages = 0  # of this pass
        self._news = False  # in this pass
        self._pages_without_news = 0

    def next_request(self) -> str | None:
        """The ``last_id`` to ask with, empty for the first page; None when the listing is complete."""
        return self._last_id

    def feed(self, page: Page[Conversation] | None) -> None:
        """Take the answer in; None says that the conversation named by ``last_id`` was deleted.

        Raises:
            UnusableAnswer: the pages repeat themselves.
        """
        if page is None:
            self._tops.clear()  # the pass has not come to its end: it proves nothing to the next one
            self._begin_pass()
            return
        self._pages += 1
        self._note(page.rows)
        unchanged = False
        if self._pages == 1:
            self._tops.extend(page.rows[:1])
            unchanged = self._tops[-2:-1] == self._tops[-1:]
        goes_on = page.may_go_on and all(row.updated_at >= self._down_to for row in page.rows)
        if goes_on and not unchanged:
            self._last_id = page.rows[-1].id
        elif unchanged or (self._pages == 1 and not self._news):  # one page is one moment: nothing can hide in it
            self._last_id = None
        else:
            self._down_to = max(self._down_to, self._tops[-1].updated_at - MARGIN_S)
            self._begin_pass()

    def _begin_pass(self) -> None:
        self._last_id, self._pages, self._news = "", 0, False

    def _note(self, rows: Sequence[Conversation]) -> None:
        new = {row.id for row in rows if may_hold(row, self._wanted)} - self.found.keys()
        self.found.update((row.id, row) for row in rows if row.id in new or row.id in self.found)
        self._news = self._news or bool(new)
        self._pages_without_news = 0 if new else self._pages_without_news + 1
        if self._pages_without_news > _MOST_PAGES_WITHOUT_NEWS:
            raise unusable(Sentence("reason_pages_repeat", {}))


def may_hold(conversation: Conversation, seconds: Intervals) -> Intervals:
    """Those of ``seconds`` in which the conversation can have messages, by the times of its row."""
    lived = Intervals.between(conversation.created_at - MARGIN_S, conversation.updated_at + MARGIN_S + 1)
    return seconds & lived


@dataclass(frozen=True, slots=True)
class Selected:
    """A conversation to read.

    Attributes:
        conversation_id: whose.
        checkpoint: how far it was read.
        unread: the seconds to read it for; not empty.
    """

    conversation_id: str
    checkpoint: ConversationCheckpoint
    unread: Intervals


@dataclass(frozen=True, slots=True)
class Selection:
    """What a run does with the conversations of a user.

    Attributes:
        chosen: those it reads, the longest untouched first, so that later facts meet earlier ones.
        left: ids of those that the limit leaves to the next run, last touched first.
    """

    chosen: tuple[Selected, ...]
    left: tuple[str, ...]


def select(
    listed: Mapping[str, Conversation],
    checkpoints: Mapping[str, ConversationCheckpoint],
    wanted: Intervals,
    owed: Intervals,
    limit: int,
) -> Selection:
    """The conversations that hold something unread, as far as their rows tell, up to ``limit``.

    First those of which an earlier run left something behind, then the others, each last touched first.

    Args:
        listed: what :class:`Listing` found.
        checkpoints: of this user's conversations, listed or not.
        wanted: the seconds this run sees to.
        owed: those of them that earlier runs asked for and did not see to.
        limit: how many conversations at most.
    """
    candidates = []
    for id_ in {**listed, **{id_: None for id_, one in checkpoints.items() if one.pending}}:
        checkpoint, row = checkpoints.get(id_, _NO_CHECKPOINT), listed.get(id_)
        unread = checkpoint.unread(wanted)
        promising = may_hold(row, unread) if row else unread
        if checkpoint.pending or promising:
            # One that is not listed was last touched before every one that is.
            touched = (1, row.updated_at) if row else (0, checkpoint.pending.start)
            rank = 2 if checkpoint.pending else 1 if promising & owed else 0
            candidates.append((rank, touched, id_, Selected(id_, checkpoint, unread)))
    candidates.sort(key=lambda one: one[:3], reverse=True)
    chosen = sorted(candidates[:limit], key=lambda one: one[1:3])
    left = sorted(candidates[limit:], key=lambda one: one[1:3], reverse=True)
    return Selection(tuple(one[3] for one in chosen), tuple(one[2] for one in left))


@dataclass(frozen=True, slots=True)
class Chunk:
    """What was read of one conversation.

    Attributes:
        conversation_id: whose.
        turns: the turns taken that hold any text, oldest first: what is to be remembered.
        taken: how many turns were taken, with or without text.
        found: how many unread turns there were, taken or left.
        checkpoint: how far it is read once the chunk is recorded.
        tokens: of all ``turns``.
        oversized: it is one turn that is longer than the limit.
        gone: Dify no longer has the conversation.
        warnings: sentences for the report.
    """

    conversation_id: str
    turns: tuple[Turn, ...]
    taken: int
    found: int
    checkpoint: ConversationCheckpoint
    tokens: int = 0
    oversized: bool = False
    gone: bool = False
    warnings: tuple[Sentence, ...] = ()


class Reading:
    """The unread turns of one conversation, read backward from the newest; only as many are held as a chunk can have.

    A page hides the turns that share the second of ``first_id``. So each page is asked for by a turn of a later second
    than the oldest one seen, whose turns then come again, all of them.

    Args:
        selected: what to read.
        now: epoch second; a turn without an answer that began shortly before it is left to the next run.
        max_tokens: of a chunk. A single turn may have more.
    """

    def __init__(self, selected: Selected, now: float, max_tokens: int) -> None:
        self._selected = selected
        self._now = now
        self._max_tokens = max_tokens
        self._first_id: str | None = ""
        self._older_than: int | None = None  # the second of the turn that _first_id names
        self._met: set[str] = set()
        self._held: list[tuple[Place, int, Turn]] = []  # by place, with their tokens
        self._held_tokens = 0
        self._left: list[Place] = []
        self._warnings: list[Sentence] = []
        self._gone = False

    def next_request(self) -> str | None:
        """The ``first_id`` to ask with, empty for the newest page; None when everything unread has been seen."""
        return self._first_id

    def fresh(self, page: Page[Turn]) -> list[Turn]:
        """The turns of a page that are unread and were on no page before; :meth:`feed` wants to know their tokens."""
        selected = self._selected
        return [
            turn
            for turn in page.rows
            if turn.at in selected.unread and turn.id not in self._met and not selected.checkpoint.is_done(turn.place)
        ]

    def feed(self, page: Page[Turn] | None, tokens: Sequence[int] = ()) -> None:
        """Take the answer in; None says that the conversation was deleted.

        Args:
            page: the turns.
            tokens: of each of ``fresh(page)``.

        Raises:
            UnusableAnswer: the pages repeat themselves.
        """
        if page is None:
            self._gone, self._first_id = True, None
            return
        for turn, count in zip(self.fresh(page), tokens, strict=True):
            self._hold(turn, count)
        self._go_on(page)

    def _hold(self, turn: Turn, tokens: int) -> None:
        """Hold a turn, and let go of the newest ones that no chunk can reach any more."""
        self._met.add(turn.id)
        bisect.insort(self._held, (turn.place, tokens, turn), key=lambda held: held[0])
        self._held_tokens += tokens
        while self._held_tokens - self._held[-1][1] > self._max_tokens:
            place, count, _ = self._held.pop()
            self._held_tokens -= count
            self._left.append(place)

    def _go_on(self, page: Page[Turn]) -> None:
        """Choose the next page: the one before the oldest second of which a turn of a *later* second is known."""
        oldest = min((turn.at for turn in page.rows), default=0)
        # Once an older second shows, every turn of the seconds above it has been shown.
        if not page.may_go_on or oldest < self._selected.unread.start:
            self._first_id = None
            return
        later = [turn for turn in page.rows if turn.at > oldest]
        anchor = min(later or page.rows, key=lambda turn: turn.place)
        if not later:  # the rest of this second, if there is any, can be reached by no request
            params = {"conversation_id": self._selected.conversation_id, "count": len(page.rows)}
            self._warnings.append(Sentence("extraction_crowded_second", params))
        self._must_go_back(anchor.at)
        self._first_id = anchor.id

    def _must_go_back(self, second: int) -> None:
        """Each page is asked for by an older second than the one before, or the API repeats itself."""
        if self._older_than is not None and second >= self._older_than:
            raise unusable(Sentence("reason_pages_repeat", {}))
        self._older_than = second

    def chunk(self) -> Chunk:
        """What to record, once there is no next request: the oldest unread turns that fit into the limit."""
        id_, checkpoint, unread = self._selected.conversation_id, self._selected.checkpoint, self._selected.unread
        if self._gone:
            after = checkpoint.after(unread, [], []).without_pending()
            warning = Sentence("extraction_conversation_gone", {"conversation_id": id_})
            return Chunk(id_, (), 0, 0, after, gone=True, warnings=(warning,))
        taken = self._fitting()
        turns = [turn for _, _, turn in taken]
        left = [place for place, _, _ in self._held[len(taken) :]] + self._left
        tokens = sum(count for _, count, _ in taken)
        return Chunk(
            conversation_id=id_,
            turns=tuple(turn for turn in turns if turn.user or turn.assistant),
            taken=len(taken),
            found=len(taken) + len(left),
            checkpoint=checkpoint.after(unread, [turn.place for turn in turns], left),
            tokens=tokens,
            oversized=tokens > self._max_tokens,
            warnings=tuple(self._warnings),
        )

    def _fitting(self) -> list[tuple[Place, int, Turn]]:
        """The oldest turns up to the limit, the first one whatever its length, and up to one that may still run."""
        spent = 0
        for number, (_, tokens, turn) in enumerate(self._held):
            if turn.may_still_run(self._now) or (spent and spent + tokens > self._max_tokens):
                return self._held[:number]
            spent += tokens
        return self._held
