"""Counting and cutting in tokens, with the vocabulary that lies in the package."""

from __future__ import annotations

import socket

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from utils.extraction import tokens
from utils.extraction.tokens import count_tokens, cut_to_tokens

LONG = "Ana moved to Porto. 她喜欢喝茶😀。\n" * 5_000


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)


async def test_counts_are_those_of_cl100k_base() -> None:
    assert await count_tokens(["", "hello world", "喜欢喝茶", "<|endoftext|>"]) == [0, 2, 8, 7]


async def test_a_long_text_is_counted_as_its_pieces() -> None:
    [count] = await count_tokens([LONG])
    [of_one] = await count_tokens([LONG[: len(LONG) // 5_000]])
    assert abs(count - 5_000 * of_one) < 5_000


async def test_a_text_is_cut_at_the_limit_and_at_a_character() -> None:
    for limit in (0, 1, 15, 16, 17, 1_000, 60_000):
        cut = await cut_to_tokens(LONG, limit)
        assert LONG.startswith(cut)
        assert (await count_tokens([cut]))[0] <= limit
    assert await cut_to_tokens("short", 100) == "short"


@settings(max_examples=50)
@given(st.text(max_size=60), st.integers(-1, 20))
def test_any_text_can_be_cut(text: str, limit: int) -> None:
    cut = tokens._cut(text, limit)
    assert text.encode("utf-8", "replace").decode().startswith(cut) or text.startswith(cut)
    assert len(cut) <= len(text)


def test_a_missing_vocabulary_is_an_error_and_no_download(monkeypatch: pytest.MonkeyPatch) -> None:
    tokens._encoding.cache_clear()
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", "/nowhere")
    with pytest.raises(FileNotFoundError):
        tokens._encoding()
