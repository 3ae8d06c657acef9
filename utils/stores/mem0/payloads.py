"""Payloads on their way into a store that cannot keep them as they are, and back again unchanged.

Three things happen, each only where the ``StoreAdapter`` says so, and :func:`decode` undoes all of them:

* metadata a store has no place for (a nested object, a list of mixed types, an unusual key) go together into one JSON
  text;
* a backtick gets a word joiner after it, where three of them would be taken for a code fence by mem0's reader;
* on a store whose updates merge, a key that disappears is set to null, which counts as absent everywhere.

What goes in is copied and what comes out is new, so no engine can change a caller's objects.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from utils.stores.errors import rejected
from utils.stores.mem0.adapter import StoreAdapter
from utils.stores.protocol import SCOPE_KEYS

_OWN_KEYS: Final = SCOPE_KEYS | {"data", "hash", "created_at", "updated_at"}
PACK_KEY: Final = "mem0_dify_json"  # under which they are kept
_EXACT_INTEGER: Final = 2**53  # beyond it some engines answer a float
_JOINER: Final = "\u2060"
_FENCE: Final = "```"


def encode(payload: Mapping[str, Any], adapter: StoreAdapter) -> dict[str, Any]:
    """A payload as the store takes it.

    Raises:
        ServiceRejected: it holds something JSON cannot express.
    """
    try:
        plain: dict[str, Any] = json.loads(json.dumps(payload, allow_nan=False))
    except (TypeError, ValueError) as exc:
        raise rejected("store_bad_row", type(exc).__name__) from exc
    fenced = _map_texts(plain, _break_fences) if adapter.breaks_on_fences else plain
    return fenced if adapter.packs == "nothing" else _pack(fenced, adapter)


def decode(stored: Mapping[str, Any] | None, adapter: StoreAdapter) -> dict[str, Any]:
    """The payload that :func:`encode` made this of, or that somebody else stored."""
    change = _join_fences if adapter.breaks_on_fences else str
    payload: dict[str, Any] = _map_texts(_unpack(dict(stored or {}), adapter), change)
    return {key: value for key, value in payload.items() if value is not None} if adapter.merges else payload


def without_leftovers(payload: Mapping[str, Any], old: Mapping[str, Any]) -> dict[str, Any]:
    """``payload`` with a null for every key that only ``old`` has, in nested objects too; both as they are stored."""
    gone: dict[str, Any] = dict.fromkeys(old.keys() - payload.keys())
    kept = {
        key: without_leftovers(value, old[key])
        if isinstance(value, Mapping) and isinstance(old.get(key), Mapping)
        else value
        for key, value in payload.items()
    }
    return {**gone, **kept}


def _pack(payload: dict[str, Any], adapter: StoreAdapter) -> dict[str, Any]:
    packed = {key: value for key, value in payload.items() if not _fits(key, value, adapter)}
    plain = {key: value for key, value in payload.items() if key not in packed}
    return {**plain, PACK_KEY: json.dumps(packed)} if packed else plain


def _fits(key: str, value: Any, adapter: StoreAdapter) -> bool:
    if key in _OWN_KEYS:
        return isinstance(value, str)
    if adapter.packs == "all" or key == PACK_KEY or not (key.isascii() and key.isidentifier()):
        return False
    if isinstance(value, str):
        return True
    if adapter.packs == "typed" or (isinstance(value, int) and abs(value) > _EXACT_INTEGER):
        return False
    return isinstance(value, bool | int | float)


def _unpack(stored: dict[str, Any], adapter: StoreAdapter) -> dict[str, Any]:
    packed = stored.get(PACK_KEY)
    if adapter.packs == "nothing" or not isinstance(packed, str):
        return stored
    try:
        unpacked = json.loads(packed)
    except ValueError:
        return stored
    if not isinstance(unpacked, dict):
        return stored  # somebody else's value under this key
    del stored[PACK_KEY]
    return {**stored, **unpacked}


def _break_fences(text: str) -> str:
    return text.replace("`", f"`{_JOINER}") if _FENCE in text or f"`{_JOINER}" in text else text


def _join_fences(text: str) -> str:
    return text.replace(f"`{_JOINER}", "`")


def _map_texts(value: Any, change: Callable[[str], str]) -> Any:
    """A copy of a JSON value with every text in it, keys included, changed."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {change(key) if isinstance(key, str) else key: _map_texts(part, change) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_map_texts(part, change) for part in value]
    return value
