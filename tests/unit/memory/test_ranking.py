"""The order by similarity and keywords: its bounds, what it rises with, no language in it, linear time."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from utils.memory import ranking
from utils.memory.ranking import by_similarity_and_keywords, combined, keyword_shares, nearest_in_turns
from utils.stores.protocol import Row

TEXTS = st.lists(st.text(max_size=40), max_size=12)
SHARES = st.floats(0.0, 1.0)


def rows(*found: tuple[str, float]) -> list[Row]:
    return [Row(str(number), {"data": text}, score) for number, (text, score) in enumerate(found)]


def ordered(query: str, *found: tuple[str, float]) -> list[str]:
    return [row.text for row in by_similarity_and_keywords(query, rows(*found))]


@given(st.text(max_size=60), TEXTS)
def test_a_share_lies_between_none_and_all(query: str, texts: list[str]) -> None:
    shares = keyword_shares(query, texts)
    assert len(shares) == len(texts)
    assert all(0.0 <= share <= 1.0 for share in shares)


@given(st.text(max_size=60), TEXTS)
def test_every_row_comes_back_once(query: str, texts: list[str]) -> None:
    given_rows = rows(*((text, 0.5) for text in texts))
    found = by_similarity_and_keywords(query, given_rows)
    assert sorted(row.id for row in found) == sorted(row.id for row in given_rows)
    assert {row.id: row.score for row in found} == {row.id: row.score for row in given_rows}


@given(st.text(alphabet=string.ascii_lowercase + " ", min_size=3, max_size=40), TEXTS)
def test_the_query_itself_has_the_largest_share(query: str, texts: list[str]) -> None:
    shares = keyword_shares(query, [*texts, query])
    assert max(shares) == shares[-1]


@given(st.lists(st.tuples(SHARES, SHARES), min_size=2, max_size=20))
def test_what_is_better_in_both_is_never_behind(pairs: list[tuple[float, float]]) -> None:
    similarities, shares = zip(*pairs, strict=True)
    values = combined(similarities, shares)
    for one in range(len(pairs)):
        for other in range(len(pairs)):
            if similarities[one] >= similarities[other] and shares[one] >= shares[other]:
                assert values[one] >= values[other]


@given(st.lists(SHARES, max_size=20))
def test_without_keywords_the_order_is_that_of_similarity(similarities: list[float]) -> None:
    found = by_similarity_and_keywords("zzz", rows(*(("green tea", similarity) for similarity in similarities)))
    assert [row.score for row in found] == sorted(similarities, reverse=True)


@pytest.mark.parametrize(
    ("query", "about", "else_"),
    [
        ("What is Biscuit?", "Has a whippet named Biscuit", "Likes what is sweet"),
        ("Como está Raíssa?", "RAÍSSA passou na prova", "Foi ao médico"),
        ("灵隐寺在哪里", "和老同学去灵隐寺爬山", "在公司做会计"),
        ("苔寺へ行ったのは", "雨の苔寺へ行った", "古本屋で働いている"),
        ("제주도 여행", "제주도에 다녀왔다", "서울에 산다"),
        ("Kinderärztin", "Die Kinderärztin heißt Vogt", "Das Kind schläft"),
        ("bus ＡＢＣ１２３", "bus abc123", "a bus"),  # full-width, as Japanese keyboards write
        ("Москва", "Живёт в Москве", "Живёт в Казани"),
    ],
)
def test_rare_words_count_in_any_language(query: str, about: str, else_: str) -> None:
    others = [("nothing of the kind", 0.5)] * 8
    assert ordered(query, (else_, 0.5), *others, (about, 0.5))[0] == about


def test_words_that_all_rows_have_count_for_nothing() -> None:
    assert keyword_shares("the user", ["the user runs", "the user swims"]) == [1.0, 1.0]
    assert ordered("the user", ("the user runs", 0.2), ("the user swims", 0.3)) == ["the user swims", "the user runs"]


def test_function_words_do_not_beat_a_good_embedder() -> None:
    """Rank fusion would: the first row has most of the query's words, and none of those that matter."""
    found = [("What is it that she does on Sundays", 0.80), ("Works as a radiographer", 0.88)]
    filler = [(f"What she said on day {number} is that", 0.79) for number in range(30)]
    assert ordered("What is it that she does for a living?", *found, *filler)[0] == "Works as a radiographer"


def test_equally_good_rows_stay_in_their_order() -> None:
    assert ordered("tea", ("one", 0.5), ("two", 0.5), ("three", 0.5)) == ["one", "two", "three"]


@pytest.mark.parametrize("query", ["", "?!", "  ", "🙂"])
def test_a_query_without_words_leaves_the_order_of_similarity(query: str) -> None:
    found = by_similarity_and_keywords(query, rows(("a", 0.2), ("b", 0.9)))
    assert [(row.text, row.keyword_score) for row in found] == [("b", 0.0), ("a", 0.0)]


def test_no_rows_are_no_error() -> None:
    assert by_similarity_and_keywords("tea", []) == []


