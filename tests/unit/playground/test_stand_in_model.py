"""The stand-in model keeps the promises the other tests build on: its wire format, its rules, its faults."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from typing import Any

import httpx
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

from playground.stand_in_model import ABOUT, FAILURE_KINDS, StandInModel
from playground.stand_in_model.answer import answer, verbatim_answer
from playground.stand_in_model.embeddings import cosine, embed
from playground.stand_in_model.process import StandInProcess
from playground.stand_in_model.prompt import Memory, Prompt, read


@pytest.fixture
def model() -> Iterator[StandInModel]:
    with StandInModel() as model:
        yield model


@pytest.fixture
def client(model: StandInModel) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=model.base_url, api_key="any", max_retries=0, timeout=300) as client:
        yield client


def asked(said: str, memories: list[str] | None = None, *, extra: str = "") -> Prompt:
    stored = json.dumps([{"id": str(index), "text": text} for index, text in enumerate(memories or [])])
    instructions = 'Answer {"memory": [{"event": "UPDATE", "id": "7", "text": "an example"}]}.' + extra
    content = f"Stored memories:\n{stored}\n\nTime: 2025-03-04T10:00:00Z\n\nMessages:\n{said}\n"
    return read([{"role": "system", "content": instructions}, {"role": "user", "content": content}])


def events(said: str, memories: list[str] | None = None) -> list[Any]:
    return [
        tuple(entry.get(key) for key in ("event", "id", "text")) for entry in answer(asked(said, memories))["memory"]
    ]


def completed(client: openai.OpenAI, said: str) -> str | None:
    done = client.chat.completions.create(model="any", messages=[{"role": "user", "content": said}])
    return done.choices[0].message.content


# --- reading the prompt


def test_stored_memories_are_read_and_the_example_in_the_instructions_is_not() -> None:
    assert asked("user: hello", ["I live in Lisbon"]).memories == (Memory("0", "I live in Lisbon"),)
    assert asked("user: hello").memories == ()


def test_messages_keep_their_lines_and_their_day() -> None:
    prompt = asked("[2025-03-01 09:00] user: one\n  still one\n  \n  [end]\nassistant: I live here\nuser: two")
    assert [(message.text, message.day) for message in prompt.messages] == [
        ("one\nstill one\n\n[end]", date(2025, 3, 1)),
        ("two", date(2025, 3, 4)),
    ]


def test_a_list_of_parts_is_text_too() -> None:
    parts = [{"type": "text", "text": "user: I like tea"}]
    assert [message.text for message in read([{"role": "user", "content": parts}]).messages] == ["I like tea"]


@given(st.lists(st.one_of(st.none(), st.text(), st.dictionaries(st.text(), st.text() | st.none()))))
def test_nothing_readable_is_an_empty_prompt_not_an_error(messages: list[Any]) -> None:
    assert answer(read(messages))["memory"] is not None


# --- the rules


def test_each_statement_of_the_user_is_one_add() -> None:
    said = (
        "user: Hi! I live in Lisbon and my favourite colour is green. I'm allergic to peanuts.\nassistant: I am glad."
    )
    assert events(said) == [
        ("ADD", None, "I live in Lisbon"),
        ("ADD", None, "My favourite colour is green"),
        ("ADD", None, "I'm allergic to peanuts"),
    ]


@pytest.mark.parametrize(
    "said",
    ["Hello!", "Where do I live?", "I am fine, thanks.", "Good morning", "I would like to book a table", "你好吗？"],
)
def test_questions_and_small_talk_are_nothing(said: str) -> None:
    assert events(f"user: {said}") == []


@pytest.mark.parametrize(
    ("stored", "said"),
    [
        ("I live in Lisbon", "I moved to Porto"),
        ("Lives in Lisbon", "I live in Porto now"),
        ("My favourite colour is green", "My favourite colour is blue"),
        ("I like coffee", "I hate coffee"),
        ("I am 30 years old", "I am 31"),
        ("我住在上海", "我搬到了北京"),
        ("私は東京に住んでいます", "大阪に引っ越しました"),
        ("Moro em Lisboa", "Eu me mudei para São Paulo"),
    ],
)
def test_a_statement_on_a_stored_subject_is_an_update(stored: str, said: str) -> None:
    assert events(f"user: {said}", ["I have two cats", stored]) == [("UPDATE", "1", said)]


def test_what_is_stored_already_is_nothing() -> None:
    assert events("user: i like  TEA.", ["I like tea"]) == []


@pytest.mark.parametrize(
    ("stored", "said"),
    [
        ("I live in Lisbon", "Please forget that I live in Lisbon."),
        ("Likes coffee", "I no longer like coffee"),
        ("I have two cats named Tom and Kit", "Forget about the cats"),
        ("I eat meat", "I don't eat meat anymore"),
        ("我喜欢喝咖啡", "我不再喝咖啡了"),
        ("コーヒーが好きです", "コーヒーのことは忘れて"),
        ("Gosto de café", "Não gosto de café mais"),
    ],
)
def test_a_retracted_memory_is_a_delete(stored: str, said: str) -> None:
    assert events(f"user: {said}", ["My name is Bob", stored]) == [("DELETE", "1", None)]


def test_of_two_statements_on_one_subject_the_later_counts() -> None:
    assert events("user: I live in Rome.\nuser: I live in Oslo.") == [("ADD", None, "I live in Oslo")]


def test_a_conversation_gets_types_dates_and_steps() -> None:
    said = "user: Yesterday I went to the opera. I like tea. First I boil water, then I add tea."
    memory = answer(asked(said, extra=" semantic, episodic or procedural"))["memory"]
    assert [entry["type"] for entry in memory] == ["episodic", "semantic", "procedural"]
    assert memory[0]["date"] == "2025-03-03"
    assert memory[2]["steps"] == ["I boil water", "I add tea"]


def test_a_graph_gets_relations_that_point_at_their_memory() -> None:
    relations = answer(asked("user: I live in Lisbon", extra=' also "relations"'))["relations"]
    assert relations == [{"source": "user", "relation": "lives_in", "destination": "in Lisbon", "memory": 0}]


@given(
    st.text(st.characters(blacklist_categories=("Cs", "Cc", "Zl", "Zp")), min_size=1).filter(lambda t: t == t.strip())
)
def test_verbatim_mode_adds_each_message_word_for_word(text: str) -> None:
    assert verbatim_answer(read([{"role": "user", "content": f"user: {text}"}])) == {
        "memory": [{"event": "ADD", "text": text}]
    }


# --- the vectors


@given(st.text(), st.sampled_from([1, 64, 256, 1536]))
def test_a_vector_has_length_one_and_the_asked_dimension(text: str, dimensions: int) -> None:
    vector = embed(text, dimensions)
    assert len(vector) == dimensions
    assert cosine(vector, vector) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("query", "related", "unrelated"),
    [
        ("Where do I live?", "I live in Lisbon", "My favourite colour is green"),
        ("What is he allergic to?", "I'm allergic to peanuts", "I like hiking on Sundays"),
        ("我住在哪里", "我住在上海", "我喜欢喝咖啡"),
        ("どこに住んでいますか", "私は東京に住んでいます", "私は寿司が好きです"),
        ("Onde eu moro?", "Eu moro em São Paulo", "Gosto de futebol"),
    ],
)
def test_related_texts_are_closer_than_unrelated_ones(query: str, related: str, unrelated: str) -> None:
    near, far = (cosine(embed(query), embed(text)) for text in (related, unrelated))
    assert near > far + 0.2


# --- the wire


def test_chat_speaks_openai(model: StandInModel, client: openai.OpenAI) -> None:
    content = completed(client, "user: I like tea")
    assert json.loads(content or "") == {"memory": [{"event": "ADD", "text": "I like tea"}]}
    assert model.control.prompts[-1] == [{"role": "user", "content": "user: I like tea"}]
    assert model.control.counts == {"chat": 1, "answered": 1}


def test_embeddings_speak_openai_in_both_encodings(client: openai.OpenAI) -> None:
    default = client.embeddings.create(model="any", input=["one", "two"])  # the SDK asks for base64
    assert [len(item.embedding) for item in default.data] == [256, 256]
    floats = client.embeddings.create(model="any", input="two", dimensions=256, encoding_format="float")
    assert floats.data[0].embedding == pytest.approx(default.data[1].embedding, abs=1e-6)
    assert floats.data[0].embedding == embed("two")


def test_an_empty_input_is_refused_as_openai_does(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError):
        client.embeddings.create(model="any", input="")


def test_it_says_what_it_is(model: StandInModel) -> None:
    assert httpx.get(model.base_url).json() == {"about": ABOUT}
    assert "not a model" in ABOUT


def test_connections_are_kept_alive(model: StandInModel) -> None:
    with httpx.Client() as http:
        streams = [
            http.get(model.base_url).extensions["network_stream"].get_extra_info("client_addr") for _ in range(3)
        ]
    assert len(set(streams)) == 1


# --- the knobs


def test_scripted_answers_come_first_and_once(model: StandInModel, client: openai.OpenAI) -> None:
    model.control.script("<think>no</think>", {"facts": ["x"]})
    answers = [completed(client, "user: hello") for _ in range(3)]
    assert answers == ["<think>no</think>", '{"facts": ["x"]}', '{"memory": []}']


def test_latency_is_set_for_each_endpoint(model: StandInModel, client: openai.OpenAI) -> None:
    model.control.set(chat_latency_s=0.3)
    model.control.set(embedding_latency_s=0.2)
    for call, least_s in (
        (lambda: completed(client, "user: x"), 0.3),
        (lambda: client.embeddings.create(model="any", input="x"), 0.2),
    ):
        start = time.monotonic()
        call()
        assert time.monotonic() - start >= least_s


def test_a_held_endpoint_answers_when_it_may(model: StandInModel, client: openai.OpenAI) -> None:
    model.control.set(held_endpoints=["chat"])
    with ThreadPoolExecutor(1) as callers:
        call = callers.submit(completed, client, "user: I like tea")
        client.embeddings.create(model="any", input="x")
        assert not call.done()
        model.control.set(held_endpoints=[])
        assert call.result() is not None


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("500", openai.InternalServerError),
        ("429", openai.RateLimitError),
        ("reset", openai.APIConnectionError),
        ("hang", openai.APITimeoutError),
    ],
)
def test_each_kind_of_failure(model: StandInModel, client: openai.OpenAI, kind: str, error: type[Exception]) -> None:
    model.control.set(failure_share=1.0, failure_kinds=[kind], retry_after_s=7, failing_endpoints=["chat"])
    with pytest.raises(error) as raised:
        completed(client.with_options(timeout=0.5), "user: x")
    if isinstance(raised.value, openai.RateLimitError):
        assert raised.value.response.headers["Retry-After"] == "7"
    assert model.control.counts[f"failed_{kind}"] == 1
    assert client.embeddings.create(model="any", input="x")


def test_garbage_is_a_completion_without_a_use(model: StandInModel, client: openai.OpenAI) -> None:
    model.control.set(failure_share=1.0, failure_kinds=["garbage"])
    for _ in range(5):
        assert "ADD" not in (completed(client, "user: I like tea") or "")


def test_the_failing_share_is_drawn_from_the_seed(model: StandInModel) -> None:
    def drawn() -> list[str | None]:
        model.control.set(failure_share=0.5, failure_seed=7)
        return [model.control.draw_failure("chat") for _ in range(200)]

    first = drawn()
    assert first == drawn()
    assert 60 < sum(kind is not None for kind in first) < 140
    assert {kind for kind in first if kind} == set(FAILURE_KINDS)


def test_a_wrong_key_or_a_closed_account_is_401(model: StandInModel, client: openai.OpenAI) -> None:
    model.control.set(accepted_key="any")
    completed(client, "user: x")
    with pytest.raises(openai.AuthenticationError):
        completed(client.with_options(api_key="other"), "user: x")
    model.control.set(unauthorised=True)
    with pytest.raises(openai.AuthenticationError):
        client.embeddings.create(model="any", input="x")


def test_reset_forgets_everything(model: StandInModel, client: openai.OpenAI) -> None:
    model.control.set(verbatim=True)
    completed(client, "user: x")
    model.control.reset()
    assert model.control.counts == {}
    assert not model.control.settings.verbatim


def test_an_unknown_setting_is_refused(model: StandInModel) -> None:
    with pytest.raises(ValueError, match="unknown settings"):
        model.control.set(latency=1)
    answered = httpx.post(model.base_url.removesuffix("/v1") + "/control", json={"failure_kinds": ["fire"]})
    assert answered.status_code == 400


def test_it_is_driven_over_http_in_a_process_of_its_own() -> None:
    with StandInProcess() as model:
        model.control(verbatim=True, script=[{"memory": []}])
        with openai.OpenAI(base_url=model.base_url, api_key="any") as client:
            assert completed(client, "user: x") == '{"memory": []}'
            assert "ADD" in (completed(client, "user: x") or "")
        snapshot = model.control()
        assert snapshot["counts"]["chat"] == 2
        assert snapshot["settings"]["verbatim"] is True


def test_the_command_line_says_what_it_is() -> None:
    command = [sys.executable, "-m", "playground.stand_in_model", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline().strip() for _ in range(2)]
        process.terminate()
    assert lines[0].startswith("http://127.0.0.1:")
    assert lines[1] == ABOUT
    assert process.returncode == 0
