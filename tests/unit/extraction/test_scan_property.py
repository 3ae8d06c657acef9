"""Over any sequence of runs every message of the ranges asked for is taken exactly once, or said to be deferred and
taken up later: many turns in one second, messages that arrive between two pages, conversations that are touched,
renamed or deleted there, turns that still run, ranges that grow backward, limits, and runs cut before any request.
"""

from __future__ import annotations

import random
from typing import Final

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from playground.dify_app import Conversation as Lived
from playground.dify_app import History, Message
from tests.unit.extraction.scan_model import USER, Cut, Machine
from utils.extraction.checkpoint import ConversationCheckpoint
from utils.extraction.history import LONGEST_TURN_S, Conversation
from utils.extraction.intervals import NOTHING, Intervals
from utils.extraction.scan import MARGIN_S, select

DAY_S: Final = 10_000
START_S: Final = 1_000_000
PAGE_ROWS: Final = 5
_GAPS_S: Final = (0.0, 0.0, 0.3, 0.5, 1.0, 40.0, 700.0, 1_300.0, DAY_S / 2, DAY_S)

SEEDS: Final = st.integers(0, 2**32)
# What happens, in order: life goes on for so many events, or a run with a limit on conversations and on tokens.
SCRIPTS: Final = st.lists(
    st.integers(1, 25) | st.tuples(st.sampled_from([1, 2, 3, 500]), st.sampled_from([8, 30, 100, 10**9])), max_size=12
)


class World:
    """A user's life with an app: turns, renames and deletions, by the dice, and runs of extraction in between."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.history = History(str(seed))
        self.machine = Machine(self.history, PAGE_ROWS, now=START_S)
        self.said: dict[str, Message] = {}
        self.running: list[Message] = []

    def live(self, events: int) -> None:
        for _ in range(events):
            self.pass_time(self.dice.choice(_GAPS_S))
            self.happen()

    def pass_time(self, seconds: float) -> None:
        self.machine.now += seconds
        for message in list(self.running):
            if self.machine.now - message.created_at > LONGEST_TURN_S - 100:
                self.end_turn(message)

    def happen(self) -> None:
        """One thing, at the present moment."""
        match self.dice.choice(["say"] * 6 + ["end", "rename", "delete"]):
            case "say":
                self.say()
            case "end" if self.running:
                self.end_turn(self.dice.choice(self.running))
            case "rename" if conversation := self.any_conversation():
                self.history.rename(conversation.id, self.machine.now, "another name")
            case "delete" if self.dice.random() < 0.3 and (conversation := self.any_conversation()):
                self.history.delete(conversation.id)

    def any_conversation(self) -> Lived | None:
        known = list(self.history.conversations.values())
        return self.dice.choice(known) if known else None

    def say(self) -> None:
        now, conversation = self.machine.now, self.any_conversation()
        if conversation is None or self.dice.random() < 0.3:
            conversation = self.history.converse(USER, now)
        # Of more turns in a second than a page has rows, Dify itself hides some.
        if sum(one.created_at == round(now) for one in conversation.messages) < PAGE_ROWS:
            answer = self.dice.choice(["", "yes", "certainly"])
            message = self.history.say(conversation.id, now, f"said {len(self.said)}", answer)
            self.said[message.id] = message
            if not answer:
                self.running.append(message)

    def end_turn(self, message: Message) -> None:
        self.running.remove(message)
        end = self.dice.choice(["answer", "answer", "fail", "never"])
        if end == "answer":
            self.history.finish(message, "answered late")
        elif end == "fail":
            self.history.fail(message)

    def run(self, conversations_limit: int = 500, max_tokens: int = 10**9, *, calm: bool = False) -> None:
        """A run over the last day or three; unless it is calm, things happen between its requests, or it is cut."""
        midnight = int(self.machine.now // DAY_S) * DAY_S
        days = 1 if calm else self.dice.choice([1, 1, 3])
        self.machine.before_request = (lambda: None) if calm else self.restless()
        chunks = self.machine.run(midnight - days * DAY_S, midnight, conversations_limit, max_tokens)
        conversations = 0
        try:
            for chunk in chunks:
                conversations += 1
                assert chunk.tokens <= max_tokens or chunk.oversized
                assert len(chunk.turns) == 1 or not chunk.oversized
                self.check_oldest_first(chunk.conversation_id, [turn.place for turn in chunk.turns])
        except Cut:
            return
        assert conversations <= conversations_limit
        self.check_nothing_is_silently_left()

    def restless(self) -> object:
        cut_after = self.dice.randrange(1, 15) if self.dice.random() < 0.4 else 10**9

        def before_request() -> None:
            nonlocal cut_after
            cut_after -= 1
            if cut_after <= 0:
                raise Cut
            while self.dice.random() < 0.4:
                self.pass_time(self.dice.choice([0.0, 0.2, 1.0]))
                self.happen()

        return before_request

    def waiting(self) -> list[tuple[str, Message]]:
        """The messages of the ranges asked for that have not been taken, with their conversations' ids."""
        taken = {turn.id for _, turn in self.machine.taken}
        return [
            (conversation.id, message)
            for conversation in self.history.conversations.values()
            for message in conversation.messages
            if message.created_at in self.machine.asked and message.id not in taken
        ]

    def check_oldest_first(self, conversation_id: str, taken: list[tuple[int, str]]) -> None:
        left = [(one.created_at, one.id) for id_, one in self.waiting() if id_ == conversation_id]
        assert not taken or not left or max(taken) < min(left)

    def check_nothing_is_silently_left(self) -> None:
        machine = self.machine
        for conversation_id, message in self.waiting():
            if message.created_at in machine.user.wanted:
                assert machine.user.resume or message.created_at >= machine.user.wanted.start
            else:
                assert message.created_at in machine.checkpoints[conversation_id].pending
                assert machine.deferred() > 0

    def check_each_was_taken_once(self) -> None:
        ids = [turn.id for _, turn in self.machine.taken]
        assert len(ids) == len(set(ids))
        for _, turn in self.machine.taken:
            message = self.said[turn.id]
            assert message.created_at in self.machine.asked
            assert turn.user == message.query
            assert turn.assistant == message.answer  # not as it looked while it ran


