"""Tool parameters: what a tool declares, and how a value from a workflow becomes a value the tool can trust.

Workflows hand over whatever a variable held: text, numbers as text, JSON as text or already parsed, None, blanks. A
tool declares its parameters as a tuple of :class:`Parameter`; :func:`parse` returns all of them by name, checked and
converted, or raises ``InvalidInput`` with one sentence that names the parameter. The yaml files are compared with
these declarations by a test.
"""

from __future__ import annotations

import ast
import json
import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from utils.errors import InvalidInput
from utils.memory.requests import MAX_MEMORY_CHARS
from utils.stores.protocol import RESERVED_KEYS

_log = logging.getLogger(__name__)

Kind = Literal[
    "text", "id", "id_list", "trace", "boolean", "integer", "number", "limit", "metadata", "filters", "timeout"
]

MAX_ID_CHARS: Final = 512
MAX_MESSAGE_CHARS: Final = 200_000  # a message pair of that size still fits the context of today's large models
MAX_TEXT_CHARS: Final = MAX_MEMORY_CHARS  # one memory, query or set of instructions
MAX_JSON_CHARS: Final = 65_536
MAX_USER_IDS_CHARS: Final = 2_000_000


@dataclass(frozen=True, slots=True)
class Parameter:
    """One declared parameter.

    Attributes:
        name: as in the yaml.
        kind: what it holds; ``id`` is a scope or memory id, ``id_list`` the text of a list or a list, ``trace`` the run
            id, ``timeout`` seconds (read by the frame), ``limit`` a number that is cut to its range instead of refused.
        required: a missing or blank value is an error.
        default: what an absent optional parameter becomes.
        low: smallest number allowed.
        high: largest number allowed; for text, the most characters.
        blank: a required text may be there but blank.
    """

    name: str
    kind: Kind
    required: bool = False
    default: Any = None
    low: float | None = None
    high: float | None = None
    blank: bool = False


USER_ID: Final = Parameter("user_id", "id", required=True)
AGENT_ID: Final = Parameter("agent_id", "id")
OF_USER: Final = Parameter("user_id", "id")  # on tools that take a memory_id: whose the memory must be
MEMORY_ID: Final = Parameter("memory_id", "id", required=True)
METADATA: Final = Parameter("metadata", "metadata")
FILTERS: Final = Parameter("filters", "filters")
LIMIT: Final = Parameter("limit", "integer", default=100, low=1, high=1000)
OFFSET: Final = Parameter("offset", "integer", default=0, low=0, high=1_000_000_000)
RUN_ID: Final = Parameter("run_id", "trace")


def timeout(default_s: float) -> Parameter:
    """The ``timeout`` parameter of a tool whose default is ``default_s`` seconds."""
    return Parameter("timeout", "timeout", default=default_s)


def parse(declared: tuple[Parameter, ...], given: Mapping[str, Any]) -> dict[str, Any]:
    """Every declared parameter by name, converted; undeclared ones are ignored, as Dify itself adds some.

    Raises:
        InvalidInput: the first parameter that cannot be used, by name.
    """
    return {parameter.name: _value(parameter, given.get(parameter.name)) for parameter in declared}


def _value(parameter: Parameter, given: Any) -> Any:
    absent = given is None or (isinstance(given, str) and not given.strip())
    if absent and parameter.blank and isinstance(given, str):
        return ""
    if absent and parameter.required:
        raise InvalidInput("param_required" if given is None else "param_blank", name=parameter.name)
    if absent:
        return parameter.default
    return _READERS[parameter.kind](parameter, given)


def _text(parameter: Parameter, given: Any) -> str:
    if not isinstance(given, str):
        raise InvalidInput("param_not_text", name=parameter.name)
    limit = int(parameter.high or MAX_TEXT_CHARS)
    if len(given) > limit:
        raise InvalidInput("param_too_long", name=parameter.name, limit=limit)
    return _storable(given)


def _storable(text: str) -> str:
    """``text`` without the characters that no store keeps: NUL and halves of surrogate pairs."""
    return text.replace("\x00", "").encode("utf-8", "ignore").decode("utf-8")


def _id(parameter: Parameter, given: Any) -> str:
    """An id exactly as given but for surrounding blanks; anything a store might read as more than an id is refused.

    A line break at its end is refused, too: stripped here, it would not be found under the id another tool stored.
    """
    if not isinstance(given, str):
        raise InvalidInput("param_not_text", name=parameter.name)
    if len(given) > MAX_ID_CHARS:
        raise InvalidInput("param_too_long", name=parameter.name, limit=MAX_ID_CHARS)
    value = given.strip()
    if value == "*" or _storable(given) != given or len(f"{given}.".splitlines()) > 1:
        raise InvalidInput("param_bad_id", name=parameter.name)
    return value


def _id_list(parameter: Parameter, given: Any) -> str | list[Any]:
    """The text, or a list that is parsed already as it is: the operation reads both (``checked_id`` is for its ids)."""
    return given if isinstance(given, list) else _text(parameter, given)


