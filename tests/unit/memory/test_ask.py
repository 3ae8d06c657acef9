"""How often the model is asked, and which of its answers counts."""

from __future__ import annotations

import asyncio
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from utils.aio.lanes import Lane
from utils.errors import UnusableAnswer
from utils.memory.answers import ModelAnswer
from utils.memory.ask import ask
from utils.memory.prompts import Offered, Turn

TURNS = [Turn("user", "I like tea and I have a dog."), Turn("assistant", "How about a walk?")]
OFFERED = [Offered("0", "Lives in Bonn")]
TEA = {"event": "ADD", "text": "likes tea"}
DOG = {"event": "ADD", "text": "has a dog"}


class Model:
    """Answers with what it was given, in order, and counts."""

    def __init__(self, *answers: str) -> None:
        self.left = list(answers)
        self.asked: list[str] = []

    def generate(self, messages: list[dict[str, str]]) -> str:
        self.asked.append(messages[-1]["content"])
        return self.left.pop(0)


def answer_of(model: Model) -> ModelAnswer:
    return asyncio.run(_asked(model))


async def _asked(model: Model) -> ModelAnswer:
    lane = Lane("writes", 1)
    try:
        async with lane.enter():
            return await ask(model, [{"role": "user", "content": "?"}], TURNS, OFFERED)  # type: ignore[arg-type]
    finally:
        lane.close()


def texts(answer: ModelAnswer) -> list[str]:
    return [change.text for change in answer.changes]


def whole(*entries: object) -> str:
    return json.dumps({"memory": list(entries)})


def cut(*entries: object) -> str:
    return whole(*entries, {"event": "ADD", "text": "runs and runs and runs"})[:-7]


def faulty(*entries: object) -> str:
    return whole(*entries, {"event": "MERGE", "text": "something"})


def test_an_answer_that_breaks_off_is_used_and_not_asked_for_again() -> None:
    model = Model(cut(TEA))
    assert texts(answer_of(model)) == ["likes tea"]
    assert len(model.asked) == 1


def test_an_answer_of_which_nothing_is_left_is_asked_for_once_more() -> None:
    model = Model(cut(), whole(DOG))
    assert texts(answer_of(model)) == ["has a dog"]
    assert "Your previous answer could not be used" in model.asked[1]
    assert texts(answer_of(Model(cut({"event": "ADD", "text": "<new fact>"}), whole(DOG)))) == ["has a dog"]


@pytest.mark.parametrize(
    ("second", "kept"),
    [
        ("Sorry!", ["likes tea", "has a dog"]),
        (cut(TEA), ["likes tea", "has a dog"]),
        (faulty(), ["likes tea", "has a dog"]),
        (whole(TEA), ["likes tea"]),
        (whole(), []),
    ],
)
def test_a_first_answer_with_a_fault_counts_when_the_second_is_worse(second: str, kept: list[str]) -> None:
    assert texts(answer_of(Model(faulty(TEA, DOG), second))) == kept


@pytest.mark.parametrize("first", ["Sorry!", cut(), faulty()])
def test_two_answers_of_which_nothing_can_be_used_are_an_error(first: str) -> None:
    with pytest.raises(UnusableAnswer):
        answer_of(Model(first, "Sorry!"))


def test_a_refused_text_is_counted_and_no_reason_to_ask_again() -> None:
    model = Model(
        whole(
            TEA,
            {"event": "ADD", "text": "How about a walk"},
            {"event": "ADD", "text": "<new fact>"},
            {"event": "UPDATE", "id": "7", "text": "has a cat"},
            {"event": "UPDATE", "id": "0", "text": "user: moved to Kiel"},
        )
    )
    answer = answer_of(model)
    assert texts(answer) == ["likes tea"]
    assert answer.refused == {"unknown_id": 1, "assistant_words": 1, "placeholder": 1, "role_label": 1}
    assert len(model.asked) == 1


entries = st.sampled_from([TEA, DOG, {"event": "ADD", "text": "<new fact>"}, {"event": "DELETE", "id": "0"}])


@given(
    st.lists(entries, min_size=1, max_size=3),
    st.sampled_from([whole, cut, faulty]),
    st.sampled_from([whole, cut, faulty]),
)
def test_the_model_is_asked_at_most_twice_and_no_usable_change_is_lost(
    first: list[object], one: object, two: object
) -> None:
    model = Model(one(*first), two(*first))  # type: ignore[operator]
    answer = answer_of(model)
    assert len(model.asked) <= 2
    wanted = {str(entry.get("text")) for entry in first if isinstance(entry, dict)} & {"likes tea", "has a dog"}
    assert {text for text in texts(answer) if text} == wanted
