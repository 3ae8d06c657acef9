"""Cleaning, cutting and comparing text, in any language."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from utils.text import capped, clean, normalized, windows

ANY_TEXT = st.text(st.characters(exclude_categories=[]))  # lone surrogates and NUL, too


@given(ANY_TEXT)
def test_clean_text_can_be_stored_and_sent(text: str) -> None:
    cleaned = clean(text)
    cleaned.encode()
    assert "\0" not in cleaned
    assert cleaned == cleaned.strip()
    assert clean(cleaned) == cleaned


@pytest.mark.parametrize(
    ("dirty", "cleaned"),
    [
        ("  likes tea\n", "likes tea"),
        ("a\0b", "ab"),
        ("\ud800", ""),
        ("x\udc00y\ud83d", "xy"),
        ("\ud83d\ude00", "😀"),  # a pair that was read as two
        ("喜欢喝茶 😀", "喜欢喝茶 😀"),
        ("\0 x \0", "x"),
    ],
)
def test_what_clean_removes(dirty: str, cleaned: str) -> None:
    assert clean(dirty) == cleaned


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("Likes tea", "likes  tea."),
        ("likes tea", " likes\ntea !"),
        ("用户喜欢喝茶。", "用户喜欢喝茶"),
        ("用户喜欢 Python", "用户喜欢Python！"),
        ("ＡＢＣを使う", "abcを使う。"),
        ("ｺｰﾋｰが好き", "コーヒーが好き"),
        ("Gosta de café", "gosta de cafe\u0301…"),
        ("WOHNT IN DER HAUPTSTRASSE", "wohnt in der Hauptstraße"),
    ],
)
def test_texts_that_say_the_same(a: str, b: str) -> None:
    assert normalized(a) == normalized(b)
    assert normalized(b) == normalized(a)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("codes in C", "codes in C#"),
        ("codes in C", "codes in C++"),
        ("is nowhere", "is now here"),
        ("喜欢茶", "不喜欢茶"),
        ("owes 100", "owes 100%"),
        ("weighs 3.1 kg", "weighs 31 kg"),
        ("gosta de pão", "gosta de pao"),
    ],
)
def test_texts_that_differ(a: str, b: str) -> None:
    assert normalized(a) != normalized(b)


@given(st.text(), st.sampled_from([".", "!", "。", "？", " ", " …"]))
def test_sameness_ignores_case_width_and_the_end(text: str, end: str) -> None:
    assert normalized(text) == normalized(text + end)
    assert normalized(text) == normalized(unicodedata.normalize("NFKC", text))
    assert normalized(normalized(text)) == normalized(text)


@given(st.text(max_size=400), st.integers(1, 60))
def test_windows_cover_the_text_in_order(text: str, size_chars: int) -> None:
    pieces = windows(text, size_chars, most=1_000)
    assert all(piece.strip() == piece and 0 < len(piece) <= size_chars for piece in pieces)
    assert "".join("".join(pieces).split()) == "".join(text.split())


@given(st.text("ab. \n", min_size=1, max_size=300), st.integers(1, 30), st.integers(1, 8))
def test_of_many_windows_evenly_spread_ones_are_taken(text: str, size_chars: int, most: int) -> None:
    every = windows(text, size_chars, most=1_000)
    some = windows(text, size_chars, most)
    assert len(some) == min(len(every), most)
    assert some[:1] == every[:1]
    assert most == 1 or some[-1:] == every[-1:]
    rest = iter(every)
    assert all(piece in rest for piece in some)  # in the text's order


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("One two three. Four five.", ["One two three.", "Four five."]),
        ("Version 3.14 is out. Fine", ["Version 3.14 is out.", "Fine"]),
        (
            "我住在上海市浦东新区已经很久了。我很喜欢喝茶，也喜欢喝咖啡！",
            ["我住在上海市浦东新区已经很久了。", "我很喜欢喝茶，也喜欢喝咖啡！"],
        ),
        ("「東京に住んでいます。」コーヒーが好きです", ["「東京に住んでいます。」", "コーヒーが好きです"]),
        ("First paragraph\n\nsecond. Third", ["First paragraph", "second. Third"]),
        ("abcdefghijklmnopqrstuvwxyz", ["abcdefghijklmnopqrst", "uvwxyz"]),
    ],
)
def test_windows_end_where_sense_does(text: str, pieces: list[str]) -> None:
    assert windows(text, size_chars=20) == pieces


def test_a_blank_text_has_no_windows() -> None:
    assert windows("") == []
    assert windows(" \n\n ") == []


@given(ANY_TEXT, st.integers(0, 50))
def test_a_capped_text_is_a_beginning_that_costs_no_more(text: str, most: int) -> None:
    kept = capped(text, most)
    cost = sum(1 if character.isascii() else 4 for character in kept)
    assert text.startswith(kept)
    assert cost <= most
    assert kept == text or cost + 4 > most
