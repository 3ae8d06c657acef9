"""Recalled memories: the block they are put into a prompt as, and its way out of a message, without anything else."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from utils.memory.recalled import CLOSING, OPENING, text_for_llm, without_recalled
from utils.stores.protocol import Row
from utils.text import cost

BLOCK = f"{OPENING}\nLives in Porto\n{CLOSING}"
# Text without angle brackets holds no mark, and none arises where two such texts meet.
PLAIN = st.text(st.characters(codec="utf-8", exclude_characters="<>"), max_size=40)
MARKS = st.sampled_from([OPENING, CLOSING, OPENING.upper(), "< recalled_memories >", "\n", " ", "tea", "<", ">"])


@pytest.mark.parametrize(
    ("message", "left"),
    [
        (BLOCK, ""),
        (f" \n{BLOCK}\r\n", ""),
        (f"{BLOCK}\nI like tea", "I like tea"),
        (f"I like tea\n{BLOCK}\nand cake", "I like tea\nand cake"),
        (f"I like tea\r\n {BLOCK} \r\nand cake".replace("\n", "\r\n").replace("\r\r", "\r"), "I like tea\r\nand cake"),
        (f"{BLOCK} What do I like?", " What do I like?"),
        (f"You know: {BLOCK}\n\nWhat do I like?", "You know: \n\nWhat do I like?"),
        (BLOCK.upper() + "\nI like tea", "I like tea"),
        (f"\t{OPENING}  \nLives in Porto\n   {CLOSING}\t\nI like tea", "I like tea"),
        (f"{BLOCK}\nI like tea\n{BLOCK}\nI like cake", "I like tea\nI like cake"),
        (f"{BLOCK}\n{BLOCK}\nI like tea", "I like tea"),
        (f"{OPENING}\nA\n{BLOCK}\nB\n{CLOSING}\nI like tea", "I like tea"),
        (f"I like tea\n{OPENING}\nLives in Por", "I like tea\n"),
        (f"{OPENING}\nLives in\n{BLOCK}\nI like tea", "I like tea"),
        (f"I like tea\n{CLOSING}\nand cake", "I like tea\nand cake"),
        (f"What is {OPENING} for? I like tea", f"What is {OPENING} for? I like tea"),
        ("I like <b>tea</b>", "I like <b>tea</b>"),
        ("  I like tea\n", "  I like tea\n"),
    ],
)
def test_what_is_left_of_a_message(message: str, left: str) -> None:
    assert without_recalled(message) == left


@given(PLAIN, PLAIN, PLAIN)
def test_what_stands_around_a_block_stays_and_what_stands_in_it_goes(before: str, inside: str, after: str) -> None:
    left = without_recalled(f"{before}\n{OPENING}\n{inside}\n{CLOSING}\n{after}")
    assert left.split() == f"{before}\n{after}".split()


@given(st.lists(MARKS | PLAIN, max_size=12).map("".join))
def test_whatever_stands_there_what_is_left_stood_in_the_message(message: str) -> None:
    left = without_recalled(message)
    assert CLOSING not in left.lower()
    remaining = iter(message)
    assert all(character in remaining for character in left)


def row(text: str, kind: str | None = None, **payload: Any) -> Row:
    typed = {} if kind is None else {"memory_subtype": kind}
    return Row(str(uuid.uuid4()), {"data": text, "user_id": "alice", **typed, **payload})


def said(text: str, day: int, kind: str | None = None) -> Row:
    return row(text, kind, observed_at=f"2026-03-{day:02}T10:00:00+00:00", updated_at="2026-05-01T00:00:00+00:00")


ROWS = st.lists(
    st.builds(
        row,
        PLAIN | st.lists(MARKS | PLAIN, max_size=5).map("".join),
        st.sampled_from([None, "semantic", "episodic", "procedural", "other"]),
        created_at=st.none() | st.datetimes().map(lambda time: time.isoformat()),
    ),
    max_size=8,
)


def test_memories_are_grouped_by_type_newest_first_with_the_date_they_were_said() -> None:
    rows = [
        said("Ran the marathon", 1, "episodic"),
        said("Likes tea", 2),
        row("Has a cat"),
        said("Works as a nurse", 3, "semantic"),
        said("Lives in Porto", 4, "semantic"),
        said("Likes cake", 5),
    ]
    assert text_for_llm(rows, None).splitlines() == [
        OPENING,
        "- [2026-03-05] Likes cake",
        "- [2026-03-02] Likes tea",
        "- Has a cat",
        "semantic:",
        "- [2026-03-04] Lives in Porto",
        "- [2026-03-03] Works as a nurse",
        "episodic:",
        "- [2026-03-01] Ran the marathon",
        CLOSING,
    ]


def test_the_best_memories_stay_whole_where_not_all_fit() -> None:
    rows = [said("Lives in Porto", 1), said("Likes tea " * 100, 2), said("Has a cat", 3)]
    assert text_for_llm(rows, 40).splitlines()[1:-1] == ["- [2026-03-03] Has a cat", "- [2026-03-01] Lives in Porto"]
    assert text_for_llm(rows, 20).splitlines()[1:-1] == ["- [2026-03-01] Lives in Porto"]
    assert text_for_llm(rows, 1) == text_for_llm([], None) == ""


@given(ROWS, st.none() | st.integers(1, 200))
def test_a_block_is_within_its_bound_and_nothing_in_it_ends_it(rows: list[Row], max_tokens: int | None) -> None:
    block = text_for_llm(rows, max_tokens)
    assert max_tokens is None or cost(block) <= 4 * max_tokens
    assert without_recalled(f"I like tea\n{block}\nand cake").split() == ["I", "like", "tea", "and", "cake"]
    assert block.lower().count("recalled_memories>") in (0, 2)
    assert all(line[0] in "-<sep " for line in block.splitlines())


@pytest.mark.parametrize("letter", ["x", "茶"])
def test_a_block_leaves_room_in_an_answer(letter: str) -> None:
    assert len(text_for_llm([row(letter * 20_000)] * 100, None).encode()) <= 256 * 1024
