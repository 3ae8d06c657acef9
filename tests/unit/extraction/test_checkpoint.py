"""Checkpoints: any sequence of readings takes each message of the seconds asked for once, oldest first."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from utils.extraction.checkpoint import ConversationCheckpoint, Place, Resume, UserCheckpoint
from utils.extraction.intervals import Intervals

HISTORIES = st.lists(st.integers(0, 12), max_size=25).map(
    lambda seconds: [(second, f"m{number:02d}") for number, second in enumerate(seconds)]
)
RUNS = st.lists(st.tuples(st.integers(0, 12), st.integers(1, 13), st.integers(0, 6)), max_size=8)


def read_once(
    checkpoint: ConversationCheckpoint, history: list[Place], wanted: Intervals, most: int
) -> tuple[list[Place], ConversationCheckpoint]:
    """What a run that takes at most ``most`` messages takes, and the checkpoint afterwards."""
    unread = checkpoint.unread(wanted)
    found = sorted(place for place in history if place[0] in unread and not checkpoint.is_done(place))
    return found[:most], checkpoint.after(unread, found[:most], found[most:])


@given(HISTORIES, RUNS)
def test_every_message_asked_for_is_taken_once(history: list[Place], runs: list[tuple[int, int, int]]) -> None:
    checkpoint, taken, asked = ConversationCheckpoint(), [], Intervals()
    for start, end, most in runs:
        wanted = Intervals.between(start, end)
        asked |= wanted
        chunk, checkpoint = read_once(checkpoint, history, wanted, most)
        taken += chunk
        checkpoint = ConversationCheckpoint.from_json(json.loads(json.dumps(checkpoint.to_json())))
        expected = [place for place in history if place[0] in asked]
        assert len(taken) == len(set(taken))
        assert set(taken) <= set(expected)
        assert checkpoint.deferred_messages == len([place for place in expected if place not in taken])
        assert checkpoint.last_processed_message_id == (max(taken)[1] if taken else "")
        if not checkpoint.pending:
            assert sorted(taken) == sorted(expected)
            assert checkpoint.seen == frozenset()
    chunk, checkpoint = read_once(checkpoint, history, Intervals(), len(history))
    assert sorted(taken + chunk) == sorted(place for place in history if place[0] in asked)
    assert checkpoint == checkpoint.without_pending()


def test_a_second_cut_in_two_is_read_again_without_what_was_taken() -> None:
    wanted = Intervals.between(0, 10)
    checkpoint = ConversationCheckpoint().after(wanted, [(3, "a"), (5, "b")], [(5, "c"), (7, "d")])
    assert checkpoint.done == Intervals.between(0, 5)
    assert checkpoint.unread(Intervals.between(20, 30)) == Intervals.of([(5, 10), (20, 30)])
    assert checkpoint.is_done((5, "b"))
    assert not checkpoint.is_done((5, "c"))
    assert checkpoint.deferred_messages == 2


def test_a_range_that_grows_backward_reads_the_older_part_alone() -> None:
    checkpoint = ConversationCheckpoint().after(Intervals.between(100, 200), [(150, "a")], [])
    assert checkpoint.unread(Intervals.between(0, 200)) == Intervals.between(0, 100)
    older = checkpoint.after(Intervals.between(0, 100), [(50, "b")], [])
    assert older.last_processed_message_id == "a"  # still the newest
    assert older.done == Intervals.between(0, 200)


def test_a_conversation_that_is_gone_is_waited_for_no_longer() -> None:
    checkpoint = ConversationCheckpoint().after(Intervals.between(0, 10), [], [(5, "c")]).without_pending()
    assert (checkpoint.pending, checkpoint.deferred_messages) == (Intervals(), 0)
    assert not checkpoint.unread(Intervals.between(0, 10))


def test_what_a_run_asked_for_stays_wanted() -> None:
    checkpoint = UserCheckpoint().asked(0, 10).asked(10, 20).asked(40, 50)
    assert checkpoint.wanted == Intervals.of([(0, 20), (40, 50)])


def test_a_users_checkpoint_is_kept_as_json() -> None:
    for checkpoint in (
        UserCheckpoint(),
        UserCheckpoint(Intervals.between(5, 9), Resume("c1", conversations=3, run_at=100, start_at=5)),
    ):
        assert UserCheckpoint.from_json(json.loads(json.dumps(checkpoint.to_json()))) == checkpoint
