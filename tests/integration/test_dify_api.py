"""The client of Dify's API against the stand-in: what it asks, retries and refuses, and where its key goes."""

from __future__ import annotations

import asyncio
import json
import logging
import subprocess
import sys
import traceback
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from playground.dify_app import History, StandInDify
from playground.http_server import HttpServer, Request, Response
from utils import errors
from utils.errors import InvalidInput, ServiceError, ServiceRefused, ServiceRejected, ServiceUnavailable, UnusableAnswer
from utils.extraction import dify_api
from utils.extraction.dify_api import TRIES, DifyApi, parse_api_key, parse_base_url
from utils.messages import LANGUAGES

T: Final = 1_795_522_000
KEY: Final = "app-stand-in"


class Pauses(list[float]):
    """Counts how long the client would have waited, and does not."""

    async def __call__(self, seconds: float) -> None:
        self.append(seconds)
        await asyncio.sleep(0)


@pytest.fixture
def dify() -> Iterator[StandInDify]:
    history = History()
    for number in range(3):
        history.converse("ana", T + number * 100, ("Hello", "Hi"), ("I moved to Porto.", "Nice."))
    with StandInDify(history) as server:
        yield server


@pytest.fixture
def pauses() -> Pauses:
    return Pauses()


@pytest.fixture
async def api(dify: StandInDify, pauses: Pauses) -> AsyncIterator[DifyApi]:
    async with DifyApi(dify.base_url, KEY, pause=pauses) as client:
        yield client


async def test_pages_of_conversations_and_messages(dify: StandInDify, api: DifyApi) -> None:
    page = await api.conversations("ana")
    assert page is not None
    assert [row.created_at for row in page.rows] == [T + 200, T + 100, T]
    turns = await api.messages("ana", page.rows[0].id)
    assert turns is not None
    assert [(turn.user, turn.assistant, turn.at) for turn in turns.rows] == [
        ("Hello", "Hi", T + 200),
        ("I moved to Porto.", "Nice.", T + 230),
    ]
    older = await api.messages("ana", page.rows[0].id, first_id=turns.rows[1].id)
    assert older is not None
    assert [turn.id for turn in older.rows] == [turns.rows[0].id]
    behind = await api.conversations("ana", last_id=page.rows[1].id)
    assert behind is not None
    assert [row.id for row in behind.rows] == [page.rows[2].id]
    assert {query["limit"] for _, query in dify.control.asked} == {"100"}
    assert dify.control.asked[0][1]["sort_by"] == "-updated_at"


async def test_what_is_gone_is_none(dify: StandInDify, api: DifyApi) -> None:
    gone = next(iter(dify.history.conversations))
    dify.history.delete(gone)
    assert await api.messages("ana", gone) is None
    assert await api.conversations("ana", last_id=gone) is None
    kept = next(iter(dify.history.conversations))
    assert await api.messages("ana", kept, first_id=gone) is None
    assert dify.control.counts["messages"] == 2  # none of them was tried again


@pytest.mark.parametrize("failure", ["500", "429", "reset", "garbage"])
async def test_what_passes_is_tried_three_times(failure: str, dify: StandInDify, api: DifyApi, pauses: Pauses) -> None:
    dify.control.set(retry_after_s=7)
    dify.control.fail_next(failure, failure)
    assert await api.conversations("ana") is not None
    assert len(pauses) == TRIES - 1
    if failure == "429":
        assert all(7 <= pause < 8 for pause in pauses)
    else:
        assert 0.5 <= pauses[0] <= 1 <= pauses[1] <= 1.5
    dify.control.fail_next(*[failure] * TRIES)
    with pytest.raises(ServiceError) as caught:
        await api.conversations("ana")
    assert caught.value.passing
    assert isinstance(caught.value, UnusableAnswer if failure == "garbage" else ServiceUnavailable)
    assert dify.control.counts["conversations"] == 2 * TRIES


async def test_a_pause_that_is_too_long_is_left_to_the_next_run(
    dify: StandInDify, api: DifyApi, pauses: Pauses
) -> None:
    dify.control.set(retry_after_s=3600)
    dify.control.fail_next("429")
    with pytest.raises(ServiceUnavailable):
        await api.conversations("ana")
    assert pauses == []


@pytest.mark.parametrize(
    ("setting", "kind", "key"),
    [
        ({"accepted_key": "another"}, ServiceRefused, "dify_key_refused"),
        ({"api_enabled": False}, ServiceRefused, "dify_forbidden"),
        ({"app_mode": "workflow"}, ServiceRejected, "dify_not_chat_app"),
    ],
)
async def test_what_lasts_is_said_at_once(
    setting: dict[str, Any], kind: type[ServiceError], key: str, dify: StandInDify, api: DifyApi
) -> None:
    dify.control.set(**setting)
    with pytest.raises(kind) as caught:
        await api.conversations("ana")
    assert caught.value.key == key
    assert dify.control.counts["conversations"] == 1
    for language in LANGUAGES:
        assert "HTTP 4" in caught.value.sentence(language)


async def test_one_users_401_is_that_users(dify: StandInDify, api: DifyApi) -> None:
    dify.control.set(refused_users=["ben"])
    with pytest.raises(ServiceRefused):
        await api.conversations("ben")
    assert await api.conversations("ana") is not None


async def test_a_mistyped_path_is_told_apart_from_what_is_gone(dify: StandInDify) -> None:
    async with DifyApi(dify.base_url.replace("/v1", "/api/v1"), KEY) as client:
        for asked in (client.conversations("ana"), client.messages("ana", "c"), client.conversations("ana", "c")):
            with pytest.raises(ServiceRejected) as caught:
                await asked
            assert caught.value.key == "dify_no_api"


