"""What Dify answers to a query: its pages, refusals and statuses, computed from a history. Pure but for the reading."""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable, Mapping
from typing import Any, Final

from playground.dify_app.history import NO_PARENT, Conversation, History, Message

type Answer = tuple[int, dict[str, Any]]

_DEFAULT_USER: Final = "DEFAULT-USER"
_SORTS: Final[Mapping[str, Callable[[Conversation], float]]] = {
    "created_at": lambda one: one.created_at,
    "updated_at": lambda one: one.updated_at,
}
_DID_YOU_MEAN: Final = {
    "/v1/conversations": "/v1/conversations or /v1/conversations/<uuid:c_id>/variables/<uuid:variable_id> or "
    "/api/conversations",
    "/v1/messages": "/v1/messages or /v1/chat-messages or /api/messages",
}


class _Refused(Exception):
    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.answer: Answer = (status, error(status, code, message))


def error(status: int, code: str, message: str) -> dict[str, Any]:
    """An error in Dify's shape."""
    return {"code": code, "message": message, "status": status}


def conversations(history: History, query: Mapping[str, str]) -> Answer:
    """``GET /v1/conversations``: what is strictly behind the *present* place of ``last_id``."""
    try:
        limit = _limit(query, "ConversationListQuery")
        last_id = _uuid(query, "last_id", "ConversationListQuery")
        sort_by = query.get("sort_by") or "-updated_at"
        if sort_by.removeprefix("-") not in _SORTS:
            raise _invalid("ConversationListQuery", "sort_by", f"Input should be {_known_sorts()}")
        with history.lock:
            listed = [one for one in history.of_user(query.get("user") or _DEFAULT_USER) if one.listed]
            return 200, _conversation_page(listed, sort_by, last_id, limit)
    except _Refused as refused:
        return refused.answer


def _known_sorts() -> str:
    return "'created_at', '-created_at', 'updated_at' or '-updated_at' [type=literal_error]"


def _conversation_page(listed: list[Conversation], sort_by: str, last_id: str, limit: int) -> dict[str, Any]:
    key = _SORTS[sort_by.removeprefix("-")]
    sign = -1 if sort_by.startswith("-") else 1
    rows = sorted(listed, key=lambda one: sign * key(one))
    if last_id:
        last = next((one for one in rows if one.id == last_id), None)
        if last is None:
            raise _gone("Last Conversation", "/v1/conversations")
        rows = [one for one in rows if sign * key(one) > sign * key(last)]
    return {
        "limit": limit,
        "has_more": len(rows) > limit,
        "data": [_conversation_row(one) for one in rows[:limit]],
    }


def messages(history: History, query: Mapping[str, str]) -> Answer:
    """``GET /v1/messages``: what is strictly older than the second of ``first_id``, ascending inside the page."""
    try:
        if not query.get("conversation_id"):
            raise _invalid("MessageListQuery", "conversation_id", "Field required [type=missing]")
        conversation_id = _uuid(query, "conversation_id", "MessageListQuery")
        first_id = _uuid(query, "first_id", "MessageListQuery")
        limit = _limit(query, "MessageListQuery")
        with history.lock:
            conversation = history.conversations.get(conversation_id)
            if conversation is None or conversation.user != (query.get("user") or _DEFAULT_USER):
                raise _gone("Conversation", "/v1/messages")
            return 200, _message_page(conversation, first_id, limit)
    except _Refused as refused:
        return refused.answer


def _message_page(conversation: Conversation, first_id: str, limit: int) -> dict[str, Any]:
    rows = conversation.messages
    if first_id:
        first = next((one for one in rows if one.id == first_id), None)
        if first is None:
            raise _gone("First Message", "/v1/messages")
        rows = [one for one in rows if one.created_at < first.created_at]
    # Inside a second the database orders as it likes, and not the same each time.
    order = random.Random(f"{first_id}/{limit}/{len(rows)}")
    newest = sorted(rows, key=lambda one: (-one.created_at, order.random()))[:limit]
    older = [one for one in rows if newest and one.created_at < newest[-1].created_at]
    return {
        "limit": limit,
        "has_more": len(newest) == limit and bool(older),
        "data": [_message_row(conversation, one) for one in reversed(newest)],
    }


def _conversation_row(one: Conversation) -> dict[str, Any]:
    return {
        "id": one.id,
        "name": one.name,
        "inputs": {},
        "status": "normal",
        "introduction": "",
        "created_at": one.created_at,
        "updated_at": int(one.updated_at),
    }


def _message_row(conversation: Conversation, one: Message) -> dict[str, Any]:
    return {
        "id": one.id,
        "conversation_id": conversation.id,
        "parent_message_id": NO_PARENT,
        "inputs": {},
        "query": one.query,
        "answer": one.answer,
        "feedback": None,
        "retriever_resources": [],
        "created_at": one.created_at,
        "agent_thoughts": [],
        "message_files": [],
        "status": one.status,
        "error": one.error,
        "extra_contents": [],
    }


def _gone(what: str, path: str) -> _Refused:
    message = f"{what} Not Exists. You have requested this URI [{path}] but did you mean {_DID_YOU_MEAN[path]} ?"
    return _Refused(404, "not_found", message)


def _invalid(model: str, name: str, problem: str) -> _Refused:
    return _Refused(400, "invalid_param", f"1 validation error for {model}\n{name}\n  {problem}")


def _limit(query: Mapping[str, str], model: str) -> int:
    given = query.get("limit", "20")
    try:
        limit = int(given)
    except ValueError:
        problem = "Input should be a valid integer, unable to parse string as an integer [type=int_parsing]"
        raise _invalid(model, "limit", problem) from None
    if limit < 1:
        raise _invalid(model, "limit", "Input should be greater than or equal to 1 [type=greater_than_equal]")
    if limit > 100:
        raise _invalid(model, "limit", "Input should be less than or equal to 100 [type=less_than_equal]")
    return limit


def _uuid(query: Mapping[str, str], name: str, model: str) -> str:
    """The id; empty where there is none, which is no error."""
    given = query.get(name, "")
    try:
        return str(uuid.UUID(given)) if given else ""
    except ValueError:
        raise _invalid(model, name, "Value error, must be a valid UUID [type=value_error]") from None
