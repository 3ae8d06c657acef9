"""A user's history read through the client, from the stand-in over HTTP, with real token counts."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Final

import pytest

from playground.dify_app import History, StandInDify
from utils.extraction.checkpoint import ConversationCheckpoint
from utils.extraction.dify_api import DifyApi
from utils.extraction.intervals import NOTHING, Intervals
from utils.extraction.reader import list_conversations, read_chunk
from utils.extraction.scan import Selected, select

DAY: Final = 86_400
NOW: Final = 20 * DAY
RANGE: Final = Intervals.between(NOW - DAY, NOW)


@pytest.fixture
def dify() -> Iterator[StandInDify]:
    with StandInDify() as server:
        yield server


@pytest.fixture
async def api(dify: StandInDify) -> AsyncIterator[DifyApi]:
    async with DifyApi(dify.base_url, "app-stand-in") as client:
        yield client


async def test_a_users_conversations_over_several_pages(dify: StandInDify, api: DifyApi) -> None:
    for n in range(250):
        dify.history.converse("ana", NOW - DAY + n * 300, (f"said {n}", "yes"))
    dify.history.converse("ben", NOW - DAY, ("another's", "yes"))
    listed = await list_conversations(api, "ana", RANGE)
    selection = select(listed, {}, RANGE, NOTHING, limit=10)
    chunks = [await read_chunk(api, "ana", one, NOW, 1_000) for one in selection.chosen]
    assert [chunk.turns[0].user for chunk in chunks] == [f"said {n}" for n in range(240, 250)]
    assert (len(listed), len(selection.left)) == (250, 240)
    assert dify.control.counts["conversations"] == 3 + 1
    assert dify.control.counts["messages"] == 10


async def test_a_conversation_of_ten_thousand_turns_is_read_in_chunks(dify: StandInDify, api: DifyApi) -> None:
    turns = ((f"message number {n}", "yes") for n in range(10_000))
    made = dify.history.converse("ana", NOW - DAY, *turns, every_s=5.0)
    checkpoint = ConversationCheckpoint()
    chunk = await read_chunk(api, "ana", Selected(made.id, checkpoint, RANGE), NOW, 5_000)
    assert 500 < len(chunk.turns) < 1_250
    assert chunk.turns[0].user == "message number 0"
    assert chunk.tokens <= 5_000
    assert chunk.checkpoint.deferred_messages == 10_000 - len(chunk.turns)
    again = await read_chunk(api, "ana", Selected(made.id, chunk.checkpoint, chunk.checkpoint.pending), NOW, 5_000)
    assert again.turns[0].user == f"message number {len(chunk.turns)}"


async def test_a_turn_longer_than_the_limit_is_cut_with_a_note(dify: StandInDify, api: DifyApi) -> None:
    made = dify.history.converse("ana", NOW - DAY, ("tea " * 600, "coffee " * 600))
    chunk = await read_chunk(api, "ana", Selected(made.id, ConversationCheckpoint(), RANGE), NOW, 1_000)
    [turn] = chunk.turns
    assert turn.user == ("tea " * 600).strip()
    assert 350 < turn.assistant.count("coffee") < 450
    assert [warning.key for warning in chunk.warnings] == ["extraction_turn_cut"]
    assert turn.id == made.messages[0].id
    assert chunk.checkpoint.last_processed_message_id == turn.id


async def test_faults_between_pages_lose_nothing(dify: StandInDify) -> None:
    async def no_pause(_: float) -> None:
        return None

    made = dify.history.converse("ana", NOW - DAY, *((f"said {n}", "yes") for n in range(450)))
    dify.control.fail_next("", "500", "reset", "", "429", "garbage", "", "reset")
    async with DifyApi(dify.base_url, "app-stand-in", pause=no_pause) as api:
        chunk = await read_chunk(api, "ana", Selected(made.id, ConversationCheckpoint(), RANGE), NOW, 10**6)
    assert [turn.user for turn in chunk.turns] == [f"said {n}" for n in range(450)]


def test_a_history_is_made_the_same_each_time() -> None:
    ids = [History("x").converse("ana", NOW, ("a", "b")).id for _ in range(2)]
    assert ids[0] == ids[1]
