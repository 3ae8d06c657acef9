"""The benchmark's own set is what it says: sizes, halves, and questions that do or do not name what answers them."""

from __future__ import annotations

import re
from collections import Counter

from benchmarks.recall_set import LANGUAGES, OWN_SET, own_set

_HIRAGANA_ONLY = re.compile(r"[\u3040-\u309f]{2}")  # endings and particles, as "the" and "was" elsewhere
_LONG_WORD = 4  # letters; shorter ones are mostly articles and prepositions


def test_two_hundred_questions_in_four_languages_half_of_them_without_a_shared_word() -> None:
    dialogues = own_set()
    groups = Counter(group for dialogue in dialogues for asked in dialogue.questions for group in asked.groups)
    assert len(dialogues) == 20
    assert len({dialogue.user_id for dialogue in dialogues}) == 20
    assert groups == dict.fromkeys(LANGUAGES, 50) | dict.fromkeys(
        ("tuning", "held out", "a word in common", "no word in common"), 100
    )


def test_every_answer_is_a_memory() -> None:
    for dialogue in own_set():
        for asked in dialogue.questions:
            assert set(asked.answered_by) <= set(dialogue.memories), asked.text


def test_words_are_shared_where_the_set_says_so_and_nowhere_else() -> None:
    for dialogue in own_set():
        for asked in dialogue.questions:
            texts = (dialogue.memories[memory_id] for memory_id in asked.answered_by)
            shared = _words(asked.text) & set().union(*map(_words, texts))
            assert bool(shared) == ("a word in common" in asked.groups), (dialogue.user_id, asked.text, shared)


def test_memories_are_short_facts_and_long_turns() -> None:
    for dialogue in own_set():
        turns = [text for memory_id, text in dialogue.memories.items() if memory_id.startswith("t")]
        facts = [text for memory_id, text in dialogue.memories.items() if memory_id.startswith("f")]
        assert (len(facts), len(turns)) == (15, 5)
        assert max(map(len, facts)) < min(map(len, turns))


def test_the_folder_holds_nothing_else() -> None:
    assert {file.name for file in OWN_SET.iterdir()} == {f"{language}.yaml" for language in LANGUAGES}


def _words(text: str) -> set[str]:
    """Words of four letters and more; of Chinese and Japanese, pairs of characters that are not only endings."""
    runs = re.findall(r"[\u3040-\u30ff\u3400-\u9fff]+", text)
    pairs = {run[at : at + 2] for run in runs for at in range(len(run) - 1)}
    words = {word for word in re.findall(r"[^\W\u3040-\u30ff\u3400-\u9fff]+", text.lower()) if len(word) >= _LONG_WORD}
    return words | {pair for pair in pairs if not _HIRAGANA_ONLY.fullmatch(pair)}
