"""From what was said to a plan: which memories to add, replace or delete.

The steps, each a function: windows of the text are embedded and searched for the memories they may concern; one model
call extracts the facts and reconciles them with those (SPEC 9); the new texts are embedded; the result is a
:class:`Plan`. Nothing here changes a store. Errors of model, embedder and store leave as ``ServiceError``; nothing is
dropped silently.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Final

from utils.aio.blocking import run_blocking
from utils.errors import ServiceRejected
from utils.memory import prompts
from utils.memory.ask import ask
from utils.memory.observed import observed, time_of_change
from utils.memory.parts import as_planned, halves, joined
from utils.memory.plan import Change, Plan, to_embed, with_vectors
from utils.memory.ranking import nearest_in_turns
from utils.memory.reconcile import Candidate, addition, confirmation, deletion, new_id, reconcile, replacement
from utils.memory.related import UNRELATED, is_unrelated, repeated, shares_words
from utils.memory.requests import MAX_MEMORY_CHARS, Add, Chunk, Delete, Said, Update, WriteRequest
from utils.models.sdk_errors import may_be_too_large
from utils.stores.protocol import Owner, Row
from utils.text import windows

if TYPE_CHECKING:
    from utils.memory.answers import ProposedChange
    from utils.models.models import Models
    from utils.stores.protocol import Store

_log = logging.getLogger(__name__)

CANDIDATES: Final = 20  # stored memories shown to the model with a message (ARCHITECTURE, decision 3)
_CANDIDATES_PER_WINDOW: Final = 10
_COMPARED: Final = 100  # of the most similar to a short message the words are compared, as in a search
# Changes in an answer that breaks off, from which on there may be more behind them. A model that runs away repeats one
# or two: asked again it would do so again.
_MUCH: Final = 5
_NOTHING: Final = Plan()
_LONG_CHARS: Final = 20_000  # such a text takes a millisecond; the way to another thread and back a tenth of one


async def plan(
    models: Models, store: Store, write_id: str, owner_id: str, request: WriteRequest, *, with_relations: bool = False
) -> Plan:
    """The plan of any write but a delete_all, which has no end to plan for.

    Args:
        models: model and embedder.
        store: where the memories are.
        write_id: the write's id; the ids of added memories derive from it.
        owner_id: the user whose memories the write may touch.
        request: what was accepted.
        with_relations: ask the model for relations, too; there is a graph to keep them.

    Raises:
        ServiceError: a part failed; the write can be planned again.
    """
    if isinstance(request, Add):
        return await _plan_add(models, store, write_id, Owner(owner_id, request.agent_id), request, with_relations)
    if isinstance(request, Chunk):
        return await _plan_chunk(models, store, write_id, Owner(owner_id, request.agent_id), request, with_relations)
    if isinstance(request, Update):
        return await _plan_update(models, store, owner_id, request)
    if isinstance(request, Delete):
        return await _plan_delete(store, owner_id, request)
    raise TypeError(f"no plan for {request.kind}")


async def _plan_add(
    models: Models, store: Store, write_id: str, owner: Owner, request: Add, with_relations: bool
) -> Plan:
    if not request.infer:
        return await _plan_verbatim(models, store, write_id, owner, request)
    candidates = await _candidates(models, store, owner, [text for text in (request.user, request.assistant) if text])
    said = [prompts.Turn("user", request.user, None), prompts.Turn("assistant", request.assistant, None)]
    turns = [turn for turn in said if turn.text]
    inferred, _ = await _inferred(models, write_id, request, turns, candidates, with_relations)
    return await _embedded(models, inferred)


async def _plan_chunk(
    models: Models, store: Store, write_id: str, owner: Owner, request: Chunk, with_relations: bool
) -> Plan:
    """One model call; where the model cannot take the messages at once, or its answer breaks off, one for each half of
    them, and so on.
    """
    plan, waiting = Plan(), [[turn for said in request.said for turn in _turns(said)]]
    while waiting:
        part = waiting.pop(0)
        rows = await _candidates(models, store, owner, [turn.text for turn in part], plan)
        try:
            found, cut = await _inferred(models, write_id, request, part, rows, with_relations)
            in_two = await _halves(part) if cut else None
        except ServiceRejected as exc:
            in_two = await _halves(part) if may_be_too_large(exc) else None
            if in_two is None:
                raise
            found = Plan()
            _log.warning("the model refuses what was said (%s); it is asked about each half of it", exc.reason)
        if in_two is None:
            plan = joined(plan, await _embedded(models, found))
        else:
            plan = replace(plan, model_calls=plan.model_calls + found.model_calls)
            waiting[:0] = in_two
    return plan


async def _halves(part: Sequence[prompts.Turn]) -> tuple[list[prompts.Turn], list[prompts.Turn]] | None:
    return await _off_loop(lambda: halves(part), sum(len(turn.text) for turn in part))


def _turns(said: Said) -> Iterator[prompts.Turn]:
    at = datetime.fromtimestamp(said.at).astimezone()  # the days are those of this place
    if said.user:
        yield prompts.Turn("user", said.user, at)
    if said.assistant:
        yield prompts.Turn("assistant", said.assistant, at)


async def _candidates(
    models: Models, store: Store, owner: Owner, texts: Sequence[str], earlier: Plan = _NOTHING
) -> list[Row]:
    """The stored memories most similar to any part of ``texts``, in turns by vector and by words, best first; as they
    will be when the plan ``earlier`` is carried out.

    A memory that says nearly the same is the first of one of the two orders, and so is always among them.
    """
    said = "\n".join(texts)
    pieces = await _off_loop(lambda: windows(said), len(said))
    vectors = await models.embed_batch(pieces)
    depth = max(_CANDIDATES_PER_WINDOW, _COMPARED // max(len(pieces), 1))
    found = await store.search_batch(vectors, owner, depth)
    planned = [as_planned(rows, vector, earlier) for rows, vector in zip(found, vectors, strict=True)]
    return nearest_in_turns(pieces, planned, CANDIDATES)


async def _off_loop[T](work: Callable[[], T], chars: int) -> T:
    """What ``work`` on a text of ``chars`` characters returns. A long one must not hold up the loop, and all users."""
    return await run_blocking(work) if chars > _LONG_CHARS else work()


async def _inferred(
    models: Models,
    write_id: str,
    request: Add | Chunk,
    turns: Sequence[prompts.Turn],
    rows: Sequence[Row],
    with_relations: bool,
) -> tuple[Plan, bool]:
    """Ask the model once what to remember of the messages; whether its answer breaks off behind much of use."""
    now = datetime.now(UTC)
    shown = prompts.offer([(row.text, _date_shown(row, request.said_at, now)) for row in rows])
    offered = {memory.short_id: row for memory, row in zip(shown, rows, strict=True)}
    chars = sum(len(turn.text) for turn in turns)
    messages = await _off_loop(lambda: _asking(request, turns, shown, with_relations), chars)
    model, with_types = await models.chat_model(), isinstance(request, Chunk)
    answer = await ask(model, messages, turns, shown, with_types=with_types, with_relations=with_relations)
    unrelated = await _unrelated(models, answer.changes, offered)
    memories = {key: row.text for key, row in offered.items()}
    users = [turn.text for turn in turns if turn.role == "user"]
    said_again = await _off_loop(lambda: repeated(memories, users), chars)
    candidates = {
        key: Candidate(row, cut=memory.cut, unrelated=key in unrelated, repeated=key in said_again)
        for memory, (key, row) in zip(shown, offered.items(), strict=True)
    }
    reconciled = reconcile(answer.changes, candidates, request, write_id, now)
    cut = answer.cut and len(answer.changes) >= _MUCH
    return replace(reconciled, model_calls=answer.calls, refused=answer.refused), cut


async def _unrelated(models: Models, answered: Sequence[ProposedChange], offered: Mapping[str, Row]) -> Collection[str]:
    """The short ids of memories that the model would replace by a text that has nothing to do with them."""
    updates = ((change.memory or "", change.text) for change in answered if change.event == "UPDATE")
    pairs = ((short_id, new, offered[short_id].text) for short_id, new in updates if short_id in offered)
    doubtful = [(short_id, new, old) for short_id, new, old in pairs if not shares_words(old, new)]
    if not doubtful:
        return ()
    texts = [text for _, new, old in doubtful for text in (new, old)]
    vectors = iter(await models.embed_batch([*texts, *(text for row in UNRELATED for text in row)]))
    compared = [(short_id, next(vectors), next(vectors)) for short_id, _, _ in doubtful]
    unrelated = [list(islice(vectors, len(row))) for row in UNRELATED]
    return {short_id for short_id, new, old in compared if is_unrelated(new, old, unrelated)}


def _asking(
    request: Add | Chunk, turns: Sequence[prompts.Turn], shown: Sequence[prompts.Offered], with_relations: bool
) -> list[dict[str, str]]:
    said_at = datetime.fromisoformat(request.said_at)
    if isinstance(request, Chunk):
        return prompts.conversation(turns, shown, said_at.astimezone(), None, with_relations)
    return prompts.added_message(turns, shown, said_at, request.instructions, with_relations)


def _date_shown(row: Row, said_at: str, now: datetime) -> str | None:
    """The date the model is shown of a memory; of one that is newer than the messages it says so."""
    time = observed(row)
    if time is None:
        return None
    if time_of_change(row, said_at, now) is None:
        return f"{time.isoformat(timespec='minutes')}, later than the messages"
    return time.date().isoformat()


async def _plan_verbatim(models: Models, store: Store, write_id: str, owner: Owner, request: Add) -> Plan:
    """Both texts as they are, with the role mem0 gives them. One that is stored already with this metadata is not
    repeated: ``stored_already`` of the plan has the memory's id by the text's role. Each text is embedded once: the
    vector it is stored with finds the same text.
    """
    said = {role: text for role, text in (("user", request.user), ("assistant", request.assistant)) if text}
    vectors = await models.embed_batch([text[:MAX_MEMORY_CHARS] for text in said.values()])
    found = await store.search_batch(vectors, owner, _CANDIDATES_PER_WINDOW)
    changes: list[Change | None] = []
    stored_already: dict[str, str] = {}
    for (role, text), vector, rows in zip(said.items(), vectors, found, strict=True):
        metadata = {**request.metadata, "role": role}
        same = (
            row for row in rows if row.text == text and {**row.metadata, "role": row.payload.get("role")} == metadata
        )
        known = next(same, None)
        if known is not None:
            stored_already[role] = known.id
            change = confirmation(known, request)
        else:
            change = addition(new_id(write_id, f"{role}: {text}"), text, request, metadata)
        changes.append(change and replace(change, vector=tuple(vector)))
    return Plan(tuple(change for change in changes if change is not None), stored_already)


async def _plan_update(models: Models, store: Store, owner_id: str, request: Update) -> Plan:
    row = await store.get(request.memory_id, to_change=True)
    if row is None or row.user_id != owner_id:
        return Plan()
    time = time_of_change(row, request.said_at, datetime.now(UTC))
    if time is None:
        return Plan(newer=(row.id,))
    return await _embedded(models, Plan((replacement(row, request.text, request, time, request.metadata),)))


async def _plan_delete(store: Store, owner_id: str, request: Delete) -> Plan:
    row = await store.get(request.memory_id, to_change=True)
    if row is None or row.user_id != owner_id:
        return Plan()
    time = time_of_change(row, request.said_at, datetime.now(UTC))
    return Plan(newer=(row.id,)) if time is None else Plan((deletion(row, request.at, time),))


async def _embedded(models: Models, plan: Plan) -> Plan:
    return with_vectors(plan, await models.embed_batch(to_embed(plan)))
