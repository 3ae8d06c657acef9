"""The scan's traps one by one: each loses messages where it is missed."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Final

import pytest

from playground.dify_app import History
from tests.unit.extraction.scan_model import USER, Machine
from utils.errors import UnusableAnswer
from utils.extraction.checkpoint import ConversationCheckpoint, UserCheckpoint
from utils.extraction.history import Conversation, Page, Turn
from utils.extraction.intervals import Intervals
from utils.extraction.scan import Listing, Reading, Selected, select

DAY: Final = 86_400
NOW: Final = 20 * DAY
YESTERDAY: Final = 19 * DAY


def machine(history: History, page_rows: int = 5) -> Machine:
    return Machine(history, page_rows, now=NOW + 3_600)


def run(machine: Machine, days: int = 1, **limits: Any) -> list[list[str]]:
    """What the user said in each chunk of a run over the last days."""
    return [[turn.user for turn in chunk.turns] for chunk in machine.run(NOW - days * DAY, NOW, **limits)]


def conversations(history: History, count: int, turns: int = 1) -> list[str]:
    """Conversations of yesterday, an hour apart; each turn says which it is."""
    return [
        history.converse(USER, YESTERDAY + 3_600 * n, *((f"{n}.{turn}", "yes") for turn in range(turns))).id
        for n in range(count)
    ]


def between(machine: Machine, changes: dict[int, Callable[[], object]]) -> None:
    """Let things happen before the requests of these numbers, counted from 0."""
    machine.before_request = lambda: changes.get(len(machine.requests), lambda: None)()


def test_conversations_are_processed_oldest_first() -> None:
    history = History()
    conversations(history, 7)
    assert run(machine(history)) == [[f"{n}.0"] for n in range(7)]


def test_a_touched_last_id_starts_again_from_the_top() -> None:
    history = History()
    ids = conversations(history, 12)
    it = machine(history)
    between(it, {1: lambda: history.rename(ids[7], it.now, "touched")})  # the last row of the first page
    assert sorted(run(it)) == sorted([f"{n}.0"] for n in range(12))


def test_a_deleted_last_id_costs_only_what_was_deleted() -> None:
    history = History()
    ids = conversations(history, 12)
    it = machine(history)
    between(it, {1: lambda: history.delete(ids[7])})
    assert sorted(said for said in run(it) if said) == sorted([f"{n}.0"] for n in range(12) if n != 7)


def test_a_conversation_that_jumps_to_the_top_is_found_by_reading_it_again() -> None:
    history = History()
    ids = conversations(history, 12)
    it = machine(history)
    between(it, {1: lambda: history.rename(ids[0], it.now, "touched")})
    assert sorted(run(it)) == sorted([f"{n}.0"] for n in range(12))


def test_more_than_a_page_of_conversations_jump_to_the_top() -> None:
    history = History()
    ids = conversations(history, 20)
    it = machine(history)

    def touch() -> None:
        for number, id_ in enumerate([ids[0], *ids[13:20], *ids[10:13]]):  # one not read yet, beneath ten that are
            history.rename(id_, it.now + number / 10, "touched")

    between(it, {2: touch})
    assert sorted(run(it)) == sorted([f"{n}.0"] for n in range(20))


def test_turns_that_share_a_second_are_all_read() -> None:
    history = History()
    conversation = history.converse(USER, YESTERDAY, *((f"slow {n}", "yes") for n in range(4)))
    for n in range(14):  # 2 + 8 + 4 a second, as measured on Dify
        second = YESTERDAY + 1_000 + (0 if n < 2 else 1 if n < 10 else 2)
        history.say(conversation.id, second, f"quick {n}", "yes")
    for page_rows in range(8, 16):
        [said] = run(machine(history, page_rows))
        assert sorted(said) == sorted([*(f"slow {n}" for n in range(4)), *(f"quick {n}" for n in range(14))])


def test_a_second_with_more_turns_than_a_page_is_told() -> None:
    history = History()
    conversation = history.converse(USER, YESTERDAY, ("before", "yes"))
    for n in range(9):
        history.say(conversation.id, YESTERDAY + 100, f"quick {n}", "yes")
    history.say(conversation.id, YESTERDAY + 200, "after", "yes")
    [chunk] = machine(history).run(YESTERDAY, NOW)
    assert [warning.key for warning in chunk.warnings] == ["extraction_crowded_second"]
    said = [turn.user for turn in chunk.turns]
    assert (said[0], said[-1]) == ("before", "after")
    assert 5 <= len(said) - 2 <= 9  # what Dify shows of the nine


def test_a_running_turn_and_what_follows_are_left_until_it_has_its_answer() -> None:
    history = History()
    conversation = history.converse(USER, NOW - 900, ("first", "yes"))
    running = history.say(conversation.id, NOW - 600, "slow")
    history.say(conversation.id, NOW - 500, "meanwhile", "yes")
    it = machine(history)
    it.now = NOW + 300
    assert run(it) == [["first"]]
    assert it.deferred() == 2
    history.finish(running, "at last")
    it.now += DAY  # the conversation is far below the next run's range, and its end did not move it
    [chunk] = it.run(NOW, NOW + DAY)
    assert [(turn.user, turn.assistant) for turn in chunk.turns] == [("slow", "at last"), ("meanwhile", "yes")]
    assert it.deferred() == 0


def test_a_turn_that_never_gets_an_answer_is_taken_when_it_is_old() -> None:
    history = History()
    conversation = history.converse(USER, YESTERDAY, ("first", "yes"))
    history.say(conversation.id, YESTERDAY + 60, "never answered")
    history.fail(history.say(conversation.id, YESTERDAY + 90, "stopped", "half"))
    [chunk] = machine(history).run(YESTERDAY, NOW)
    assert [(turn.user, turn.assistant) for turn in chunk.turns][1:] == [("never answered", ""), ("stopped", "")]


def test_a_conversation_touched_after_the_range_is_read() -> None:
    history = History()
    conversation = history.converse(USER, YESTERDAY, ("yesterday", "yes"))
    history.say(conversation.id, NOW + 1_800, "today", "yes")
    history.converse(USER, NOW + 1_900, ("begun today", "yes"))
    it = machine(history)
    assert run(it) == [["yesterday"]]
    assert len([one for one in it.requests if one[0] == "messages"]) == 1  # what began later was not asked for


def test_a_message_can_be_a_second_newer_than_its_conversation() -> None:
    history = History()
    made = history.converse(USER, YESTERDAY - 0.4)
    history.say(made.id, YESTERDAY - 0.4, "rounded up", "yes")
    made.updated_at = YESTERDAY - 1.0
    assert made.messages[0].created_at == YESTERDAY
    assert run(machine(history)) == [["rounded up"]]


def test_the_newest_are_selected_and_the_others_taken_up_by_the_next_run() -> None:
    history = History()
    ids = conversations(history, 7)
    it = machine(history)
    assert run(it, conversations_limit=5) == [[f"{n}.0"] for n in range(2, 7)]
    assert it.user.resume is not None
    assert (it.user.resume.conversation_id, it.user.resume.conversations) == (ids[1], 2)
    assert it.deferred() == 2
    for n in range(4):
        history.converse(USER, NOW + 100 + 1_000 * n, (f"next {n}", "yes"))
    it.now += DAY
    said = [[turn.user for turn in chunk.turns] for chunk in it.run(NOW, NOW + DAY, conversations_limit=5)]
    assert said == [["0.0"], ["1.0"], ["next 1"], ["next 2"], ["next 3"]]  # what was owed goes first
    assert it.deferred() == 1
    assert [[turn.user for turn in chunk.turns] for chunk in it.run(NOW, NOW + DAY)] == [["next 0"]]
    assert (it.user.resume, it.deferred()) == (None, 0)


def test_the_oldest_turns_are_taken_up_to_the_limit_of_tokens() -> None:
    history = History()
    history.converse(USER, YESTERDAY, *((f"{n:07d}", "yes") for n in range(30)))
    it = machine(history)
    found: list[str] = []
    for left in (20, 10, 0):
        [said] = run(it, max_tokens=105)
        assert len(said) == 10
        found += said
        assert it.deferred() == left
    assert found == [f"{n:07d}" for n in range(30)]
    assert run(it) == []


def test_a_turn_longer_than_the_limit_is_a_chunk_of_its_own() -> None:
    history = History()
    history.converse(USER, YESTERDAY, ("x" * 500, "yes"), ("short", "yes"), ("y" * 500, "yes"))
    it = machine(history)
    chunks = [chunk for _ in range(3) for chunk in it.run(YESTERDAY, NOW, max_tokens=100)]
    assert [(len(chunk.turns), chunk.oversized) for chunk in chunks] == [(1, True), (1, False), (1, True)]


def test_a_conversation_without_text_moves_its_checkpoint() -> None:
    history = History()
    made = history.converse(USER, YESTERDAY, ("", ""), ("  ", ""))
    it = machine(history)
    [chunk] = it.run(YESTERDAY, NOW)
    assert (chunk.turns, chunk.taken) == ((), 2)
    assert it.checkpoints[made.id].last_processed_message_id == made.messages[1].id
    assert run(it) == []


def test_a_range_that_grows_backward_reads_the_older_part() -> None:
    history = History()
    conversation = history.converse(USER, YESTERDAY - 2 * DAY, ("before", "yes"))
    history.say(conversation.id, YESTERDAY + 5, "yesterday", "yes")
    it = machine(history)
    assert run(it) == [["yesterday"]]
    assert run(it, days=3) == [["before"]]
    assert run(it, days=3) == []


def test_a_conversation_deleted_while_it_is_read_is_told_and_not_waited_for() -> None:
    history = History()
    [gone, kept] = conversations(history, 2, turns=12)
    it = machine(history)
    between(it, {3: lambda: history.delete(gone)})
    chunks = list(it.run(YESTERDAY, NOW))
    assert [chunk.gone for chunk in chunks] == [True, False]
    assert chunks[0].warnings[0].params == {"conversation_id": gone}
    assert (it.deferred(), chunks[1].conversation_id) == (0, kept)


def test_a_further_run_asks_for_the_list_and_its_top_and_for_no_messages() -> None:
    history = History()
    conversations(history, 12, turns=3)
    it = machine(history)
    assert len(run(it)) == 12
    it.requests.clear()
    assert run(it) == []
    assert [path for path, _ in it.requests] == ["conversations"] * (3 + 1)


def test_the_next_day_asks_only_for_what_was_touched() -> None:
    history = History()
    ids = conversations(history, 6)
    it = machine(history)
    run(it)
    history.say(ids[2], NOW + 7_200, "next day", "yes")
    it.requests.clear()
    it.now += DAY
    assert [[turn.user for turn in chunk.turns] for chunk in it.run(NOW, NOW + DAY)] == [["next day"]]
    assert [id_ for path, id_ in it.requests if path == "messages"] == [ids[2]]


def test_the_last_minute_before_midnight_is_left_to_the_next_run() -> None:
    history = History()
    made = history.converse(USER, NOW - 300, ("early", "yes"))
    history.say(made.id, NOW - 20, "late", "yes")
    it = machine(history)
    it.now = NOW + 5
    assert run(it) == [["early"]]
    assert it.user.wanted == Intervals.between(NOW - 55, NOW)
    it.now += DAY
    assert [[turn.user for turn in chunk.turns] for chunk in it.run(NOW, NOW + DAY)] == [["late"]]


def test_an_api_that_repeats_itself_is_not_asked_for_ever() -> None:
    row = Conversation("c", YESTERDAY, NOW)
    listing = Listing(Intervals.between(YESTERDAY, NOW))
    pages = [Page((row,), may_go_on=True)] * 1_000
    with pytest.raises(UnusableAnswer):
        deque(map(listing.feed, pages), maxlen=0)
    reading = Reading(Selected("c", ConversationCheckpoint(), Intervals.between(YESTERDAY, NOW)), NOW, 100)
    page = Page((Turn("a", YESTERDAY + 5, "a", ""), Turn("b", YESTERDAY + 9, "b", "")), may_go_on=True)
    reading.feed(page, [1, 1])
    with pytest.raises(UnusableAnswer):
        reading.feed(page, [])


def test_what_was_deferred_is_selected_though_it_is_not_listed() -> None:
    left = ConversationCheckpoint().after(Intervals.between(0, 10), [], [(5, "m")])
    selection = select({}, {"c": left}, Intervals.between(YESTERDAY, NOW), Intervals(), limit=5)
    assert [(one.conversation_id, one.unread.start) for one in selection.chosen] == [("c", 5)]


def test_a_users_checkpoint_keeps_its_range_while_conversations_are_left() -> None:
    asked = UserCheckpoint().asked(0, 100)
    left = asked.seen_to(asked.settled(1_000), ["c3", "c1"], 1_000)
    assert left.wanted == asked.wanted
    assert left.resume is not None
    assert (left.resume.conversation_id, left.resume.start_at, left.resume.run_at) == ("c3", 0, 1_000)
    assert left.seen_to(left.settled(1_000), [], 1_000) == UserCheckpoint()
