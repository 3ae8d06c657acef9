"""What no memory is made of: the prompt's placeholders, secrets, role labels, the assistant's own words."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from utils.memory.answers import ProposedChange, read
from utils.memory.prompts import Offered, Turn, added_message, conversation
from utils.memory.refusals import checked, has_secret

NOW = datetime(2026, 3, 5, tzinfo=UTC)
CARDS = ("4111111111111111", "5555555555554444", "378282246310005", "6011111111111117", "3530111333300000")
LABELS = (
    "user", "User", "assistant", "ASSISTANT", "ai", "AI", "usuário", "Usuária", "assistente", "IA", "用户", "助手",
    "AI助手", "ユーザー", "アシスタント",
)  # fmt: skip

Role = Literal["user", "assistant"]
# Words that no rule looks for, in every script the plugin speaks.
words = st.text(st.sampled_from("bdfgjkqvwzé猫茶犬山ねこõ"), min_size=1, max_size=8)
sentences = st.lists(words, min_size=2, max_size=6).map(" ".join)
events: st.SearchStrategy[Literal["ADD", "UPDATE"]] = st.sampled_from(["ADD", "UPDATE"])


def reason(text: str, turns: list[Turn], offered: tuple[str, ...] = (), **fields: Any) -> str | None:
    """Why ``text`` is refused; None when it is kept."""
    memories = [Offered(str(number), stored) for number, stored in enumerate(offered)]
    kept, refused = checked([ProposedChange("ADD", text, **fields)], turns, memories)
    assert len(kept) + sum(refused.values()) == 1
    return next(iter(refused), None)


def said(user: str, assistant: str = "") -> list[Turn]:
    return [Turn("user", user), Turn("assistant", assistant)]


# -- placeholders


@pytest.mark.parametrize("build", [added_message, conversation])
def test_the_prompts_own_example_stores_nothing(build: Any) -> None:
    """The whole example, sent back word for word, as small models do."""
    turns = [Turn("user", "hello")]
    offered = [Offered("0", "Likes tea"), Offered("1", "Has a dog")]
    [example] = [line for line in build(turns, offered, NOW, None)[0]["content"].splitlines() if line.startswith("{")]
    answer = read(example, ["0", "1"], with_types=True)
    kept, refused = checked(answer.changes, turns, offered)
    assert [change.event for change in kept] == ["DELETE"]
    assert set(refused) == {"placeholder"}
    bare = example.replace("<", "").replace(">", "")
    kept, _ = checked(read(bare, ["0", "1"], with_types=True).changes, turns, offered)
    assert [change.event for change in kept] == ["DELETE"]


@given(sentences, sentences, words, st.integers(0, 3), events)
def test_a_text_with_a_placeholder_is_refused_wherever_it_stands(
    user: str, before: str, name: str, place: int, event: Literal["ADD", "UPDATE"]
) -> None:
    around = before.split(" ")
    around.insert(place, f"<{name}>")
    change = ProposedChange(event, " ".join(around), "0" if event == "UPDATE" else None)
    assert checked([change], said(user), [Offered("0", "x")]) == ([], {"placeholder": 1})


@given(sentences, words)
def test_a_step_with_a_placeholder_is_refused(user: str, name: str) -> None:
    assert reason("Bakes bread", said(user), steps=("knead", f"<{name}>")) == "placeholder"


@given(sentences, words)
def test_angle_brackets_that_were_said_are_no_placeholder(before: str, name: str) -> None:
    assert reason(f"Dislikes the tag <{name}>", said(f"{before} <{name}>")) is None
    assert reason(f"Dislikes the tag <{name}>", said("hi"), (f"Uses <{name}>",)) is None


# -- role labels


@given(st.sampled_from(LABELS), sentences, st.sampled_from([":", "：", " :"]), st.sampled_from(["", "*", '"', "**"]))
def test_a_text_that_begins_with_a_role_is_refused(label: str, text: str, colon: str, mark: str) -> None:
    assert reason(f"{mark}{label}{mark}{colon} {text}", said(text)) == "role_label"


@given(st.sampled_from(LABELS), sentences)
def test_a_role_elsewhere_is_a_word_like_another(label: str, text: str) -> None:
    assert reason(f"{text} {label}: {text}", said(text)) is None
    assert reason(f"{label} {text}", said(text)) is None


# -- the assistant's words


@given(sentences, st.lists(words, min_size=3, max_size=9), st.data())
def test_a_piece_of_the_assistants_message_is_refused(user: str, spoken: list[str], data: st.DataObject) -> None:
    begin = data.draw(st.integers(0, len(spoken) - 2))
    end = data.draw(st.integers(begin + 2, len(spoken)))
    piece = "".join(spoken[begin:end])
    expected = None if piece in "".join(user.split()) else "assistant_words"
    assert reason(f" {' '.join(spoken[begin:end]).upper()}. ", said(user, f"Hm! {' '.join(spoken)}?")) == expected


@given(sentences, sentences, sentences)
def test_what_the_user_said_too_is_kept(before: str, shared: str, after: str) -> None:
    assert reason(shared, said(f"{before} {shared}", f"{shared} {after}")) is None


@given(sentences, sentences)
def test_what_is_stored_already_may_be_written_again(user: str, stored: str) -> None:
    assert reason(stored, said(user, f"I know: {stored}"), (stored,)) is None


@given(sentences, sentences)
def test_a_text_in_words_of_its_own_is_kept(user: str, assistant: str) -> None:
    assert reason("Plays chess on Mondays", said(user, assistant)) is None


@pytest.mark.parametrize(
    ("claim", "confirmation"),
    [
        ("You live by the sea", "Yes, that is right."),
        ("你住在海边", "对，没错。"),
        ("海の近くに住んでいる", "はい、そうです。"),
        ("Você mora perto do mar", "Sim, isso mesmo."),
        ("You live by the sea", "yes"),
        ("You live by the sea", "Right - near the old pier"),
        ("You live by the sea", "Yes that's right"),
        ("你住在海边", "对的"),
        ("海の近くに住んでいる", "はいそうですよ！"),
        ("Você mora perto do mar", "Isso mesmo!"),
    ],
)
def test_what_the_user_takes_up_right_after_is_kept(claim: str, confirmation: str) -> None:
    asked = [Turn("user", "Guess!"), Turn("assistant", f"{claim}?")]
    assert reason(claim, asked) == "assistant_words"
    assert reason(claim, [*asked, Turn("user", confirmation)]) is None
    assert reason(claim, [*asked, Turn("user", "What? No!")]) == "assistant_words"


@pytest.mark.parametrize(
    "answer",
    [
        "Right now I live in Rome",
        "True crime bores me",
        "True-crime series bore me",
        "Correct me if I forget that I live in Rome",
        "Certo dia me mudei para Roma",
        "对不起，我住在罗马",
        "对了，我住在罗马",
        "うんざりです",
    ],
)
def test_a_sentence_that_begins_like_a_confirmation_is_none(answer: str) -> None:
    turns = [Turn("user", "Guess!"), Turn("assistant", "Lives in Oslo"), Turn("user", answer)]
    assert reason("Lives in Oslo", turns) == "assistant_words"


# -- secrets


@pytest.mark.parametrize(
    "text",
    [
        "The API key is sk-proj-9fK2mQ7xT4vB8nZ1aLpW",
        "Uses ghp_16C7e42F292c6912E7710c838347Ae178B4a",
        "AKIAIOSFODNN7EXAMPLE",
        "Dify key: app-1234567890abcdefABCDEFgh",
        "Connects with postgresql://alice:hunter2@db.example/x",
        "-----BEGIN RSA PRIVATE KEY-----",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dozjgNryP4J3jVmNHl0w5N",
        "The wifi password is Tr0ub4dor&3",
        "Password: hunter2",
        "His PIN is 4821",
        "银行密码是 abc12345",
        "密码：abc12345",
        "Wi-Fiのパスワードはhana2021です",
        "暗証番号は4821",
        "A senha do banco é Girassol#2291",
        "The password for the home router is: 'hunter2'",
        "The password is 2Fast4You",
        "密码就是abc12345",
        "**Password**: hunter2",
        "**Password:** hunter2",
        '{"password": "hunter2"}',
        "API key (production) = 9fK2mQ7x",
        "The PIN number of my new card is 4821",
    ],
)
def test_a_secret_is_told(text: str) -> None:
    assert has_secret(text)
    assert reason(text, said(text)) == "secret"


@pytest.mark.parametrize(
    "text",
    [
        "Uses a password manager",
        "Forgot the password",
        "The password policy is 90days",
        "The passcode to the play is 2nd act",
        "The password is 12-character long",
        "The password is 100 days old",
        "The PIN he has for the club jacket is from 1994",
        "Password reset on the new laptop: 2026-03-05",
        "Wants to be asked for the password every time",
        "经常忘记密码",
        "パスワードをよく忘れる",
        "Esqueceu a senha",
        "Order number 20260305 for 2 chairs",
        "Phone +49 30 1234567",
        "Has a keyboard in the key of C",
        "IBAN DE89 3704 0044 0532 0130 00",
        "Ran 5 km on 2026-03-05 in 27:31",
        "Works on sk-learn and app-store releases",
        "See https://example.org/a:b@c",
    ],
)
def test_what_only_looks_like_a_secret_is_kept(text: str) -> None:
    assert not has_secret(text)


@given(st.sampled_from(CARDS), st.sampled_from(["", " ", "-"]), sentences)
def test_card_numbers_are_told_by_their_check_digit(card: str, gap: str, text: str) -> None:
    shown = gap.join(card[place : place + 4] for place in range(0, len(card), 4))
    assert has_secret(f"{text} {shown} {text}")
    wrong = card[:-1] + str((int(card[-1]) + 1) % 10)
    assert not has_secret(f"{text} {wrong}")


# -- all of it


texts = st.one_of(sentences, words.map("<{}>".format), st.sampled_from(CARDS), sentences.map("user: {}".format))
changes = st.builds(ProposedChange, st.sampled_from(["ADD", "UPDATE"]), texts)


@given(st.lists(changes | st.just(ProposedChange("DELETE", memory="0")), max_size=6), st.lists(sentences, max_size=3))
def test_every_change_is_kept_or_counted_and_deletions_are_never_refused(
    asked: list[ProposedChange], spoken: list[str]
) -> None:
    roles: list[Role] = ["user", "assistant"]
    turns = [Turn(roles[place % 2], text) for place, text in enumerate(spoken)]
    kept, refused = checked(asked, turns, [Offered("0", "x")])
    assert len(kept) + sum(refused.values()) == len(asked)
    assert kept == [change for change in asked if change in kept]
    assert Counter(change.event for change in asked)["DELETE"] == Counter(change.event for change in kept)["DELETE"]


@given(st.text(st.characters(exclude_categories=[]), max_size=200), st.lists(st.text(), max_size=3))
def test_any_text_is_kept_or_refused(text: str, spoken: list[str]) -> None:
    checked([ProposedChange("ADD", text)], [Turn("assistant", one) for one in spoken], [])
