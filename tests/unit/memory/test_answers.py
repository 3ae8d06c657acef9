"""What is made of a model's answer: the shapes they come in, what must never be stored, and what is no answer."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from utils.memory.answers import ModelAnswer, ProposedChange, ShapeError, read
from utils.text import normalized

TEA = '{"memory": [{"event": "ADD", "text": "likes tea"}]}'
SECRET = '{"memory": [{"event": "ADD", "text": "a thought"}]}'
OFFERED = ["0", "1", "2"]


def summary(raw: Any) -> list[tuple[str, str | None, str]]:
    return [(change.event, change.memory, change.text) for change in read(raw, OFFERED).changes]


def answered(*changes: Any) -> str:
    return json.dumps({"memory": list(changes)})


@pytest.mark.parametrize(
    "raw",
    [
        TEA,
        f"\ufeff {TEA}\n",
        f"```json\n{TEA}\n```",
        f"```json{TEA}```",
        f"```\n{TEA}",
        f"Here it is:\n```json\n{TEA}\n```\nAnything else?",
        f"Here it is: {TEA} Anything else?",
        f"As [1] and {{this}} show :[ {TEA}",
        f"<think>hm, {SECRET}</think>{TEA}",
        f"<think>\n```json\n{SECRET}\n```\n</think>\n\n```json\n{TEA}\n```",
        f"<think>{SECRET}</think> So the answer is {TEA}",
        f"<think>a<think>{SECRET}</think>b</think>{TEA}",
        f"hm, {SECRET}</think>{TEA}",
        f"<think>the user likes tea\n{TEA}",
        f"<think>the user likes tea\n```json\n{TEA}\n```",
        f"{TEA}<think>{SECRET}",
        f"{TEA}\n<think>{SECRET}</think>",
        f"```json\n<think>{SECRET}</think>\n{TEA}\n```",
        f"<thinking>{SECRET}</thinking>{TEA}",
        f"<seed:think>{SECRET}</seed:think>{TEA}",
        f"[THINK]{SECRET}[/THINK]{TEA}",
        f"◁think▷{SECRET}◁/think▷{TEA}",
        f"First I had {SECRET} but now I say {TEA}",
        f"```json\n{SECRET}\n```\nNo, better:\n```json\n{TEA}\n```",
        TEA.replace('"', "'"),
        TEA.replace("}]}", "},]}"),
        TEA.replace("}]}", "}, // that is all\n]}"),
        TEA.replace('"memory"', "memory"),
        TEA.replace('"', "“", 1).replace('":', "”:", 1),
        TEA[:-1],
        TEA[:-2],
        json.dumps(TEA),
        f"{TEA}\n{TEA}",
        '["likes tea"]',
        "['likes tea']",
        '[{"fact": "likes tea"}]',
        '[{"text": "likes tea"}]',
        '[{"memory": "likes tea"}]',
        '[{"memory": ["likes tea"]}]',
        '{"facts": ["likes tea"]}',
        '{"facts": "likes tea"}',
        '{"memory": "likes tea"}',
        '{"memory": {"event": "ADD", "text": "likes tea"}}',
        '{"event": "ADD", "text": "likes tea"}',
        '{"memory": [{"event": "add", "text": " likes tea "}]}',
        '{"memory": [{"event": null, "text": "likes tea"}]}',
        '{"memory": [{"event": "UPDATE", "text": "likes tea"}]}',
        '{"memory": [{"event": "UPDATE", "id": ["0"], "text": "likes tea"}]}',
        '{"memory": [{"text": null, "memory": "likes tea"}]}',
        '{"memory": [123, null, true, ["a", "b"], "likes tea", ""]}',
        '{"memory": ["likes tea", "Likes  tea.", {"event": "ADD", "text": "likes tea"}]}',
        '{"memory": [{"event": "ADD", "text": "likes\\u0000 \\ud800tea"}]}',
        '{"memory": [{"event": "NONE", "id": "0"}, "likes tea", {"event": "DELETE", "id": "77"}]}',
    ],
)
def test_the_fact_is_found_and_nothing_else(raw: str) -> None:
    assert summary(raw) == [("ADD", None, "likes tea")]
    assert read(raw, OFFERED).left_out == ""


def test_an_answer_that_is_parsed_already_is_read_too() -> None:
    assert summary(json.loads(TEA)) == [("ADD", None, "likes tea")]


@pytest.mark.parametrize("raw", [TEA, "{}", "[]", '{"memory": []}', '{"facts": []}', "```json\n[]\n```", '[" "]'])
def test_nothing_worth_keeping_is_an_answer(raw: str) -> None:
    assert summary(raw) == ([("ADD", None, "likes tea")] if raw is TEA else [])
    assert read(raw, OFFERED).left_out == ""


@pytest.mark.parametrize(
    "raw",
    [
        None,
        "",
        " \n",
        "null",
        "5",
        '"likes tea"',
        "I'm sorry, I can't help with that.",
        "I cannot [do that] or {that}.",
        'Nothing to keep: ["tea"] was just an example.',
        "I filled {text} in.",
        "I would answer {text: } if there were anything.",
        '{"error": {"message": "overloaded"}}',
        '{"answer": "none"}',
        '{"memory": null}',
        '{"memory": 5}',
        '{"facts": {"a": "b"}}',
        "[123, null, true]",
        '[["a", "b"]]',
        '{"memory": [{"fact": ["a"]}]}',
        '{"memory": [{"event": "MERGE", "text": "a"}]}',
        '{"memory": [{"event": "ADD"}]}',
        '{"memory": [{"event": "DELETE"}]}',
        TEA[:-5],
        TEA[:20],
        f"<think>{SECRET}</think>",
        f"<think>{SECRET} or maybe not",
        f"<think>{SECRET} or rather {TEA}",
        f"{SECRET}</think>",
        "<think>",
        "{" * 50_000,
        "[" * 50_000,
        '{"a":' * 50_000,
        "x" * 200_000,
        '{"text": [' + "{1" * 4_000 + "}",  # json_repair takes minutes for these two
        '{text: ["a",' + '"a' * 20_000 + "}",
    ],
)
def test_what_is_no_answer(raw: str | None) -> None:
    with pytest.raises(ShapeError) as refused:
        read(raw, OFFERED)
    assert "thought" not in str(refused.value)


def test_updates_and_deletions_refer_to_what_was_offered() -> None:
    raw = answered(
        {"event": "UPDATE", "id": 0, "text": "lives in Lisbon"},
        {"event": "delete", "id": "1", "text": ""},
        {"event": "UPDATE", "id": "9", "text": "has a dog"},
        {"event": "DELETE", "id": "9"},
        {"event": "NONE", "id": "2", "text": "likes tea"},
    )
    assert summary(raw) == [
        ("UPDATE", "0", "lives in Lisbon"),
        ("DELETE", "1", ""),
    ]
    assert read(raw, OFFERED).refused == {"unknown_id": 2}


@pytest.mark.parametrize("memory_id", [7, "7", "00000000-0000-4000-8000-000000000000", " "])
def test_a_change_of_a_memory_that_was_not_offered_is_dropped_and_counted(memory_id: Any) -> None:
    answer = read(answered({"event": "UPDATE", "id": memory_id, "text": "likes tea"}, "has a dog"), OFFERED)
    assert [change.text for change in answer.changes] == ["has a dog"]
    assert (answer.refused, answer.left_out) == ({"unknown_id": 1}, "")


@pytest.mark.parametrize(
    ("changes", "resolved"),
    [
        ([("UPDATE", "0", "a"), ("UPDATE", "0", "b")], [("UPDATE", "0", "b")]),
        ([("DELETE", "0", ""), ("UPDATE", "0", "b")], [("UPDATE", "0", "b")]),
        ([("UPDATE", "0", "b"), ("DELETE", "0", "")], [("UPDATE", "0", "b")]),
        ([("DELETE", "0", ""), ("DELETE", "0", "")], [("DELETE", "0", "")]),
        ([("ADD", "", "b"), ("UPDATE", "0", "B.")], [("UPDATE", "0", "B.")]),
        ([("UPDATE", "0", "b"), ("UPDATE", "1", "b")], [("UPDATE", "0", "b")]),
        ([("ADD", "", "a"), ("ADD", "", "b"), ("ADD", "", "A")], [("ADD", None, "a"), ("ADD", None, "b")]),
        ([("UPDATE", "0", " "), ("DELETE", "0", "")], [("DELETE", "0", "")]),
    ],
)
def test_contradictions_are_resolved(changes: list[tuple[str, str, str]], resolved: list[Any]) -> None:
    raw = answered(*({"event": event, "id": memory, "text": text} for event, memory, text in changes))
    assert summary(raw) == resolved


@pytest.mark.parametrize(
    ("raw", "kept"),
    [
        ('{"memory": [{"event": "ADD", "text": "likes tea"}, {"event": "ADD", "text": "likes te', ["likes tea"]),
        ('{"memory": [{"event": "ADD", "text": "likes tea"}, {"event": "UPDATE", "text": "x"', ["likes tea"]),
        ('{"memory": [{"event": "ADD", "text": "a"}, {"event": "ADD", "text": "likes [x] and', ["a"]),
        ('```json\n{"facts": ["likes tea", "lives in Por', ["likes tea"]),
        ('["likes tea", "lives in Lisbon", "has a', ["likes tea", "lives in Lisbon"]),
        ('{"memory": [{"event": "ADD", "text": "a"}, {"event": "MERGE", "text": "b"}]}', ["a"]),
        ('{"memory": [{"event": "ADD", "text": "a"}, {"fact": {"b": "c"}}]}', ["a"]),
    ],
)
def test_what_is_left_out_of_an_answer_is_said(raw: str, kept: list[str]) -> None:
    assert [change.text for change in read(raw, OFFERED).changes] == kept
    assert read(raw, OFFERED).left_out


def test_of_a_long_answer_that_breaks_off_the_beginning_is_taken() -> None:
    texts = [f"likes tea number {number}" for number in range(1_000)]
    answer = read(answered(*({"event": "ADD", "text": text} for text in texts))[:-10], OFFERED)
    assert len(answer.changes) > 100
    assert [change.text for change in answer.changes] == texts[: len(answer.changes)]
    assert answer.left_out


def test_types_dates_and_steps_are_read_when_asked_for() -> None:
    raw = answered(
        {"event": "ADD", "type": "Episodic", "text": "ran a marathon", "date": "2026-03-01T10:00:00Z", "steps": ["no"]},
        {"event": "ADD", "type": "procedural", "text": "makes coffee", "steps": ["grind", " ", 5, "pour"], "date": "x"},
        {"event": "ADD", "type": "semantic", "text": "likes tea", "date": "2026-03-01"},
        {"event": "ADD", "type": "gossip", "text": "has a dog", "date": "soon", "steps": None},
        {"event": "ADD", "text": "went to Rome", "date": "2026-02-28"},
        {"event": "ADD", "text": "bakes bread", "steps": "knead"},
        {"event": "UPDATE", "id": "0", "text": "lives in Lisbon"},
        {"event": "UPDATE", "id": "1", "type": "episodic", "text": "moved", "date": "2026-03-04"},
        "likes jazz",
    )
    assert [(change.text, change.type, change.date, change.steps) for change in read(raw, OFFERED, True).changes] == [
        ("ran a marathon", "episodic", "2026-03-01", ()),
        ("makes coffee", "procedural", None, ("grind", "pour")),
        ("likes tea", "semantic", None, ()),
        ("has a dog", "semantic", None, ()),
        ("went to Rome", "episodic", "2026-02-28", ()),
        ("bakes bread", "procedural", None, ("knead",)),
        ("lives in Lisbon", None, None, ()),
        ("moved", "episodic", "2026-03-04", ()),
        ("likes jazz", "semantic", None, ()),
    ]
    assert {(change.type, change.date, change.steps) for change in read(raw, OFFERED).changes} == {(None, None, ())}


@pytest.mark.parametrize(
    ("quote", "between"), [('"', "\n"), ('"', ",\n"), ('"', " "), ('"', ""), ("'", "\n"), ("'", " "), ("'", "")]
)
def test_one_object_per_line_is_one_answer(quote: str, between: str) -> None:
    lines = [json.dumps({"event": "ADD", "text": text}).replace('"', quote) for text in ("likes tea", "has a dog")]
    assert summary(f"Here it is:\n{between.join(lines)}") == [("ADD", None, "likes tea"), ("ADD", None, "has a dog")]


TEXTS = st.lists(st.text("abc,:'{}[] ", min_size=1, max_size=12).filter(str.strip), max_size=5, unique_by=normalized)


@given(TEXTS, st.data())
def test_a_key_given_twice_loses_no_text(texts: list[str], data: st.DataObject) -> None:
    """Two lists in one object, two memories in one entry, or both, as models write them."""
    lists: list[list[str]] = [[]]
    for text in texts:
        together = bool(lists[-1]) and data.draw(st.booleans())
        field = f'"text": {json.dumps(text)}'
        if together:
            lists[-1][-1] += data.draw(st.sampled_from([", ", ', "event": "ADD", '])) + field
        else:
            lists[-1].append(data.draw(st.sampled_from(["", '"event": "ADD", '])) + field)
        if data.draw(st.booleans()):
            lists.append([])
    members = ['"memory": [' + ", ".join(f"{{{entry}}}" for entry in entries) + "]" for entries in lists]
    answer = read("{" + ", ".join(members) + "}", OFFERED)
    assert [change.text for change in answer.changes] == [text.strip() for text in texts]
    assert answer.left_out == ""


def test_a_deletion_with_two_ids_deletes_both() -> None:
    raw = '{"memory": [{"event": "DELETE", "id": "0", "id": "1"}]}'
    assert summary(raw) == [("DELETE", "0", ""), ("DELETE", "1", "")]


JSON_TEXT = st.text(st.characters(exclude_categories=[]), max_size=12)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | JSON_TEXT
KEYS = st.sampled_from(["memory", "facts", "event", "text", "id", "type", "date", "steps", "fact"]) | JSON_TEXT
EVENTS = st.sampled_from(["ADD", "UPDATE", "DELETE", "NONE", "update", "MERGE"])
JSON = st.recursive(
    LEAVES | EVENTS,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(KEYS, inner, max_size=5),
    max_leaves=25,
)


def sound(answer: ModelAnswer) -> None:
    """What the flow relies on, whatever was answered."""
    concerned = [change.memory for change in answer.changes if change.memory is not None]
    assert len(concerned) == len(set(concerned))
    assert set(concerned) <= set(OFFERED)
    for change in answer.changes:
        assert (change.memory is None) == (change.event == "ADD")
        assert bool(change.text) == (change.event != "DELETE")
        change.text.encode()
        assert "\0" not in change.text


@given(JSON, st.booleans())
def test_any_json_is_read_or_refused(value: Any, with_types: bool) -> None:
    try:
        sound(read(json.dumps(value), OFFERED, with_types))
    except ShapeError:
        return


@given(st.dictionaries(KEYS, JSON))
def test_any_object_is_read_or_refused(value: dict[str, Any]) -> None:
    try:
        sound(read(value, OFFERED))
    except ShapeError:
        return


SCRAPS = st.sampled_from([*"{}[]\"':,\\ \n“", "```", "<think>", "</think>", "a", '"memory":', '{"text":', '"event"'])


@given(st.lists(SCRAPS, max_size=40))
def test_any_text_is_read_or_refused(scraps: list[str]) -> None:
    try:
        sound(read("".join(scraps), OFFERED))
    except ShapeError:
        return


WORDS = st.text(st.characters(codec="utf-8", exclude_characters="<>[]◁▷`"), max_size=30)
GOOD = st.lists(
    st.fixed_dictionaries({"event": st.just("ADD"), "text": WORDS})
    | st.fixed_dictionaries({"event": st.just("UPDATE"), "id": st.sampled_from(OFFERED), "text": WORDS})
    | st.fixed_dictionaries({"event": st.just("DELETE"), "id": st.sampled_from(OFFERED)}),
    max_size=6,
)
PROSE = st.sampled_from(["", "Sure, here you go:\n", "好的，结果如下：", "I thought [hard] about {it}.\n"])
BEFORE = st.sampled_from(["", f"<think>{SECRET}</think>", f"hm {SECRET}\n</think>\n", "<think>\n\n</think>\n\n"])


@given(GOOD, BEFORE, PROSE, st.booleans(), st.booleans(), st.sampled_from([None, 2]))
def test_noise_around_an_answer_changes_nothing(
    changes: list[Any], thoughts: str, prose: str, fenced: bool, ascii_only: bool, indent: int | None
) -> None:
    plain = json.dumps({"memory": changes}, ensure_ascii=ascii_only, indent=indent)
    wrapped = f"```json\n{plain}\n```\n" if fenced else plain
    assert read(f"{thoughts}{prose}{wrapped}", OFFERED) == read(plain, OFFERED)


@given(GOOD, st.data())
def test_an_answer_cut_anywhere_yields_only_texts_that_are_complete(changes: list[Any], data: st.DataObject) -> None:
    plain = json.dumps({"memory": changes})
    cut = plain[: data.draw(st.integers(0, len(plain)))]
    try:
        taken = read(cut, OFFERED)
    except ShapeError:
        return
    complete = {change.text for entry in changes for change in _alone(entry)}
    assert {change.text for change in taken.changes} <= complete


def _alone(entry: dict[str, Any]) -> list[ProposedChange]:
    return read({"memory": [entry]}, OFFERED).changes