def test_how_much_is_compared_is_bounded() -> None:
    """The time is that of the query and the texts, and both have an end."""
    long = "x" * (ranking._TEXT_CHARS + 1) + " biscuit"
    assert keyword_shares("biscuit", [long, "y"]) == [0.0, 0.0]
    assert len(ranking._pieces("".join(map(chr, range(0x4E00, 0x4E00 + ranking._QUERY_CHARS))))) < ranking._QUERY_CHARS
    assert keyword_shares("a " * ranking._QUERY_CHARS + "biscuit", ["biscuit", "y"]) == [0.0, 0.0]


LONG = "x" * 3_000 + " biscuit"


def test_all_texts_together_are_compared_up_to_a_bound() -> None:
    """Three hundred memories of 4,000 characters took a long query 0.46 s of everybody's time. Of the long ones the
    beginnings are compared, the short ones in the whole.
    """
    shares = keyword_shares("biscuit", [*[LONG] * 299, "a biscuit"])
    assert shares == [*[0.0] * 299, 1.0]
    assert keyword_shares("biscuit", [LONG, "y"]) == [1.0, 0.0]


def test_the_parts_of_a_long_message_share_the_bound() -> None:
    found = rows(("near", 0.9), *(("x" * 3_000, 0.5) for _ in range(8)), (LONG, 0.1))
    alone, one_of_many = (nearest_in_turns(["biscuit"] * parts, [found] * parts, 2) for parts in (1, 12))
    assert [row.text for row in alone] == ["near", LONG]
    assert [row.text for row in one_of_many] == ["near", "x" * 3_000]


def test_usual_memories_are_compared_in_the_whole() -> None:
    """As many as the largest search finds, longer than most are."""
    usual = "x" * 300 + " biscuit"
    assert keyword_shares("biscuit", [*[usual] * 299, "y"])[0] == 1.0


@given(st.lists(st.integers(0, 6_000), max_size=40), st.integers(0, 20_000))
def test_short_texts_leave_their_share_to_the_long_ones(lengths: list[int], most: int) -> None:
    cut = ranking._longest_compared(lengths, most)
    assert sum(min(length, cut) for length in lengths) <= most or not lengths
    if cut < min(ranking._TEXT_CHARS, max(lengths, default=0)):
        assert sum(min(length, cut + 1) for length in lengths) > most


def test_a_character_that_stands_for_eighteen_makes_no_text_longer_than_is_compared() -> None:
    """U+FDFA is such a one: a hundred memories of it took a search of 600 characters 3.4 s of everybody's time."""
    many = ["\ufdfa" * 100 + " biscuit"] * 100
    assert keyword_shares("biscuit", [*many, "y"])[0] == 0.0
    ligatures = "\ufdfa" * (ranking._TEXT_CHARS // 2)
    assert keyword_shares("biscuit", [ligatures + " biscuit", "y"]) == [0.0, 0.0]
    assert keyword_shares("\ufdfa" * ranking._QUERY_CHARS + " biscuit", ["biscuit", "y"]) == [0.0, 0.0]


# -- candidates for reconciling


def test_the_most_similar_by_vector_and_by_words_come_in_turns() -> None:
    found = rows(("a", 0.9), ("b", 0.8), ("c", 0.7), ("has a whippet named Biscuit", 0.1), ("Biscuit sleeps", 0.2))
    in_turns = [row.text for row in nearest_in_turns(["My whippet is called Biscuit"], [found], 20)]
    assert in_turns == ["a", "has a whippet named Biscuit", "b", "Biscuit sleeps", "c"]


def test_the_last_sentence_of_a_window_has_its_near_twin_among_the_candidates() -> None:
    window = "I like to talk about this and that for long. " * 40 + "My whippet is called Biscuit."
    found = rows(*((f"this and that, number {number}", 0.9) for number in range(30)), ("a whippet named Biscuit", 0.0))
    assert "a whippet named Biscuit" in [row.text for row in nearest_in_turns([window], [found], 20)]


@given(TEXTS, st.integers(1, 8))
def test_a_near_twin_is_always_a_candidate(texts: list[str], most: int) -> None:
    said = "My whippet is called Biscuit"
    found = rows(*((text, 0.9) for text in texts), ("my whippet is called biscuit!", 0.0))
    twin = found[-1].id
    assert twin in [row.id for row in nearest_in_turns([said], [found], most + 1)][:2]


@given(st.lists(TEXTS, min_size=1, max_size=4), st.integers(1, 20))
def test_candidates_are_each_there_once_and_the_most_similar_leads(found: list[list[str]], most: int) -> None:
    lists = [[Row(text, {"data": text}, len(text) / 40) for text in dict.fromkeys(texts)] for texts in found]
    in_turns = nearest_in_turns(["said"] * len(lists), lists, most)
    every = {row.id: row for rows in lists for row in rows}
    assert len({row.id for row in in_turns}) == len(in_turns) == min(most, len(every))
    assert not in_turns or in_turns[0].score == max(row.score or 0.0 for row in every.values())