def play(seed: int, script: list[int | tuple[int, int]]) -> None:
    world = World(seed)
    for step in script:
        if isinstance(step, int):
            world.live(step)
        else:
            world.run(*step)
    world.pass_time(DAY_S)
    world.run(calm=True)
    assert world.waiting() == []
    assert world.machine.deferred() == 0
    assert world.machine.user.resume is None
    world.check_each_was_taken_once()
    world.machine.requests.clear()
    world.run(calm=True)
    assert {path for path, _ in world.machine.requests} <= {"conversations"}


@given(
    SEEDS, st.lists(st.integers(0, 25), min_size=2, max_size=8), st.sampled_from([2, 500]), st.sampled_from([30, 10**9])
)
def test_messages_are_asked_for_only_where_a_conversation_was_touched_since_or_something_is_deferred(
    seed: int, lives: list[int], conversations_limit: int, max_tokens: int
) -> None:
    """The rule of every further run, whatever was said, renamed, ended or deleted since the one before."""
    world = World(seed)
    machine = world.machine
    for events in lives:
        world.live(events)
        machine.requests.clear()
        before = dict(machine.checkpoints)
        world.run(conversations_limit, max_tokens, calm=True)
        asked = {id_ for path, id_ in machine.requests if path == "messages"}
        for id_, checkpoint in before.items():
            row = world.history.conversations.get(id_)
            touched = row is not None and int(row.updated_at) >= checkpoint.done.end - MARGIN_S
            assert id_ not in asked or checkpoint.pending or touched
        event("something was read again" if asked & before.keys() else "nothing was read again")


@pytest.mark.parametrize(
    ("touched_s", "deferred", "is_read"),
    [(-MARGIN_S - 1, False, False), (-MARGIN_S, False, True), (0, False, True), (-DAY_S, True, True)],
)
def test_a_conversation_is_read_from_two_seconds_before_its_checkpoint_on(
    touched_s: int, deferred: bool, is_read: bool
) -> None:
    done = Intervals.between(START_S - DAY_S, START_S)
    pending = Intervals.between(START_S - 10, START_S) if deferred else NOTHING
    checkpoint = ConversationCheckpoint(done=done - pending, pending=pending)
    row = Conversation("c", START_S - 3 * DAY_S, START_S + touched_s)
    wanted = Intervals.between(START_S - DAY_S, START_S + DAY_S)
    selection = select({"c": row}, {"c": checkpoint}, wanted, NOTHING, 500)
    assert [one.conversation_id for one in selection.chosen] == (["c"] if is_read else [])


@given(SEEDS, SCRIPTS)
def test_every_message_is_taken_once_or_deferred(seed: int, script: list[int | tuple[int, int]]) -> None:
    play(seed, script)


@pytest.mark.long
@settings(max_examples=20_000)
@given(SEEDS, SCRIPTS)
def test_every_message_is_taken_once_or_deferred_in_many_lives(seed: int, script: list[int | tuple[int, int]]) -> None:
    play(seed, script)
