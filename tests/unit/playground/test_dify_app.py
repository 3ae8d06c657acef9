"""The stand-in for Dify's API answers what a running Dify 1.14.2 was recorded to answer, on 2026-11-24.

Times are those of the recording; ids are short here and become the UUIDs that the API wants.
"""

from __future__ import annotations

import json
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import urlencode

import pytest

from playground.dify_app import Conversation, History, Message, StandInDify

T: Final = 1_795_522_000
KEY: Final = "app-stand-in"


def uid(name: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_OID, name))


NAMES: Final = {uid(name): name for name in [*"abcdefghijklm", "c1", "c2", "c3", "fast", *(f"f{n}" for n in range(8))]}


def turn(name: str, second: int, query: str, answer: str | None = None, **more: Any) -> Message:
    said = f"You (ana) said: {query}" if answer is None else answer
    return Message(uid(name), T + second, query, said, **more)


def recorded() -> History:
    history = History()
    stopped = {"status": "error", "error": "Run failed: Aborted: User requested stop"}
    for conversation in (
        Conversation(
            uid("c1"), "ana", "Hello, I am Ana.", T + 56, T + 60.4,
            [turn("a", 56, "Hello, I am Ana."), turn("b", 58, "I moved to Porto."),
             turn("c", 59, "THINK about lunch", "<think>The user wants lunch</think>\nDone"),
             turn("d", 61, "I like fado.")],
        ),
        Conversation(
            uid("c2"), "ana", "A second conversation.", T + 62, T + 63.1,
            [turn("e", 62, "A second conversation."),
             turn("f", 63, "BOOM now", "", status="error", error="Run failed: Failed to invoke tool")],
        ),
        Conversation(
            uid("c3"), "ana", "A third conversation", T + 63, T + 70.6,
            [turn("g", 63, "two turns (1)"), turn("h", 64, "two turns (2)"),
             turn("i", 64, "SLOW one", "first half. second half ()."), turn("j", 71, "SLOW two", "", **stopped)],
        ),
        Conversation(
            uid("fast"), "cleo", "fast 0", T + 75, T + 75.9,
            [turn("f0", 75, "fast 0"), *(turn(f"f{n}", 76, f"fast {n}") for n in range(1, 8))],
        ),
    ):  # fmt: skip
        history.conversations[conversation.id] = conversation
    return history


@pytest.fixture
def dify() -> Iterator[StandInDify]:
    with StandInDify(recorded()) as server:
        yield server


def ask(dify: StandInDify, path: str, query: dict[str, Any], authorization: str = f"Bearer {KEY}") -> tuple[int, Any]:
    url = f"{dify.base_url}/{path}?{urlencode(query)}"
    request = urllib.request.Request(url, headers={"Authorization": authorization} if authorization else {})
    try:
        with urllib.request.urlopen(request) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as problem:
        with problem:
            body = problem.read().decode()
            is_json = "json" in problem.headers["Content-Type"]
            return problem.code, json.loads(body) if is_json else body


def names(body: Any) -> str:
    return " ".join(NAMES[row["id"]] for row in body["data"])


CONVERSATIONS: Final = [
    ({}, "c3 c2 c1", False, 20),
    ({"sort_by": "-updated_at"}, "c3 c2 c1", False, 20),
    ({"sort_by": "updated_at"}, "c1 c2 c3", False, 20),
    ({"sort_by": "created_at"}, "c1 c2 c3", False, 20),
    ({"sort_by": "-created_at"}, "c3 c2 c1", False, 20),
    ({"limit": 2, "sort_by": "-updated_at"}, "c3 c2", True, 2),
    ({"limit": 2, "sort_by": "-updated_at", "last_id": uid("c2")}, "c1", False, 2),
    ({"limit": 2, "last_id": uid("c1")}, "", False, 2),
    ({"last_id": "", "limit": 1}, "c3", True, 1),
    ({"limit": 3}, "c3 c2 c1", False, 3),
    ({"user": "nobody"}, "", False, 20),
    ({"user": ""}, "", False, 20),
    ({"user": "ANA"}, "", False, 20),
]


@pytest.mark.parametrize(("query", "rows", "has_more", "limit"), CONVERSATIONS)
def test_lists_of_conversations(
    dify: StandInDify, query: dict[str, Any], rows: str, has_more: bool, limit: int
) -> None:
    status, body = ask(dify, "conversations", {"user": "ana", **query})
    assert (status, names(body), body["has_more"], body["limit"]) == (200, rows, has_more, limit)


