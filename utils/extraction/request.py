"""What an extraction is asked to do, as the tool's parameters say it and as its task keeps it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import date, datetime, time, timedelta
from typing import Any, Final, Self

from utils.errors import InvalidInput
from utils.extraction.intervals import Intervals

MOST_USERS: Final = 20_000  # of one task: their ids are recorded in one transaction


@dataclass(frozen=True, slots=True)
class ExtractionRequest:
    """One extraction, without the users' ids and the key: they are kept elsewhere.

    Attributes:
        app_id: the app, and the ``agent_id`` of the memories.
        base_url: of Dify's API, as ``dify_api.parse_base_url`` returns it.
        start: first epoch second of the range.
        end: the epoch second after its last one.
        conversations_limit: conversations of one user that are read.
        max_tokens: of one conversation that are taken.
        budget_s: seconds after which nothing new is begun.
    """

    app_id: str
    base_url: str
    start: int
    end: int
    conversations_limit: int
    max_tokens: int
    budget_s: float

    @property
    def range(self) -> Intervals:
        """The seconds asked for."""
        return Intervals.between(self.start, self.end)

    def to_json(self) -> dict[str, Any]:
        """The request as the state store keeps it."""
        return asdict(self)

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Self:
        """The inverse of :meth:`to_json`."""
        return cls(**plain)


def range_before(today: date, days_back: int) -> tuple[int, int]:
    """The epoch seconds of the ``days_back`` days before ``today``, which begin at midnight of this place."""
    first = datetime.combine(today - timedelta(days=days_back), time.min)
    return int(first.timestamp()), int(datetime.combine(today, time.min).timestamp())


def parse_user_ids(given: str | list[Any]) -> list[str]:
    """User ids from a list, its JSON or a comma-separated text; the order is kept, and each is there once.

    Raises:
        InvalidInput: there is none, there are too many, or the list is no list of texts.
    """
    listed = given if isinstance(given, list) else _listed(given.strip())
    if not all(isinstance(one, str | int) and not isinstance(one, bool) for one in listed):
        raise InvalidInput("param_bad_user_ids", name="user_ids")
    found = list(dict.fromkeys(user_id for one in listed if (user_id := str(one).strip())))
    if not found:
        raise InvalidInput("param_blank", name="user_ids")
    if len(found) > MOST_USERS:
        raise InvalidInput("param_too_many_users", name="user_ids", limit=MOST_USERS)
    return found


def _listed(text: str) -> list[Any]:
    if not text.startswith("["):
        return text.split(",")
    try:
        listed: list[Any] = json.loads(text)
    except (ValueError, RecursionError) as exc:
        raise InvalidInput("param_bad_user_ids", name="user_ids") from exc
    return listed
