"""The memories the benchmarks search in, and what they search for."""

from __future__ import annotations

from typing import Final

from benchmarks.peer import Mem0Peer
from benchmarks.setting import Plugin

SEARCHER: Final = "alice"
_OTHERS: Final = 10  # users beside the one that is searched
_AT_ONCE: Final = 10
_THINGS: Final = ("green tea", "night trains", "old maps", "climbing", "jazz records", "sour bread", "chess", "gardens")
_PLACES: Final = ("Lisbon", "Porto Alegre", "Osaka", "Leeds", "Chengdu", "Turin", "Quito", "Bergen", "Accra", "Hanoi")


def text(number: int) -> str:
    """The ``number``-th of as many sentences as one likes."""
    thing, place = _THINGS[number % len(_THINGS)], _PLACES[number // len(_THINGS) % len(_PLACES)]
    return f"Likes {thing} from {place} since the summer of {1950 + number}"


def queries(count: int, first: int = 0) -> list[str]:
    """``count`` different questions; the first of them has the number ``first``."""
    return [f"what about {text((first + number) * 7)}?" for number in range(count)]


def store(plugin: Plugin, per_user: int) -> None:
    """Let the plugin store ``per_user`` memories word for word for :data:`SEARCHER` and for others beside."""
    users = [SEARCHER, *(f"neighbour-{number}" for number in range(_OTHERS))]
    calls = [{"user_id": user, "user": text(number), "infer": False} for number in range(per_user) for user in users]
    for start in range(0, len(calls), _AT_ONCE):
        plugin.timed("add_memory", calls[start : start + _AT_ONCE], in_flight=_AT_ONCE)
        plugin.drain()


class DifferentMemories(Exception):
    """The two sides do not find the same memories: their times cannot be compared."""


def compare(plugin: Plugin, mem0: Mem0Peer, count: int) -> None:
    """Make sure that both sides find the same memories; mem0 leaves out those of a similarity below 0.1, and equally
    similar ones may come in any order.

    Raises:
        DifferentMemories: they do not, or mem0 finds nothing.
    """
    asked = queries(count)
    for query, theirs in zip(asked, mem0.found(asked, SEARCHER), strict=True):
        found = plugin.call("search_memory", user_id=SEARCHER, query=query, top_k=10).results
        scores = {memory["id"]: memory["score"] for memory in found}
        if not theirs or [scores.get(each) for each in theirs] != list(scores.values())[: len(theirs)]:
            raise DifferentMemories(f"{query!r}: the plugin finds {scores}, mem0 {theirs}")
