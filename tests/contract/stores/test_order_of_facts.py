"""Facts that arrive in any order end with what was said last, on every store, also where it was said before.

The model is played by a function: it updates the memory about a subject where it is shown one, without a look at
dates, as small models do.
"""

from __future__ import annotations

import random
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from tests.contract.stores.conftest import in_lane
from tests.contract.stores.rows import QUERY, someone
from utils.memory.answers import ProposedChange
from utils.memory.plan import Plan, apply, transaction, with_vectors
from utils.memory.reconcile import Candidate, reconcile
from utils.memory.requests import Add
from utils.stores.protocol import Owner, Store, TransactionalStore

pytestmark = pytest.mark.asyncio(loop_scope="session")
START = datetime(2026, 1, 1, tzinfo=UTC)
SUBJECTS = ("home", "job")


@dataclass(frozen=True, slots=True)
class Said:
    """A fact, and the minute it was said in; its write arrives when it may. Of each subject the same is said again
    every other minute.
    """

    subject: str
    minute: int

    @property
    def text(self) -> str:
        return f"{self.subject} is number {self.minute % 2}"


async def remembered(store: Store, owner: Owner, said: Said) -> Plan:
    """Carry out the write of one fact: what it would have changed, and what it did."""
    rows, _ = await in_lane(store.page(owner, 100))
    offered = {str(number): Candidate(row) for number, row in enumerate(rows)}
    about = next((short_id for short_id, one in offered.items() if one.row.text.startswith(said.subject)), None)
    answer = ProposedChange("ADD" if about is None else "UPDATE", said.text, about)
    request = Add(at=(START + timedelta(minutes=said.minute)).isoformat(), user=said.text)
    plan = reconcile([answer], offered, request, str(uuid.uuid4()), datetime.now(UTC))
    plan = with_vectors(plan, [QUERY] * len(plan.changes))
    if isinstance(store, TransactionalStore):
        send = await transaction(plan, store, owner)
        with psycopg.connect(store.conninfo) as conn:
            send(conn.cursor())
    else:
        await in_lane(apply(plan, store, owner, lambda: None))
    return plan


@pytest.mark.parametrize("seed", range(3))
async def test_facts_in_any_order_end_with_the_newest(store: Store, seed: int) -> None:
    lots = random.Random(seed)
    owner = Owner(someone())
    facts = [Said(subject, minute) for subject in SUBJECTS for minute in range(4)]
    lots.shuffle(facts)
    latest: dict[str, int] = {}
    for said in facts:
        plan = await remembered(store, owner, said)
        so_far = latest.get(said.subject, said.minute)
        assert bool(plan.newer) == (said.minute < so_far and said.minute % 2 != so_far % 2)
        latest[said.subject] = max(said.minute, latest.get(said.subject, 0))
    rows, _ = await in_lane(store.page(owner, 100))
    assert {row.text for row in rows} == {Said(subject, 3).text for subject in SUBJECTS}
