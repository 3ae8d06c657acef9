"""What the tools of extraction answer, when there is very much of it."""

from __future__ import annotations

import json

import pytest

from utils import answer_size, task_answers
from utils.extraction import report
from utils.messages import LANGUAGES, Sentence
from utils.state.checkpoints import Checkpoint
from utils.state.tasks import Counts, UserPart


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_user_with_hundreds_of_errors_does_not_hide_the_report(language: str) -> None:
    conversation = {"conversation_id": "0f0e4d52-6f2c-1a52-9a37-5d1f3c0f7d10"}
    warning = Sentence("extraction_chunk_pending", conversation).to_json()
    refused = Sentence("service_unavailable", {"part": "dify_api", "reason": "ReadTimeout"}).to_json()
    notes = {"errors": [{"type": "x", "message": refused, **conversation}] * 500, "warnings": [warning] * 500}
    parts = [UserPart(place, f"user-{place}", "failed", None, None, notes, Counts()) for place in range(2)]
    users = report._fitting([report._user(part, language) for part in parts])
    assert users and users[0]["errors"] and users[0]["warnings"]
    assert len(json.dumps(users, ensure_ascii=False).encode()) <= report._MOST_BYTES + 2


def test_a_checkpoint_of_very_many_conversations_fits_an_answer() -> None:
    """Dify's daemon kills a plugin that prints a line of 5 MiB; counts are never cut (SPEC 3.1)."""
    second, message_id = 1_700_000_000, "0f0e4d52-6f2c-1a52-9a37-5d1f3c0f7d10"
    state = {"v": 1, "done": [[second, second + 86_400]], "pending": [], "seen": [], "deferred_messages": 0}
    conversations = {
        f"0f0e4d52-6f2c-1a52-9a37-{number:012}": {**state, "last": [second + number, message_id]}
        for number in range(20_000)
    }
    found = Checkpoint("alice", "app", {"v": 1, "wanted": [], "resume": None}, conversations, 1.0)
    answer = answer_size.fit(task_answers.checkpoint_answer(found))
    assert 2 * (answer_size._size(answer.results) + answer_size._size(answer.extra)) < answer_size.BUDGET_BYTES
    assert answer.results["conversations_count"] == 20_000
    assert answer.results["checkpoint"] == answer.extra["checkpoint"]
    assert f"0f0e4d52-6f2c-1a52-9a37-{19_999:012}" in answer.results["checkpoint"]["conversations"]
