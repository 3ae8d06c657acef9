"""What the model answered, read as changes: tolerant of how models write, strict about what is taken from them.

Models wrap JSON in fences, think aloud before it, talk around it, cut it off, and vary its shape. :func:`read` makes
the changes of SPEC 9 of all that, or raises :class:`ShapeError`: an answer that cannot be used never looks like one
that found nothing. ``{}``, ``[]`` and an empty list of memories are the answers that found nothing. ``{"facts":
[...]}`` and bare lists are read as ADDs, texts may stand under ``text``, ``memory`` or ``fact``, and an entry
without an event is an ADD. Pure.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, BeforeValidator, ValidationError, model_validator

from utils.memory.answer_json import LIST_KEYS, TEXT_KEYS, Found, ShapeError, find, has_shape
from utils.text import clean, essence

__all__ = ["Change", "Event", "ShapeError", "read"]

Event = Literal["ADD", "UPDATE", "DELETE"]
_TYPES: Final = frozenset({"semantic", "episodic", "procedural"})


@dataclass(frozen=True, slots=True)
class Change:
    """One change the model asks for.

    Attributes:
        event: ADD, UPDATE or DELETE.
        text: the memory's whole new text, cleaned and not blank; empty for DELETE.
        memory: the short id of the offered memory that is replaced or deleted; None for ADD.
        type: ``semantic``, ``episodic`` or ``procedural`` when types were asked for; always given for ADD then.
        date: ``YYYY-MM-DD``, of an episodic memory.
        steps: of a procedural memory.
    """

    event: Event
    text: str = ""
    memory: str | None = None
    type: str | None = None
    date: str | None = None
    steps: tuple[str, ...] = ()


def read(
    raw: str | dict[str, Any] | None, offered_ids: Collection[str], with_types: bool = False, *, whole: bool = False
) -> list[Change]:
    """The changes an answer asks for, in its order, at most one per offered memory and one per text.

    An UPDATE of a memory that was not offered becomes an ADD, such a DELETE is ignored. Of several changes to one
    memory the last UPDATE counts, else the DELETE.

    Args:
        raw: the model's answer as text, or already parsed.
        offered_ids: short ids of the memories the model was shown.
        with_types: read ``type``, ``date`` and ``steps``, too.
        whole: refuse an answer of which a part that carries words is unusable; otherwise that part alone is left out.

    Raises:
        ShapeError: nothing usable in the answer.
    """
    found = Found((raw,)) if isinstance(raw, dict) else find(raw)
    entries = [entry for value in found.values for entry in _entries(value)]
    items = [_item(entry) for entry in entries]
    if whole and found.cut:
        raise ShapeError("the answer breaks off before its end")
    unusable = [entry for entry, item in zip(entries, items, strict=True) if item is None]
    if whole and any(isinstance(entry, dict) for entry in unusable):
        raise ShapeError('an entry of the list has no valid "event", "id" or "text"')
    if entries and len(unusable) == len(entries):
        raise ShapeError("no entry of the list is a memory")
    changes = (_change(item, offered_ids, with_types) for item in items if item is not None)
    return _resolved([change for change in changes if change is not None])


def _entries(value: Any) -> list[Any]:
    """The entries of the list of changes, wherever the model put it.

    Raises:
        ShapeError: there is no such list.
    """
    if isinstance(value, list):
        return [entry for part in value for entry in (_listed(part) if _is_wrapper(part) else [part])]
    if not isinstance(value, dict):
        raise ShapeError("the answer is no JSON object")
    if not value:
        return []
    if not has_shape(value):
        raise ShapeError('the object has no "memory" list')
    return [value] if "event" in value else _listed(value)


def _is_wrapper(value: Any) -> bool:
    """An object that holds a list of memories where one memory was expected."""
    return (
        isinstance(value, dict) and "event" not in value and any(isinstance(value.get(key), list) for key in LIST_KEYS)
    )


def _listed(value: dict[str, Any]) -> list[Any]:
    entries: list[Any] = []
    lists = [value[key] for key in LIST_KEYS if key in value]
    for part in lists or [value]:
        if isinstance(part, list):
            entries += part
        elif isinstance(part, str | dict):
            entries.append(part)
        else:
            raise ShapeError('"memory" is not a list')
    return entries


def _word(raw: Any) -> Any:
    return clean(raw) if isinstance(raw, str) else raw


def _event(raw: Any) -> Any:
    return "ADD" if raw in (None, "") else raw.strip().upper() if isinstance(raw, str) else raw


def _date(raw: Any) -> str | None:
    """The calendar day ``raw`` begins with; None when it names none."""
    try:
        return date.fromisoformat(raw.strip()[:10]).isoformat() if isinstance(raw, str) else None
    except ValueError:
        return None


def _steps(raw: Any) -> tuple[str, ...]:
    listed = raw if isinstance(raw, list) else [raw]
    return tuple(step for part in listed if isinstance(part, str) and (step := clean(part)))


def _short_id(raw: Any) -> str | None:
    return str(raw) if type(raw) is int else clean(raw) if isinstance(raw, str) else None


def _lower(raw: Any) -> str | None:
    return raw.strip().lower() if isinstance(raw, str) else None


class _Item(BaseModel):
    """One entry of the list. A malformed id, type, date or step is dropped; a malformed event or text is not."""

    event: Annotated[Literal["ADD", "UPDATE", "DELETE", "NONE"], BeforeValidator(_event)] = "ADD"
    text: Annotated[str | None, BeforeValidator(_word)] = None
    id: Annotated[str | None, BeforeValidator(_short_id)] = None
    type: Annotated[str | None, BeforeValidator(_lower)] = None
    date: Annotated[str | None, BeforeValidator(_date)] = None
    steps: Annotated[tuple[str, ...], BeforeValidator(_steps)] = ()

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.event in {"ADD", "UPDATE"} and self.text is None:
            raise ValueError("no text")
        if self.event == "DELETE" and self.id is None:
            raise ValueError("no id")
        return self


def _item(entry: Any) -> _Item | None:
    """A validated entry of the list; None when it is not a memory."""
    if isinstance(entry, str):
        return _Item(text=clean(entry))
    if not isinstance(entry, dict):
        return None
    texts = (entry[key] for key in TEXT_KEYS if entry.get(key) is not None)
    fields = {key: entry[key] for key in ("event", "id", "type", "date", "steps") if key in entry}
    try:
        return _Item.model_validate({**fields, "text": next(texts, None)})
    except ValidationError:
        return None


def _change(item: _Item, offered_ids: Collection[str], with_types: bool) -> Change | None:
    """The change an entry asks for; None when it asks for none."""
    if item.event == "DELETE":
        return Change("DELETE", memory=item.id) if item.id in offered_ids else None
    if item.event == "NONE" or not item.text:
        return None
    replaces = item.event == "UPDATE" and item.id in offered_ids
    change = Change("UPDATE", item.text, item.id) if replaces else Change("ADD", item.text)
    return replace(change, **_description(item, replaces)) if with_types else change


def _description(item: _Item, replaces: bool) -> dict[str, Any]:
    """Type, date and steps. An ADD always has a type: the one its other fields suggest when the model gave none."""
    kind = item.type if item.type in _TYPES else None
    if kind is None and not replaces:
        kind = "procedural" if item.steps else "episodic" if item.date else "semantic"
    return {
        "type": kind,
        "date": item.date if kind == "episodic" else None,
        "steps": item.steps if kind == "procedural" else (),
    }


def _resolved(changes: Sequence[Change]) -> list[Change]:
    """``changes`` without contradictions: one per offered memory, one per text."""
    by_memory: dict[str, Change] = {}
    for change in changes:
        if change.memory is not None and (change.memory not in by_memory or change.event == "UPDATE"):
            by_memory[change.memory] = change
    kept: list[Change] = []
    texts = {essence(change.text) for change in by_memory.values() if change.event == "UPDATE"}
    replaced: set[str] = set()
    for change in changes:
        if change.memory is None:
            mark = essence(change.text)
            if mark not in texts:
                texts.add(mark)
                kept.append(change)
        elif change.memory in by_memory:
            final = by_memory.pop(change.memory)
            mark = essence(final.text)
            if final.event == "DELETE" or mark not in replaced:
                replaced.add(mark)
                kept.append(final)
    return kept
