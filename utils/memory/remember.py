"""From what was said to a plan: which memories to add, replace or delete.

The steps, each a function: windows of the text are embedded and searched for the memories they may concern; one model
call extracts the facts and reconciles them with those (SPEC 9); the new texts are embedded; the result is a
:class:`Plan`. Nothing here changes a store. Errors of model, embedder and store leave as ``ServiceError``; nothing is
dropped silently.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from utils.aio.blocking import run_blocking
from utils.memory import prompts
from utils.memory.ask import ask
from utils.memory.observed import observed, time_of_change
from utils.memory.plan import Change, Plan, with_vectors
from utils.memory.ranking import nearest_in_turns
from utils.memory.related import UNRELATED, is_unrelated, shares_words
from utils.memory.requests import MAX_MEMORY_CHARS, Add, Chunk, Delete, Said, Update, WriteRequest
from utils.stores.protocol import Owner, Row
from utils.text import normalized, windows

if TYPE_CHECKING:
    from utils.memory.answers import ProposedChange
    from utils.models.models import Models
    from utils.stores.protocol import Store

_log = logging.getLogger(__name__)

CANDIDATES: Final = 20  # stored memories shown to the model with a message (ARCHITECTURE, decision 3)
_CANDIDATES_PER_WINDOW: Final = 10
_COMPARED: Final = 100  # of the most similar to a short message the words are compared, as in a search
_LONG_CHARS: Final = 20_000  # such a text takes a millisecond; the way to another thread and back a tenth of one
_IDS: Final = uuid.UUID("6f2c1a52-6f0e-4d52-9a37-5d1f3c0f7d10")  # namespace of memory ids derived from a write


async def plan(models: Models, store: Store, write_id: str, owner_id: str, request: WriteRequest) -> Plan:
    """The plan of any write but a delete_all, which has no end to plan for.

    Args:
        models: model and embedder.
        store: where the memories are.
        write_id: the write's id; the ids of added memories derive from it.
        owner_id: the user whose memories the write may touch.
        request: what was accepted.

    Raises:
        ServiceError: a part failed; the write can be planned again.
    """
    if isinstance(request, Add):
        return await _plan_add(models, store, write_id, Owner(owner_id, request.agent_id), request)
    if isinstance(request, Chunk):
        return await _plan_chunk(models, store, write_id, Owner(owner_id, request.agent_id), request)
    if isinstance(request, Update):
        return await _plan_update(models, store, owner_id, request)
    if isinstance(request, Delete):
        return await _plan_delete(store, owner_id, request)
    raise TypeError(f"no plan for {request.kind}")


async def _plan_add(models: Models, store: Store, write_id: str, owner: Owner, request: Add) -> Plan:
    if not request.infer:
        return await _plan_verbatim(models, store, write_id, owner, request)
    candidates = await _candidates(models, store, owner, [text for text in (request.user, request.assistant) if text])
    said = [prompts.Turn("user", request.user, None), prompts.Turn("assistant", request.assistant, None)]
    turns = [turn for turn in said if turn.text]
    return await _checked(models, write_id, request, await _inferred(models, write_id, request, turns, candidates))


async def _plan_chunk(models: Models, store: Store, write_id: str, owner: Owner, request: Chunk) -> Plan:
    turns = [turn for said in request.said for turn in _turns(said)]
    candidates = await _candidates(models, store, owner, [turn.text for turn in turns])
    return await _checked(models, write_id, request, await _inferred(models, write_id, request, turns, candidates))


def _turns(said: Said) -> Iterator[prompts.Turn]:
    at = datetime.fromtimestamp(said.at).astimezone()  # the days are those of this place
    if said.user:
        yield prompts.Turn("user", said.user, at)
    if said.assistant:
        yield prompts.Turn("assistant", said.assistant, at)


async def _candidates(models: Models, store: Store, owner: Owner, texts: Sequence[str]) -> list[Row]:
    """The stored memories most similar to any part of ``texts``, in turns by vector and by words, best first.

    A memory that says nearly the same is the first of one of the two orders, and so is always among them.
    """
    said = "\n".join(texts)
    pieces = await _off_loop(lambda: windows(said), len(said))
    vectors = await models.embed_batch(pieces)
    depth = max(_CANDIDATES_PER_WINDOW, _COMPARED // max(len(pieces), 1))
    return nearest_in_turns(pieces, await store.search_batch(vectors, owner, depth), CANDIDATES)


async def _off_loop[T](work: Callable[[], T], chars: int) -> T:
    """What ``work`` on a text of ``chars`` characters returns. A long one must not hold up the loop, and all users."""
    return await run_blocking(work) if chars > _LONG_CHARS else work()


async def _inferred(
    models: Models, write_id: str, request: Add | Chunk, turns: Sequence[prompts.Turn], candidates: Sequence[Row]
) -> Plan:
    """Ask the model once what to remember of the messages."""
    now = datetime.now(UTC)
    offered = {str(index): row for index, row in enumerate(candidates)}
    shown = prompts.offer([(row.text, _date_shown(row, request.said_at, now)) for row in candidates])
    chars = sum(len(turn.text) for turn in turns)
    messages = await _off_loop(lambda: _asking(request, turns, shown), chars)
    answer = await ask(await models.chat_model(), messages, turns, shown, with_types=isinstance(request, Chunk))
    cut_ids = {memory.short_id for memory in shown if memory.cut}
    reconciled = reconcile(answer.changes, offered, request, write_id, now, cut_ids)
    return replace(reconciled, model_calls=answer.calls, refused=answer.refused)


def _asking(
    request: Add | Chunk, turns: Sequence[prompts.Turn], shown: Sequence[prompts.Offered]
) -> list[dict[str, str]]:
    said_at = datetime.fromisoformat(request.said_at)
    if isinstance(request, Chunk):
        return prompts.conversation(turns, shown, said_at.astimezone(), None)
    return prompts.added_message(turns, shown, said_at, request.instructions)


def _date_shown(row: Row, said_at: str, now: datetime) -> str | None:
    """The date the model is shown of a memory; of one that is newer than the messages it says so."""
    time = observed(row)
    if time is None:
        return None
    if time_of_change(row, said_at, now) is None:
        return f"{time.isoformat(timespec='minutes')}, later than the messages"
    return time.date().isoformat()


def reconcile(
    answered: Iterable[ProposedChange],
    offered: dict[str, Row],
    request: Add | Chunk,
    write_id: str,
    now: datetime,
    cut_ids: Collection[str] = (),
) -> Plan:
    """The model's answer as a plan for real memories, still without vectors.

    A text that is stored already changes nothing, and nothing changes a memory that holds what was said later.

    Args:
        answered: cleaned and validated (``answers.read``).
        offered: the memories the model saw, by the short id it saw.
        request: the write, for its time, metadata and agent.
        write_id: the write's id; the ids of added memories derive from it.
        now: aware; see ``time_of_change``.
        cut_ids: short ids of the memories the model saw the beginning of. A new text for one of them is added beside
            it: as a replacement it would drop what the model has not seen.
    """
    changes: list[Change] = []
    newer: list[str] = []
    stored = {normalized(row.text) for row in offered.values()}
    for answer in answered:
        row = offered.get(answer.memory or "")
        if row is None if answer.event == "DELETE" else normalized(answer.text) in stored:
            continue
        time = request.said_at if row is None else time_of_change(row, request.said_at, now)
        if row is not None and time is None:
            newer.append(row.id)
        elif row is not None and answer.event == "DELETE":
            changes.append(deletion(row, request.at, time))
        elif row is not None and answer.memory not in cut_ids:
            changes.append(_update(row, answer.text, request, time, request.metadata_of(answer)))
        else:
            changes.append(_add(_new_id(write_id, answer.text), answer.text, request, request.metadata_of(answer)))
    return Plan(tuple(changes), newer=tuple(newer))


async def _plan_verbatim(models: Models, store: Store, write_id: str, owner: Owner, request: Add) -> Plan:
    """Both texts as they are, with the role mem0 gives them. One that is stored already with this metadata is not
    repeated: ``stored_already`` of the plan has the memory's id by the text's role. Each text is embedded once: the
    vector it is stored with finds the same text.
    """
    said = {role: text for role, text in (("user", request.user), ("assistant", request.assistant)) if text}
    vectors = await models.embed_batch([text[:MAX_MEMORY_CHARS] for text in said.values()])
    found = await store.search_batch(vectors, owner, _CANDIDATES_PER_WINDOW)
    changes: list[Change] = []
    stored_already: dict[str, str] = {}
    for (role, text), vector, rows in zip(said.items(), vectors, found, strict=True):
        metadata = {**request.metadata, "role": role}
        same = (
            row.id for row in rows if row.text == text and {**row.metadata, "role": row.payload.get("role")} == metadata
        )
        known = next(same, None)
        if known is not None:
            stored_already[role] = known
        else:
            added = _add(_new_id(write_id, f"{role}: {text}"), text, request, metadata)
            changes.append(replace(added, vector=tuple(vector)))
    return Plan(tuple(changes), stored_already)


def _new_id(write_id: str, text: str) -> str:
    """The id of a memory that a write adds: whenever the write is planned anew the same for a text, and another for
    another. A plan that was applied in part may be followed by a new one, and an id that is there is not added again.
    """
    return str(uuid.uuid5(_IDS, f"{write_id}/{text}"))


def _add(memory_id: str, text: str, request: Add | Chunk, metadata: Mapping[str, Any]) -> Change:
    # An UPDATE that is added after all came without a type, and every memory of a conversation has one (SPEC 5).
    typed = {"memory_subtype": "semantic", **metadata} if isinstance(request, Chunk) else dict(metadata)
    return Change(
        "ADD",
        memory_id,
        text[:MAX_MEMORY_CHARS],
        None,
        typed,
        request.at,
        request.at,
        request.agent_id,
        observed_at=_unless_same(request.said_at, request.at),
    )


def _update(
    row: Row, text: str, request: Add | Chunk | Update, said_at: str | None, metadata: Mapping[str, Any]
) -> Change:
    created_at = row.created_at or request.at
    return Change(
        "UPDATE",
        row.id,
        text[:MAX_MEMORY_CHARS],
        row.text,
        dict(metadata),
        created_at,
        request.at,
        row.agent_id,
        observed_at=_unless_same(said_at, request.at),
    )


def deletion(row: Row, at: str, said_at: str | None = None) -> Change:
    """The change that deletes ``row`` at the ISO 8601 time ``at``, for what was said at ``said_at`` if not then."""
    observed_at = _unless_same(said_at, at)
    return Change("DELETE", row.id, None, row.text, {}, row.created_at or at, at, row.agent_id, observed_at=observed_at)


def _unless_same(said_at: str | None, changed_at: str) -> str | None:
    return None if said_at == changed_at else said_at


async def _plan_update(models: Models, store: Store, owner_id: str, request: Update) -> Plan:
    row = await store.get(request.memory_id, to_change=True)
    if row is None or row.user_id != owner_id:
        return Plan()
    time = time_of_change(row, request.said_at, datetime.now(UTC))
    if time is None:
        return Plan(newer=(row.id,))
    return await _embedded(models, Plan((_update(row, request.text, request, time, request.metadata),)))


async def _plan_delete(store: Store, owner_id: str, request: Delete) -> Plan:
    row = await store.get(request.memory_id, to_change=True)
    if row is None or row.user_id != owner_id:
        return Plan()
    time = time_of_change(row, request.said_at, datetime.now(UTC))
    return Plan(newer=(row.id,)) if time is None else Plan((deletion(row, request.at, time),))


async def _checked(models: Models, write_id: str, request: Add | Chunk, plan: Plan) -> Plan:
    """The model's plan with vectors. An UPDATE with nothing of the memory it would replace becomes an ADD beside it."""
    doubtful = [change for change in plan.changes if change.event == "UPDATE" and not _keeps_words(change)]
    if not doubtful:
        return await _embedded(models, plan)
    texts = [change.text for change in plan.changes if change.text is not None]
    old_texts = [change.old_text or "" for change in doubtful]
    vectors = iter(await models.embed_batch([*texts, *old_texts, *(text for row in UNRELATED for text in row)]))
    changes = with_vectors(plan.changes, list(islice(vectors, len(texts))))
    old_vectors = dict(zip((change.memory_id for change in doubtful), islice(vectors, len(doubtful)), strict=True))
    unrelated = [list(islice(vectors, len(row))) for row in UNRELATED]

    def checked(change: Change) -> Change:
        old = old_vectors.get(change.memory_id)
        if old is None or change.vector is None or not is_unrelated(change.vector, old, unrelated):
            return change
        _log.warning("a new text has nothing to do with memory %s; it is added beside it", change.memory_id)
        text = change.text or ""
        return replace(_add(_new_id(write_id, text), text, request, change.metadata), vector=change.vector)

    return replace(plan, changes=tuple(map(checked, changes)))


def _keeps_words(change: Change) -> bool:
    return shares_words(change.old_text or "", change.text or "")


async def _embedded(models: Models, plan: Plan) -> Plan:
    texts = [change.text for change in plan.changes if change.text is not None]
    return replace(plan, changes=with_vectors(plan.changes, await models.embed_batch(texts)))
