"""Pure text functions take time in proportion to the text, whatever it consists of.

One text that takes longer than that stops every user of the process. Measured is CPU time, which a busy machine does
not change much; the smallest of a few tries counts.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from itertools import product
from typing import Any, Final

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from utils import params
from utils.errors import InvalidInput
from utils.memory.answers import ProposedChange, ShapeError, read
from utils.memory.prompts import Turn, added_message, corrected, offer
from utils.memory.ranking import keyword_shares
from utils.memory.recalled import without_recalled
from utils.memory.refusals import checked
from utils.stores import values
from utils.text import capped, clean, normalized, windows

NOW: Final = datetime(2026, 3, 5, tzinfo=UTC)
MOST_GROWTH: Final = 15  # of the time, for a text ten times as long
MOST_ABOVE_PROSE: Final = 200  # times the time of ordinary prose of that length; one character may stand for eighteen
PROSE: Final = "I moved to Lisbon last week, and I like it. My sister stays in Porto!\n"
NOISE_S: Final = 0.005  # shorter times say more about the machine than about the function
CALLS: Final = 3
TRIES: Final = 10
REPEATED: Final = [
    ".", "\n", "\n ", ". ", ".\"", "…", "a.", "、a", "\0a", "\u0301\u0316", "a\u0301", "\ufdfa", "茶 ", "\ud83d",
    "{", "[", "{a", '{"a":', '"', "\\", "`", "<a", "<think>", "</think>", "[ ", '["a",', "} {", "😀", "\u2028", "-1",
]  # fmt: skip

shapes = st.builds(
    lambda alphabet, pattern: "".join(alphabet[place % len(alphabet)] for place in pattern),
    st.text(st.characters(exclude_categories=[]), min_size=1, max_size=2)
    | st.text(".!?。… \n\0\"'`{}[]:,\\<>/a1", min_size=1, max_size=2),
    st.lists(st.integers(0, 1), min_size=1, max_size=8),
)


def prompt(text: str) -> Any:
    return added_message([Turn("user", text)], offer([(text, None)] * 3), NOW, text)


def asked_again(text: str) -> Any:
    return corrected([{"role": "system", "content": ""}, {"role": "user", "content": text}], text, "it is empty")


def read_answer(text: str) -> None:
    with suppress(ShapeError):
        read(text, ["0"])


def parameters(text: str) -> None:
    for kind in ("text", "id", "trace", "metadata", "filters"):
        with suppress(InvalidInput):
            params.parse((params.Parameter("p", kind, high=1_000_000),), {"p": text})  # type: ignore[arg-type]


def refused(text: str) -> Any:
    turns = [Turn("user", text), Turn("assistant", text), Turn("user", "Yes.")]
    return checked([ProposedChange("ADD", text), ProposedChange("ADD", text[1:])], turns, [])


def searched_without_case(text: str) -> Any:
    return values.case_variants(values.fold(text)), values.is_encodable(text), values.instant(text)


def cpu_s(function: Callable[[str], Any], text: str) -> float:
    """The least CPU time of a few calls, in seconds."""
    times = []
    for _ in range(CALLS):
        began = time.process_time()
        function(text)
        times.append(time.process_time() - began)
    return min(times)


def repeated(pattern: str, length: int) -> str:
    return (pattern * (length // len(pattern) + 1))[:length]


def grows_linearly(function: Callable[[str], Any], pattern: str, length: int) -> bool:
    short_s, long_s, prose_s = (
        cpu_s(function, repeated(*text)) for text in ((pattern, length), (pattern, 10 * length), (PROSE, 10 * length))
    )
    within_prose = long_s <= MOST_ABOVE_PROSE * max(prose_s, NOISE_S)  # each part may be quadratic in its own length
    return within_prose and long_s <= MOST_GROWTH * max(short_s, NOISE_S)


def check(function: Callable[[str], Any], pattern: str, length: int) -> None:
    """Measure anew when it seems not to, as other processes share the caches: what is quadratic is so every time."""
    assert any(grows_linearly(function, pattern, length) for _ in range(TRIES))


@pytest.mark.parametrize(
    "function",
    [clean, normalized, lambda text: capped(text, 10**9), windows, prompt, asked_again, parameters,
     searched_without_case, without_recalled],
    ids=["clean", "normalized", "capped", "windows", "prompt", "corrected", "params", "values", "recalled"],
)  # fmt: skip
@given(pattern=st.sampled_from(REPEATED) | shapes)
@settings(max_examples=25, deadline=None)
@example(pattern=".")
@example(pattern="\u0301\u0316")
@example(pattern="<recalled_memories>\n")
@example(pattern=" </recalled_memories>")
def test_time_grows_with_the_text(function: Callable[[str], Any], pattern: str) -> None:
    check(function, pattern, 20_000)


@given(pattern=st.sampled_from(REPEATED) | shapes)
@settings(max_examples=25, deadline=None)
def test_time_to_read_an_answer_grows_with_the_answer(pattern: str) -> None:
    """Up to the longest that is read at all."""
    check(read_answer, pattern, 10_000)


@given(pattern=st.sampled_from(REPEATED) | st.sampled_from(["pin is ", "密码是", "1 1-", "user: ", "x://y:"]) | shapes)
@settings(max_examples=8, deadline=None)
@example(pattern="pin is ")
def test_time_to_check_a_text_grows_with_what_was_said(pattern: str) -> None:
    check(refused, pattern, 5_000)


def test_time_to_compare_memories_does_not_grow_with_the_words_of_the_query() -> None:
    """Each word that was looked for in every memory took a long query twelve times as long as a short one."""
    memories = [repeated(PROSE, 1_500)] * 100
    words = "".join(map("".join, product("bcfjkqvxz", repeat=3)))[:600]

    def grows_little() -> bool:
        few_s, many_s = (cpu_s(lambda query: keyword_shares(query, memories), query) for query in (words[:10], words))
        return many_s <= 4 * max(few_s, NOISE_S)

    assert any(grows_little() for _ in range(TRIES))
