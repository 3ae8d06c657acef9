"""Reading single values out of a credential: typed, or refused with the place named.

A :class:`Where` knows the credential's form name and the path inside it and makes the errors. Their sentences hold
names and JSON types, never a value: a value may be a key or a password, also where none is expected.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from utils.errors import CredentialError

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_. -]{0,39}", re.ASCII)
# Vendors' prefixes; four digits; a digit among letters of both cases, as rules for passwords demand.
_KEY_LIKE: Final = re.compile(r"(?i:^(sk|pk|rk|gsk|xai|hf|key|ghp)[-_])|\d.*\d.*\d.*\d|^(?=.*\d)(?=.*[a-z])(?=.*[A-Z])")
_JSON_TYPES: Final[dict[type, str]] = {str: "string", list: "array", dict: "object"}
_MAX_DIGITS: Final = 15  # every such integer is exact as a JSON number
_TRUE: Final = frozenset({"true", "1", "yes", "on"})
_FALSE: Final = frozenset({"false", "0", "no", "off"})
_NEAREST: Final = 3
_LONGEST_LIST: Final = 100  # characters; a whole sentence has at most 300


@dataclass(frozen=True, slots=True)
class Where:
    """A place in a credential, shown as ``local_llm_json_secret: config.model``.

    Attributes:
        credential: the credential's name in the provider form.
        path: keys from the pasted object inward, joined by dots; empty for the credential itself.
    """

    credential: str
    path: str = ""

    def at(self, key: str) -> Where:
        """The place one key further in."""
        return Where(self.credential, f"{self.path}.{key}" if self.path else key)

    def error(self, sentence: str, **params: object) -> CredentialError:
        """The error with this sentence about this place."""
        return CredentialError(sentence, where=str(self), **params)

    def __str__(self) -> str:
        return f"{self.credential}: {self.path}" if self.path else self.credential


def found(value: object) -> str:
    """The JSON type of a value, as error sentences name it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "number"
    return _JSON_TYPES.get(type(value), type(value).__name__)


def shown(name: object) -> str:
    """A provider or key name as far as it may be shown: whatever might be a pasted secret becomes ``***``."""
    text = name if isinstance(name, str) else found(name)
    return text if _NAME.fullmatch(text) and not _KEY_LIKE.search(text) else "***"


def nearest(name: str, known: Iterable[str]) -> str:
    """The few known names most like ``name``, best first, for "did you mean"."""
    return ", ".join(difflib.get_close_matches(name.strip().lower(), sorted(known), n=_NEAREST, cutoff=0.0))


def listed(names: Iterable[str]) -> str:
    """The names one after the other, as many as a sentence can bear."""
    said = ", ".join(names)
    return said if len(said) <= _LONGEST_LIST else f"{said[:_LONGEST_LIST].rpartition(', ')[0]}, …"


def is_missing(value: object) -> bool:
    """Whether a form or a JSON object says nothing here: absent, null or blank text."""
    return value is None or (isinstance(value, str) and not value.strip())


def text(value: object, where: Where) -> str:
    """``value`` if it is text that is not blank and that databases and sockets can carry.

    Raises:
        CredentialError: it is something else, or holds what :func:`require_encodable` refuses.
    """
    if not isinstance(value, str) or not value.strip():
        raise where.error("credentials_need_text", found=found(value))
    return require_encodable(value, where)


def require_encodable(value: str, where: Where) -> str:
    """``value`` if databases and sockets can carry it.

    Raises:
        CredentialError: it holds NUL or half a character (a lone surrogate).
    """
    if "\0" in value or any("\ud800" <= character <= "\udfff" for character in value):
        raise where.error("credentials_bad_characters")
    return value


def key(value: str, where: Where) -> str:
    """``value`` as a key that a request can carry, without blanks around it; empty where it is blank.

    A line break or a letter outside of ASCII makes an HTTP client refuse the header, in an error that holds the key.

    Raises:
        CredentialError: it is no such key.
    """
    stripped = value.strip()
    if not (stripped.isascii() and stripped.isprintable()):
        raise where.error("credentials_bad_key")
    return stripped


def whole_number(value: object, where: Where, low: int, high: int) -> int:
    """``value`` as an integer from ``low`` to ``high``; digits in quotes and 5.0 count as numbers.

    Raises:
        CredentialError: it is something else or out of range.
    """
    number = _integer(value)
    if number is None or not low <= number <= high:
        raise where.error("credentials_need_whole_number", low=low, high=high, found=found(value))
    return number


def _integer(value: object) -> int | None:
    if isinstance(value, float):
        return int(value) if value.is_integer() else None
    if isinstance(value, str):
        digits = value.strip()
        return int(digits) if re.fullmatch(rf"[+-]?\d{{1,{_MAX_DIGITS}}}", digits, re.ASCII) else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def seconds(value: object, where: Where, high: float) -> float:
    """``value`` as a number of seconds above 0 and up to ``high``.

    Raises:
        CredentialError: it is something else or out of range.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= high:
        raise where.error("credentials_need_seconds", high=f"{high:g}", found=found(value))
    return float(value)


def number_or_null(value: object, where: Where) -> None:
    """Refuse what is neither a number nor null.

    Raises:
        CredentialError: it is something else.
    """
    if isinstance(value, bool) or not (value is None or isinstance(value, int | float)):
        raise where.error("credentials_need_number", found=found(value))


def boolean(value: object, where: Where) -> bool:
    """``value`` as a truth value; the words people write for one and 0/1 count.

    Raises:
        CredentialError: it is something else.
    """
    if isinstance(value, bool):
        return value
    word = str(value).strip().lower() if isinstance(value, str | int) else ""
    if word in _TRUE or word in _FALSE:
        return word in _TRUE
    raise where.error("credentials_need_boolean", found=found(value))


def choice(value: object, where: Where, known: Iterable[str]) -> str:
    """``value`` as the one of ``known`` it names, whatever its case.

    Raises:
        CredentialError: it names none of them.
    """
    names = {name.lower(): name for name in known}
    chosen = names.get(value.strip().lower()) if isinstance(value, str) else None
    if chosen is None:
        raise where.error("credentials_need_choice", known=", ".join(names.values()), found=found(value))
    return chosen


def web_address(value: object, where: Where) -> str:
    """``value`` if it is an http or https URL.

    Raises:
        CredentialError: it is something else.
    """
    if not isinstance(value, str) or not re.match(r"https?://[^/\s]", value, re.IGNORECASE):
        raise where.error("credentials_need_web_address", found=found(value))
    if re.match(r"https?://[^/\[\]@]*:[^/\[\]@]*:", value, re.IGNORECASE):
        raise where.error("credentials_bare_ipv6")
    return value


def mapping(value: object, where: Where) -> dict[str, Any]:
    """``value`` if it is a JSON object.

    Raises:
        CredentialError: it is something else.
    """
    if not isinstance(value, dict):
        raise where.error("credentials_need_object", found=found(value))
    return value


def only_known_keys(keys: Iterable[str], known: Iterable[str], where: Where, provider: str) -> None:
    """Refuse the first key that is not among ``known``, with the names it may have been meant to be.

    Raises:
        CredentialError: there is one.
    """
    accepted = frozenset(known)
    for key in keys:
        if key not in accepted:
            raise where.at(shown(key)).error(
                "credentials_key_unknown", provider=provider, nearest=nearest(key, accepted)
            )
