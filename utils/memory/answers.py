"""What the model answered, read as changes: tolerant of how models write, strict about what is taken from them.

Models wrap JSON in fences, think aloud before it, talk around it, cut it off, and vary its shape. :func:`read` makes
the changes of SPEC 9 of all that, or raises :class:`ShapeError`: an answer that cannot be used never looks like one
that found nothing. ``{}``, ``[]`` and an empty list of memories are the answers that found nothing. ``{"facts":
[...]}`` and bare lists are read as ADDs, texts may stand under ``text``, ``memory`` or ``fact``, and an entry
without an event, or an UPDATE without an id, is an ADD. Pure.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, BeforeValidator, ValidationError, model_validator

from utils.graph.relations import MAX_RELATIONS, Relation, relation
from utils.memory.answer_json import LIST_KEYS, TEXT_KEYS, Found, ShapeError, find, has_shape
from utils.text import clean, normalized

__all__ = ["Event", "ModelAnswer", "ProposedChange", "ShapeError", "read"]

Event = Literal["ADD", "UPDATE", "DELETE"]
_TYPES: Final = frozenset({"semantic", "episodic", "procedural"})


@dataclass(frozen=True, slots=True)
class ProposedChange:
    """One change the model asks for. What is done to the store is a :class:`~utils.memory.plan.Change`.

    Attributes:
        event: ADD, UPDATE or DELETE.
        text: the memory's whole new text, cleaned and not blank; empty for DELETE.
        memory: the short id of the offered memory that is replaced or deleted; None for ADD.
        type: ``semantic``, ``episodic`` or ``procedural`` when types were asked for; always given for ADD then.
        date: ``YYYY-MM-DD``, of an episodic memory.
        steps: of a procedural memory.
        relations: what the text says of how things are related, when relations were asked for.
    """

    event: Event
    text: str = ""
    memory: str | None = None
    type: str | None = None
    date: str | None = None
    steps: tuple[str, ...] = ()
    relations: tuple[Relation, ...] = ()


@dataclass(frozen=True, slots=True)
class ModelAnswer:
    """What an answer asks for.

    Attributes:
        changes: in the answer's order, at most one per offered memory and one per text.
        refused: how many changes were dropped, by reason: ``unknown_id`` of UPDATEs and DELETEs of an id that was not
            offered, and those of ``refusals``.
        left_out: what was wrong with a part of the answer that carries words and could not be used; empty when none
            was.
        cut: the answer breaks off; ``left_out`` says so.
        calls: how often the model was asked for it.
    """

    changes: list[ProposedChange]
    refused: Mapping[str, int] = field(default_factory=dict)
    left_out: str = ""
    cut: bool = False
    calls: int = 1


def read(
    raw: str | dict[str, Any] | None,
    offered_ids: Collection[str],
    with_types: bool = False,
    with_relations: bool = False,
) -> ModelAnswer:
    """What an answer asks for. Of several changes to one memory the last UPDATE counts, else the DELETE.

    Args:
        raw: the model's answer as text, or already parsed.
        offered_ids: short ids of the memories the model was shown.
        with_types: read ``type``, ``date`` and ``steps``, too.
        with_relations: read ``relations``, too. What is wrong with these costs nothing but them.

    Raises:
        ShapeError: nothing usable in the answer.
    """
    found = Found((raw,)) if isinstance(raw, dict) else find(raw)
    listed = [_entries(value) for value in found.values]
    entries = [entry for part in listed for entry in part]
    items = {place: item for place, entry in enumerate(entries) if (item := _item(entry)) is not None}
    if entries and not items:
        raise ShapeError("no entry of the list is a memory")
    left_out = ""
    if found.cut:
        left_out = "the answer breaks off before its end"
    elif any(_is_no_memory(entry) for place, entry in enumerate(entries) if place not in items):
        left_out = 'an entry of the list has no valid "event", "id" or "text"'
    known = {place: item for place, item in items.items() if item.changed_id is None or item.changed_id in offered_ids}
    related = _relations(found.values, [len(part) for part in listed]) if with_relations else {}
    changes = [
        replace(change, relations=tuple(dict.fromkeys(related.get(place, ()))))
        for place, item in known.items()
        if (change := _change(item, with_types)) is not None
    ]
    unknown = len(items) - len(known)
    refused = {"unknown_id": unknown} if unknown else {}
    return ModelAnswer(_one_per_text(_one_per_memory(changes)), refused, left_out, found.cut)


def _is_no_memory(unread: Any) -> bool:
    """Whether an entry that could not be read was meant to be a memory."""
    return isinstance(unread, dict) and not _is_relation(unread)


def _relations(values: Sequence[Any], lengths: Sequence[int]) -> dict[int, list[Relation]]:
    """The relations that stand beside the lists of entries, by the place of their fact among all entries. ``lengths``
    of the lists. A relation whose fact is not told, or that is none, is left out.
    """
    related: dict[int, list[Relation]] = {}
    first = 0
    for value, length in zip(values, lengths, strict=True):
        given = value.get("relations") if isinstance(value, dict) else None
        for one in given[:MAX_RELATIONS] if isinstance(given, list) else ():
            place = _place(one.get("memory"), length) if isinstance(one, dict) else None
            said = None if place is None else relation(one.get("source"), one.get("relation"), one.get("destination"))
            if place is not None and said is not None:
                related.setdefault(first + place, []).append(said)
        first += length
    return related


def _place(raw: Any, length: int) -> int | None:
    """The place in a list of this length that ``raw`` names; None when it names none."""
    if isinstance(raw, str) and raw.isascii() and raw.isdigit() and len(raw) < 5:
        raw = int(raw)
    return raw if isinstance(raw, int) and not isinstance(raw, bool) and 0 <= raw < length else None


def _is_relation(entry: dict[str, Any]) -> bool:
    """Whether an entry is a relation that the model put into the list of memories."""
    return "event" not in entry and "source" in entry and "destination" in entry


def _entries(value: Any) -> list[Any]:
    """The entries of the list of changes, wherever the model put it.

    Raises:
        ShapeError: there is no such list.
    """
    if isinstance(value, list):
        return [entry for part in _flat(value) for entry in (_listed(part) if _is_wrapper(part) else [part])]
    if not isinstance(value, dict):
        raise ShapeError("the answer is no JSON object")
    if not value:
        return []
    if not has_shape(value):
        raise ShapeError('the object has no "memory" list')
    return [value] if "event" in value else _listed(value)


def _flat(entries: list[Any]) -> list[Any]:
    """``entries``, without the lists that stand for an object in which a key was given twice (``answer_json``)."""
    flat: list[Any] = []
    for entry in entries:
        twice = isinstance(entry, list) and all(isinstance(part, dict) for part in entry)
        flat += entry if twice else [entry]
    return flat


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
            entries += _flat(part)
        elif isinstance(part, str | dict):
            entries.append(part)
        else:
            raise ShapeError('"memory" is not a list')
    return entries


def _cleaned(raw: Any) -> Any:
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
    text: Annotated[str | None, BeforeValidator(_cleaned)] = None
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

    @property
    def changed_id(self) -> str | None:
        """The short id of the memory the entry changes, offered or not; None when it changes none."""
        return self.id if self.event in {"UPDATE", "DELETE"} else None


def _item(entry: Any) -> _Item | None:
    """A validated entry of the list; None when it is not a memory."""
    if isinstance(entry, str):
        return _Item(text=clean(entry))
    if not isinstance(entry, dict) or _is_relation(entry):
        return None
    texts = (entry[key] for key in TEXT_KEYS if entry.get(key) is not None)
    fields = {key: entry[key] for key in ("event", "id", "type", "date", "steps") if key in entry}
    try:
        return _Item.model_validate({**fields, "text": next(texts, None)})
    except ValidationError:
        return None


def _change(item: _Item, with_types: bool) -> ProposedChange | None:
    """The change an entry asks for; None when it asks for none."""
    if item.event == "DELETE":
        return ProposedChange("DELETE", memory=item.changed_id)
    if item.event == "NONE" or not item.text:
        return None
    event: Event = "ADD" if item.changed_id is None else "UPDATE"
    change = ProposedChange(event, item.text, item.changed_id)
    return replace(change, **_description(item, event)) if with_types else change


def _description(item: _Item, event: Event) -> dict[str, Any]:
    """Type, date and steps. An ADD always has a type: the one its other fields suggest when the model gave none."""
    kind = item.type if item.type in _TYPES else None
    if kind is None and event == "ADD":
        kind = "procedural" if item.steps else "episodic" if item.date else "semantic"
    return {
        "type": kind,
        "date": item.date if kind == "episodic" else None,
        "steps": item.steps if kind == "procedural" else (),
    }


def _one_per_memory(changes: Sequence[ProposedChange]) -> list[ProposedChange]:
    """Of several changes to one memory the last UPDATE, else the first DELETE; and every ADD."""
    chosen: dict[str, ProposedChange] = {}
    for change in changes:
        if change.memory is not None and (change.event == "UPDATE" or change.memory not in chosen):
            chosen[change.memory] = change
    return [change for change in changes if change.memory is None or chosen[change.memory] is change]


def _one_per_text(changes: Sequence[ProposedChange]) -> list[ProposedChange]:
    """Of several changes that would store one text the first UPDATE, else the first ADD; and every DELETE."""
    chosen: dict[str, ProposedChange] = {}
    for event in ("UPDATE", "ADD"):
        for change in changes:
            if change.event == event:
                chosen.setdefault(normalized(change.text), change)
    return [change for change in changes if change.event == "DELETE" or chosen[normalized(change.text)] is change]