MESSAGES: Final = [
    ({"limit": 1}, "d", True),
    ({"limit": 2}, "c d", True),
    ({"limit": 2, "first_id": uid("c")}, "a b", False),
    ({"limit": 2, "first_id": uid("a")}, "", False),
    ({"limit": 1, "first_id": ""}, "d", True),
    ({"limit": 4}, "a b c d", False),
]


@pytest.mark.parametrize(("query", "rows", "has_more"), MESSAGES)
def test_pages_of_messages(dify: StandInDify, query: dict[str, Any], rows: str, has_more: bool) -> None:
    status, body = ask(dify, "messages", {"user": "ana", "conversation_id": uid("c1"), **query})
    assert (status, names(body), body["has_more"]) == (200, rows, has_more)


def test_a_whole_conversation_and_a_whole_message_have_the_recorded_fields(dify: StandInDify) -> None:
    _, body = ask(dify, "conversations", {"user": "ana"})
    assert body["data"][0] == {
        "id": uid("c3"), "name": "A third conversation", "inputs": {}, "status": "normal", "introduction": "",
        "created_at": T + 63, "updated_at": T + 70,
    }  # fmt: skip
    _, body = ask(dify, "messages", {"user": "ana", "conversation_id": uid("c2")})
    assert body["data"][1] == {
        "id": uid("f"), "conversation_id": uid("c2"), "parent_message_id": "00000000-0000-0000-0000-000000000000",
        "inputs": {}, "query": "BOOM now", "answer": "", "feedback": None, "retriever_resources": [],
        "created_at": T + 63, "agent_thoughts": [], "message_files": [], "status": "error",
        "error": "Run failed: Failed to invoke tool", "extra_contents": [],
    }  # fmt: skip


def test_turns_that_share_the_second_of_first_id_are_hidden(dify: StandInDify) -> None:
    query = {"user": "cleo", "conversation_id": uid("fast"), "limit": 3}
    _, first = ask(dify, "messages", query)
    assert (len(first["data"]), first["has_more"]) == (3, True)
    assert {row["created_at"] for row in first["data"]} == {T + 76}
    _, second = ask(dify, "messages", {**query, "first_id": first["data"][0]["id"]})
    assert (names(second), second["has_more"]) == ("f0", False)  # four of the eight are in neither page


def test_a_touched_last_id_starts_again_from_the_top(dify: StandInDify) -> None:
    dify.history.say(uid("c2"), T + 75, "A turn between two pages.", "You said.")
    _, body = ask(dify, "conversations", {"user": "ana", "limit": 2, "last_id": uid("c2")})
    assert (names(body), body["has_more"]) == ("c3 c1", False)


def test_a_rename_moves_to_the_top(dify: StandInDify) -> None:
    dify.history.rename(uid("c1"), T + 80, "Renamed")
    _, body = ask(dify, "conversations", {"user": "ana"})
    assert names(body) == "c1 c3 c2"
    assert body["data"][0]["updated_at"] == T + 80


def test_a_running_turn_looks_finished_and_its_end_does_not_move_the_conversation(dify: StandInDify) -> None:
    running = dify.history.say(uid("c3"), T + 90, "SLOW three")
    query = {"user": "ana", "conversation_id": uid("c3"), "limit": 1}
    _, body = ask(dify, "messages", query)
    row = body["data"][0]
    assert (row["answer"], row["status"], row["error"]) == ("", "normal", None)
    _, before = ask(dify, "conversations", {"user": "ana", "limit": 1})
    dify.history.finish(running, "first half. second half.")
    _, body = ask(dify, "messages", query)
    assert body["data"][0]["answer"] == "first half. second half."
    assert ask(dify, "conversations", {"user": "ana", "limit": 1})[1] == before
    dify.history.fail(running)
    _, body = ask(dify, "messages", query)
    row = body["data"][0]
    assert (row["answer"], row["status"], row["error"]) == ("", "error", "Run failed: Aborted: User requested stop")


def test_a_conversation_of_the_web_app_is_not_listed_but_can_be_read(dify: StandInDify) -> None:
    made = dify.history.converse("ana", T + 77, ("From the web app.", "You said."), listed=False)
    _, body = ask(dify, "conversations", {"user": "ana"})
    assert names(body) == "c3 c2 c1"
    status, body = ask(dify, "messages", {"user": "ana", "conversation_id": made.id})
    assert (status, len(body["data"])) == (200, 1)


def test_a_deleted_conversation_is_gone_everywhere(dify: StandInDify) -> None:
    dify.history.delete(uid("c2"))
    assert names(ask(dify, "conversations", {"user": "ana"})[1]) == "c3 c1"
    for path, query in (
        ("messages", {"conversation_id": uid("c2")}),
        ("conversations", {"last_id": uid("c2")}),
    ):
        status, body = ask(dify, path, {"user": "ana", **query})
        assert (status, body["code"], body["status"]) == (404, "not_found", 404)


