"""The scan's questions asked: what the state machines of ``scan`` want to know, fetched from Dify's API."""

from __future__ import annotations

from dataclasses import replace

from utils.extraction.dify_api import DifyApi
from utils.extraction.history import Conversation, Turn
from utils.extraction.intervals import Intervals
from utils.extraction.scan import Chunk, Listing, Reading, Selected
from utils.extraction.tokens import count_tokens, cut_to_tokens
from utils.messages import Sentence


async def list_conversations(api: DifyApi, user_id: str, wanted: Intervals) -> dict[str, Conversation]:
    """The user's conversations that can hold a message of the seconds ``wanted``, by id.

    Raises:
        ServiceError: Dify cannot be reached, refuses the key or the app, or answers what cannot be used.
    """
    listing = Listing(wanted)
    while (last_id := listing.next_request()) is not None:
        listing.feed(await api.conversations(user_id, last_id))
    return listing.found


async def read_chunk(api: DifyApi, user_id: str, selected: Selected, now: float, max_tokens: int) -> Chunk:
    """The oldest unread turns of a conversation, as many as fit into ``max_tokens``.

    A single turn that is longer is cut there, and the chunk's warnings say so.

    Args:
        api: of the app.
        user_id: whose conversation it is.
        selected: the conversation, and what of it is unread.
        now: epoch second at the beginning of the run.
        max_tokens: of the chunk's texts together.

    Raises:
        ServiceError: as for :func:`list_conversations`.
    """
    reading = Reading(selected, now, max_tokens)
    while (first_id := reading.next_request()) is not None:
        page = await api.messages(user_id, selected.conversation_id, first_id)
        fresh = reading.fresh(page) if page else []
        reading.feed(page, await _tokens_of(fresh))
    chunk = reading.chunk()
    return await _cut(chunk, max_tokens) if chunk.oversized else chunk


async def _tokens_of(turns: list[Turn]) -> list[int]:
    counts = await count_tokens([text for turn in turns for text in (turn.user, turn.assistant)])
    return [user + assistant for user, assistant in zip(counts[::2], counts[1::2], strict=True)]


async def _cut(chunk: Chunk, max_tokens: int) -> Chunk:
    """The chunk of one long turn, with what the user said first and as much of the answer as still fits."""
    (turn,) = chunk.turns
    user = await cut_to_tokens(turn.user, max_tokens)
    [spent] = await count_tokens([user])
    assistant = await cut_to_tokens(turn.assistant, max_tokens - spent)
    params = {"conversation_id": chunk.conversation_id, "message_id": turn.id, "limit": max_tokens}
    return replace(
        chunk,
        turns=(replace(turn, user=user, assistant=assistant),),
        tokens=max_tokens,
        warnings=(*chunk.warnings, Sentence("extraction_turn_cut", params)),
    )
