"""What may stand in the place of a memory, by words and by vectors of whatever embedder."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from utils.memory.related import UNRELATED, is_unrelated, shares_words

NUMBERS = st.floats(-1, 1, width=32).filter(lambda number: number == 0 or abs(number) > 1e-3)
VECTORS = st.lists(NUMBERS, min_size=4, max_size=4)
ROWS = st.lists(st.lists(VECTORS, min_size=2, max_size=3), min_size=1, max_size=3)
# The level an embedder gives what is unrelated: 0.1 of one, 0.8 of another, both along the first axis.
LOW = [[[0.1, 0.0, 0.99], [0.12, 0.0, 0.98], [0.08, 0.0, 1.0]]]
HIGH = [[[0.80, 0.0, 0.60], [0.82, 0.0, 0.57], [0.78, 0.0, 0.62]]]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("Lives in Lisbon", "Lives in Porto since March"),
        ("Toca violino", "Largou o violino e toca piano"),
        ("对花生过敏", "不再对花生过敏"),
        ("ピーナッツアレルギーがある", "ピーナッツアレルギーは治った"),
    ],
)
def test_texts_about_one_thing_share_words(old: str, new: str) -> None:
    assert shares_words(old, new) and shares_words(new, old)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("Trabalha como enfermeiro em Natal", "Toca violino"),
        ("Works as a nurse", "Likes tea"),
        ("在医院当护士", "喜欢喝茶"),
    ],
)
def test_texts_about_two_things_do_not(old: str, new: str) -> None:
    assert not shares_words(old, new)


@pytest.mark.parametrize(
    ("old", "unrelated", "found"), [(0.3, LOW, False), (0.1, LOW, True), (0.85, HIGH, False), (0.78, HIGH, True)]
)
def test_what_counts_is_the_level_of_the_embedder(old: float, unrelated: list[list[list[float]]], found: bool) -> None:
    assert is_unrelated([1.0, 0.0, 0.0], [old, (1 - old**2) ** 0.5, 0.0], unrelated) is found


@given(VECTORS, ROWS, st.floats(0.1, 10))
def test_a_text_is_never_unrelated_to_itself_however_long_its_vector(
    new: list[float], rows: list[list[list[float]]], scale: float
) -> None:
    assume(any(new))
    alike = any(shared_direction(new, vector) for row in rows for vector in row)
    assert alike or not is_unrelated(new, [scale * number for number in new], rows)


def shared_direction(one: list[float], other: list[float]) -> bool:
    return (
        sum(a * b for a, b in zip(one, other, strict=True))
        > 0.99 * (sum(a * a for a in one) * sum(b * b for b in other)) ** 0.5
    )


@given(VECTORS, ROWS)
def test_vectors_of_nothing_are_related_to_everything(new: list[float], rows: list[list[list[float]]]) -> None:
    nothing = [[[0.0] * 4 for _ in row] for row in rows]
    assert not is_unrelated(new, [0.0] * 4, nothing)


def test_every_language_has_its_sentences() -> None:
    assert len(UNRELATED) == 4 and len({len(row) for row in UNRELATED}) == 1
