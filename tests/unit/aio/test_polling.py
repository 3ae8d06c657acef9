"""``select.poll`` of a patched process: the answers of the real one, and other greenlets run while it waits."""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Iterator

import gevent
import gevent.select
import pytest

from utils.aio import polling

REAL_POLL = select.poll


@pytest.fixture(autouse=True)
def _patched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(select, "poll", gevent.select.poll)
    polling.install()
    assert select.poll not in (gevent.select.poll, REAL_POLL)


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    here, there = socket.socketpair()
    with here, there:
        yield here, there


def answers(poll: select.poll, fd: int) -> list[list[tuple[int, int]]]:
    seen = []
    for mask in (select.POLLIN, select.POLLOUT, select.POLLIN | select.POLLOUT):
        poll.register(fd, mask)
        seen.append(poll.poll(0))
    poll.modify(fd, select.POLLIN)
    seen.append(poll.poll(0))
    poll.unregister(fd)
    return [*seen, poll.poll(0)]


@pytest.mark.parametrize("state", ["silent", "readable", "hung up", "closed"])
def test_asked_without_waiting_it_answers_as_the_real_one(
    ends: tuple[socket.socket, socket.socket], state: str
) -> None:
    here, there = ends
    fd = here.fileno()
    if state == "readable":
        there.send(b"x")
    elif state == "hung up":
        there.close()
    elif state == "closed":
        fd = os.dup(fd)
        os.close(fd)
    assert answers(select.poll(), fd) == answers(REAL_POLL(), fd)


def test_others_run_while_it_waits(ends: tuple[socket.socket, socket.socket]) -> None:
    here, there = ends
    poll = select.poll()
    poll.register(here, select.POLLIN)
    assert poll.poll(1) == []
    gevent.spawn(there.send, b"x")
    assert poll.poll(10_000) == [(here.fileno(), select.POLLIN)]


def test_a_process_that_is_not_patched_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(select, "poll", REAL_POLL)
    polling.install()
    assert select.poll is REAL_POLL