async def test_nobody_listens(pauses: Pauses) -> None:
    async with DifyApi("http://127.0.0.1:9/v1", KEY, pause=pauses) as client:
        with pytest.raises(ServiceUnavailable, match="ConnectError"):
            await client.conversations("ana")
    assert len(pauses) == TRIES - 1


class Other(HttpServer):
    """A server that answers what a test says, and keeps what it was sent."""

    def __init__(self, answer: Response | None = None) -> None:
        super().__init__()
        self.answer = answer or Response(200, b"{}")
        self.seen: list[Request] = []

    async def respond(self, request: Request, reader: asyncio.StreamReader) -> Response:
        self.seen.append(request)
        return self.answer


async def test_a_redirect_takes_the_key_nowhere() -> None:
    with Other() as elsewhere:
        moved = Response(302, b"", {"Location": f"{elsewhere.base_url}/conversations"})
        with Other(moved) as server, pytest.raises(ServiceRejected) as caught:
            async with DifyApi(server.base_url, KEY) as client:
                await client.conversations("ana")
        assert caught.value.key == "dify_redirects"
        assert server.seen[0].headers["authorization"] == f"Bearer {KEY}"
        assert elsewhere.seen == []


async def test_plain_http_takes_no_proxy(dify: StandInDify, monkeypatch: pytest.MonkeyPatch) -> None:
    with Other() as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.base_url.removesuffix("/v1"))
        async with DifyApi(dify.base_url, KEY) as client:
            assert await client.conversations("ana") is not None
        assert proxy.seen == []


async def test_an_answer_is_read_up_to_its_bound(monkeypatch: pytest.MonkeyPatch, pauses: Pauses) -> None:
    monkeypatch.setattr(dify_api, "MAX_ANSWER_BYTES", 10_000)
    body = json.dumps({"data": [], "limit": 100, "has_more": False, "padding": "x" * 20_000}).encode()
    with Other(Response(200, body, {"Content-Type": "application/json"})) as server:
        async with DifyApi(server.base_url, KEY, pause=pauses) as client:
            with pytest.raises(ServiceRejected, match="10000 bytes"):
                await client.conversations("ana")
    assert len(server.seen) == 1


async def test_the_key_is_in_no_error(dify: StandInDify, api: DifyApi, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    dify.control.set(retry_after_s=0)
    dify.control.fail_next("500", "429", "garbage", *["reset"] * TRIES)
    shown = repr(api)
    for _ in range(2):
        with pytest.raises(ServiceError) as caught:
            await api.conversations("ana")
        shown += "".join(traceback.format_exception(caught.value)) + caught.value.to_json()
    assert KEY not in shown + caplog.text
    assert issubclass(ServiceRefused, errors.PluginError)


@pytest.mark.parametrize(
    ("given", "parsed"),
    [
        ("http://localhost:5001/v1", "http://localhost:5001/v1"),
        (" https://dify.example.com/v1/ \n", "https://dify.example.com/v1"),
        ("https://DIFY.example.com/team/v1//", "https://DIFY.example.com/team/v1"),
        ("http://[::1]:5001/v1", "http://[::1]:5001/v1"),
    ],
)
def test_base_urls(given: str, parsed: str) -> None:
    assert parse_base_url(given) == parsed


@pytest.mark.parametrize(
    ("given", "right"),
    [
        ("http://localhost:5001", "http://localhost:5001/v1"),
        ("https://dify.example.com/", "https://dify.example.com/v1"),
        ("https://dify.example.com/v1/chat-messages", "https://dify.example.com/v1"),
        ("https://user:hush@dify.example.com/v1", "https://dify.example.com/v1"),
        ("https://user:hu/sh@dify.example.com/v1", "https://dify.example.com/v1"),
        ("https://hush:/x@dify.example.com/v1", "https://dify.example.com/v1"),
        ("ftp://dify.example.com/v1", "https://dify.example.com/v1"),
        ("dify.example.com/v1", "https://dify.example.com/v1"),
        ("https:///v1", "https://dify.example.com/v1"),
        ("https://dify.example.com/v1?key=hush", "https://dify.example.com/v1"),
        ("https://dify.example.com/v1#x", "https://dify.example.com/v1"),
        ("https://dify.example.com:port/v1", "https://dify.example.com/v1"),
        ("https://[::1/v1", "https://dify.example.com/v1"),
        ("http://dify.example.com/a\nb/v1", "http://dify.example.com/v1"),
        ("http://dify.example.com/a b/v1", "http://dify.example.com/v1"),
    ],
)
def test_other_base_urls_are_refused_with_the_right_form(given: str, right: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_base_url(given)
    for language in LANGUAGES:
        sentence = caught.value.sentence(language)
        assert right in sentence
        assert "dify_base_url" in sentence
        assert "hush" not in sentence


def test_keys() -> None:
    assert parse_api_key(" Bearer app-1 \n") == "app-1"
    for bad in ("", "Bearer ", "app 1", "app-\nX", "app-é", "app-\0"):
        with pytest.raises(InvalidInput):
            parse_api_key(bad)


def test_it_works_in_the_patched_process(dify: StandInDify) -> None:
    dify.control.set(retry_after_s=0)
    dify.control.fail_next("", "429", "reset")
    script = Path(__file__).with_name("patched_dify_api.py")
    root = script.parent.parent.parent
    done = subprocess.run(
        [sys.executable, str(script), dify.base_url, KEY],
        cwd=root,
        env={"PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == {"conversations": 3, "messages": [2] * 30}
