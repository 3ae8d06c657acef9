"""A conversation that a model cannot read, or answer for, at once: its halves, and their plans as one. Pure.

The model is asked about one part after the other. A later part is shown the memories as earlier ones will leave them,
so what is said again is not added again, and what is contradicted is replaced. The plans become one before anything is
done: to the queue it is one write with one plan, which has the effect of once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from utils.memory.plan import Change, Plan
from utils.memory.prompts import Turn
from utils.memory.related import cosine
from utils.stores.protocol import Row
from utils.text import cost, halved, normalized

# Costs (``text.cost``, four to a token). A part of a thousand tokens fits any model that the rules and memories fit.
_LEAST_COST: Final = 4_000


def halves(turns: Sequence[Turn]) -> tuple[list[Turn], list[Turn]] | None:
    """Two parts of about the same length; None when they would be too short.

    They are cut before a message of the user's, so that an answer stays with what it answers; where no such place is
    near the middle, inside the longest message.
    """
    costs = [cost(turn.text) for turn in turns]
    if sum(costs) < 2 * _LEAST_COST:
        return None
    starts = [index for index, turn in enumerate(turns) if index and turn.role == "user"]
    middle = min(starts, key=lambda index: abs(2 * sum(costs[:index]) - sum(costs)), default=0)
    if min(sum(costs[:middle]), sum(costs[middle:])) >= _LEAST_COST:
        return list(turns[:middle]), list(turns[middle:])
    longest = max(range(len(turns)), key=costs.__getitem__)
    first, second = halved(turns[longest].text)
    return (
        [*turns[:longest], replace(turns[longest], text=first)],
        [replace(turns[longest], text=second), *turns[longest + 1 :]],
    )


def as_planned(found: Sequence[Row], vector: Sequence[float], plan: Plan) -> list[Row]:
    """What a search for ``vector`` that has ``found`` some rows would find if ``plan`` had been carried out."""
    changed = {change.memory_id for change in plan.changes}
    planned = [_row(change, vector) for change in plan.changes if change.text is not None]
    return [*(row for row in found if row.id not in changed), *planned]


def _row(change: Change, vector: Sequence[float]) -> Row:
    payload = {
        "data": change.text,
        "agent_id": change.agent_id,
        "created_at": change.created_at,
        "updated_at": change.changed_at,
        "observed_at": change.said_at,
    }
    return Row(change.memory_id, payload, score=max(cosine(vector, change.vector or ()), 0.0))


def joined(plan: Plan, later: Plan) -> Plan:
    """One plan that does what ``plan`` does, and then ``later``, which was made with :func:`as_planned`."""
    changes = {change.memory_id: change for change in plan.changes}
    texts = {normalized(change.text) for change in plan.changes if change.text is not None}
    for change in later.changes:
        before = changes.get(change.memory_id)
        if before is not None:
            changes[change.memory_id] = _both(before, change)
        elif change.event != "ADD" or normalized(change.text or "") not in texts:
            changes[change.memory_id] = change
    return Plan(
        tuple(change for change in changes.values() if change.event != "DELETE" or change.old_text is not None),
        newer=tuple(dict.fromkeys((*plan.newer, *later.newer))),
        model_calls=plan.model_calls + later.model_calls,
        refused=Counter(plan.refused) + Counter(later.refused),
        entities={**plan.entities, **later.entities},
    )


def _both(before: Change, then: Change) -> Change:
    """Two changes of one memory as one. What is added and deleted is a DELETE without an old text."""
    if then.event in ("NONE", "ADD"):
        return then if before.event == "DELETE" else before
    metadata = {**before.metadata, **then.metadata}
    if before.event == "ADD" and then.event == "UPDATE":
        return replace(before, text=then.text, vector=then.vector, metadata=metadata, relations=then.relations)
    return replace(then, old_text=before.old_text, metadata={} if then.event == "DELETE" else metadata)
