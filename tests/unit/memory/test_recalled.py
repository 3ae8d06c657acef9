"""Recalled memories in a message: taken out whatever the template around them did, and nothing else with them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from utils.memory.recalled import CLOSING, OPENING, without_recalled

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