REFUSALS: Final = [
    ("messages", {"user": "ben", "conversation_id": uid("c1")}, 404, "not_found", "Conversation Not Exists. You have"),
    ("messages", {"conversation_id": uid("c1")}, 404, "not_found", "Conversation Not Exists."),
    ("conversations", {"user": "ben", "last_id": uid("c1")}, 404, "not_found", "Last Conversation Not Exists. You"),
    ("conversations", {"user": "ana", "last_id": uid("x")}, 404, "not_found", "Last Conversation Not Exists."),
    ("messages", {"user": "ana", "conversation_id": uid("x")}, 404, "not_found", "Conversation Not Exists."),
    ("messages", {"user": "ana", "conversation_id": uid("c1"), "first_id": uid("x")}, 404, "not_found",
     "First Message Not Exists."),
    ("messages", {"user": "ana", "conversation_id": uid("c2"), "first_id": uid("c")}, 404, "not_found",
     "First Message Not Exists."),
    ("messages", {"user": "ana", "conversation_id": "abc"}, 400, "invalid_param", "1 validation error for Mess"),
    ("conversations", {"user": "ana", "last_id": "abc"}, 400, "invalid_param", "1 validation error for Conv"),
    ("messages", {"user": "ana"}, 400, "invalid_param", "1 validation error for MessageListQuery\nconversation_id"),
    ("conversations", {"user": "ana", "limit": 0}, 400, "invalid_param", "1 validation error for"),
    ("conversations", {"user": "ana", "limit": 101}, 400, "invalid_param", "1 validation error for"),
    ("messages", {"user": "ana", "conversation_id": uid("c1"), "limit": "x"}, 400, "invalid_param", "1 validation"),
    ("conversations", {"user": "ana", "sort_by": "name"}, 400, "invalid_param", "1 validation error for"),
]  # fmt: skip


@pytest.mark.parametrize(("path", "query", "status", "code", "message"), REFUSALS)
def test_refusals(dify: StandInDify, path: str, query: dict[str, Any], status: int, code: str, message: str) -> None:
    answered, body = ask(dify, path, query)
    assert (answered, body["code"], body["status"]) == (status, code, status)
    assert body["message"].startswith(message)


@pytest.mark.parametrize(
    ("authorization", "message"),
    [
        ("Bearer app-wrong", "Access token is invalid"),
        ("", "Authorization header must be provided and start with 'Bearer'"),
        (KEY, "Authorization header must be provided and start with 'Bearer'"),
    ],
)
def test_keys_that_are_refused(dify: StandInDify, authorization: str, message: str) -> None:
    status, body = ask(dify, "conversations", {"user": "ana"}, authorization)
    assert (status, body) == (401, {"code": "unauthorized", "message": message, "status": 401})


@pytest.mark.parametrize(
    ("setting", "status", "code"),
    [({"app_mode": "workflow"}, 400, "not_chat_app"), ({"api_enabled": False}, 403, "forbidden")],
)
def test_apps_that_cannot_be_read(dify: StandInDify, setting: dict[str, Any], status: int, code: str) -> None:
    dify.control.set(**setting)
    for path in ("conversations", "messages"):
        answered, body = ask(dify, path, {"user": "ana", "conversation_id": uid("c1")})
        assert (answered, body["code"]) == (status, code)


def test_a_wrong_path_is_html(dify: StandInDify) -> None:
    status, body = ask(dify, "conversation", {"user": "ana"})
    assert status == 404
    assert body.startswith("<!doctype html>")


def test_failures_changes_and_counters(dify: StandInDify) -> None:
    dify.control.fail_next("500", "429", "garbage", "reset")
    query = {"user": "ana", "limit": 1}
    assert [ask(dify, "conversations", query)[0] for _ in range(2)] == [500, 429]
    with pytest.raises(json.JSONDecodeError):
        ask(dify, "conversations", query)
    with pytest.raises(OSError):  # noqa: PT011 - reset by peer, or closed without an answer
        ask(dify, "conversations", query)
    dify.control.change_after_next(lambda: dify.history.rename(uid("c1"), T + 99, "x"))
    assert [names(ask(dify, "conversations", query)[1]) for _ in range(2)] == ["c3", "c1"]
    assert dify.control.counts["conversations"] == 6
    assert [path for path, _ in dify.control.asked] == ["/v1/conversations"] * 2
    dify.control.set(refused_users=["ana"])
    assert ask(dify, "conversations", query)[0] == 401
    assert ask(dify, "conversations", {"user": "ben"})[0] == 200
