"""What the SDK writes within one turn goes out in one piece."""

from __future__ import annotations

import io

import gevent
import gevent.threadpool

from utils.aio.output import BatchedOutput


class Pieces(io.StringIO):
    """Keeps every write."""

    def __init__(self) -> None:
        super().__init__()
        self.pieces: list[str] = []

    def write(self, text: str) -> int:
        self.pieces.append(text)
        return super().write(text)


def test_what_is_written_in_one_turn_is_one_write_and_in_order() -> None:
    stream = Pieces()
    output = BatchedOutput(stream)
    for text in ("a", "\n\n", "b", "\n\n"):
        output.write(text)
        output.flush()
    assert stream.pieces == []
    gevent.sleep(0.001)
    output.write("c\n")
    gevent.sleep(0.001)
    assert stream.pieces == ["a\n\nb\n\n", "c\n"]


def test_what_another_thread_writes_is_sent_though_nobody_here_writes() -> None:
    stream = Pieces()
    output = BatchedOutput(stream)
    pool = gevent.threadpool.ThreadPool(2)
    with gevent.Timeout(60):
        pool.map(output.write, [f"line {number}\n" for number in range(200)])
        while stream.getvalue().count("\n") < 200:
            gevent.sleep(0.001)
    assert sorted(stream.getvalue().splitlines()) == sorted(f"line {number}" for number in range(200))


def test_what_waits_can_be_sent_at_once() -> None:
    stream = Pieces()
    output = BatchedOutput(stream)
    output.write("last words\n")
    output.send()
    output.send()
    assert stream.pieces == ["last words\n"]