def trace_id(given: Mapping[str, Any]) -> str:
    """The run id of a call, whatever is wrong with its parameters, as one printable line; empty where there is none."""
    value = given.get(RUN_ID.name)
    return _printable(value) if isinstance(value, str) else ""


def _trace(parameter: Parameter, given: Any) -> str:
    return _printable(_text(parameter, given))


def _printable(text: str) -> str:
    return "".join(char for char in text[:MAX_ID_CHARS] if char.isprintable()).strip()


def _boolean(parameter: Parameter, given: Any) -> bool:
    spelled = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    value = given if isinstance(given, bool) else spelled.get(str(given).strip().lower())
    if value is None:
        raise InvalidInput("param_not_boolean", name=parameter.name)
    return value


def _number(parameter: Parameter, given: Any) -> float:
    value = math.nan
    if isinstance(given, (int, float, str)) and not isinstance(given, bool):
        try:
            value = float(given)
        except (ValueError, OverflowError):
            value = math.nan
    if not math.isfinite(value):
        raise InvalidInput("param_not_number", name=parameter.name)
    low = -math.inf if parameter.low is None else parameter.low
    high = math.inf if parameter.high is None else parameter.high
    if not low <= value <= high:
        raise InvalidInput("param_out_of_range", name=parameter.name, low=f"{low:g}", high=f"{high:g}")
    return value


def _integer(parameter: Parameter, given: Any) -> int:
    value = _number(parameter, given)
    if not value.is_integer():
        raise InvalidInput("param_not_integer", name=parameter.name)
    return int(value)


class Cut(float):
    """A number that was cut to its parameter's range."""


def _limit(parameter: Parameter, given: Any) -> float:
    value = _number(replace(parameter, low=None, high=None), given)
    low = -math.inf if parameter.low is None else parameter.low
    high = math.inf if parameter.high is None else parameter.high
    kept = min(max(value, low), high)
    return kept if kept == value else Cut(kept)


def cut(given: Mapping[str, Any]) -> list[str]:
    """The parsed parameters that were cut to their range, each with what it became."""
    return [f"{name} = {value:g}" for name, value in given.items() if isinstance(value, Cut)]


def checked_id(name: str, given: str) -> str:
    """One of the ids in the list that the parameter ``name`` holds.

    Raises:
        InvalidInput: it cannot be used as an id.
    """
    return _id(Parameter(name, "id"), given)


def _json_object(parameter: Parameter, given: Any) -> dict[str, Any]:
    if isinstance(given, str):
        if len(given) > MAX_JSON_CHARS:
            raise InvalidInput("param_too_long", name=parameter.name, limit=MAX_JSON_CHARS)
        given = _parsed(parameter, given)
    if not isinstance(given, dict):
        raise InvalidInput("param_json_not_object", name=parameter.name)
    return given


def _parsed(parameter: Parameter, text: str) -> Any:
    """``text`` read as JSON, else as the Python literal that Dify makes of an object variable."""
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except json.JSONDecodeError as exc:
        literal = _python_literal(text)
        if literal is None:
            place = {"line": exc.lineno, "column": exc.colno}
            raise InvalidInput("param_bad_json", name=parameter.name, **place) from exc
        return literal
    except (ValueError, RecursionError) as exc:  # NaN and Infinity, which no store keeps; thousands of brackets
        raise InvalidInput("param_json_not_object", name=parameter.name) from exc


def _python_literal(text: str) -> Any:
    """The JSON value a Python literal stands for; None when it is no literal, or holds what JSON cannot say."""
    try:
        return json.loads(json.dumps(ast.literal_eval(text.strip()), allow_nan=False))
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None


def _refuse_constant(name: str) -> Any:
    raise ValueError(name)


def _metadata(parameter: Parameter, given: Any) -> dict[str, Any]:
    metadata = _json_object(parameter, given)
    reserved = sorted(RESERVED_KEYS & metadata.keys())
    if reserved:
        raise InvalidInput("param_metadata_reserved", keys=", ".join(reserved))
    try:
        text = json.dumps(metadata, allow_nan=False, ensure_ascii=False)
    except (ValueError, TypeError, RecursionError) as exc:
        raise InvalidInput("param_json_not_object", name=parameter.name) from exc
    if "\\u0000" in text or _storable(text) != text:
        raise InvalidInput("param_bad_characters", name=parameter.name)
    return metadata


def _timeout(parameter: Parameter, given: Any) -> float:
    """Seconds; anything but a positive number is replaced by the default, with a warning in the log."""
    try:
        value = float(given)
    except (TypeError, ValueError, OverflowError):
        value = math.nan
    if math.isfinite(value) and value > 0 and not isinstance(given, bool):
        return value
    _log.warning("the timeout of this call is no positive number; the default of %g s is used", parameter.default)
    return float(parameter.default)


_READERS: Final[dict[str, Callable[[Parameter, Any], Any]]] = {
    "text": _text,
    "id": _id,
    "id_list": _id_list,
    "trace": _trace,
    "boolean": _boolean,
    "integer": _integer,
    "number": _number,
    "limit": _limit,
    "metadata": _metadata,
    "filters": _json_object,
    "timeout": _timeout,
}
