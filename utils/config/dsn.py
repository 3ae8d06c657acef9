"""PostgreSQL connection strings as people have them, read into libpq's own keywords and written back exactly.

A string may be a URL (``postgresql://``, ``postgres://``, SQLAlchemy's ``postgresql+psycopg://``) or ``key=value``
pairs; libpq itself parses both, so escapes, sockets, several hosts and ``options`` mean what they mean to ``psql``.
The one thing done before is mending user names and passwords that were pasted into a URL without percent-encoding,
where that is unambiguous. Results are dicts of libpq keywords; :func:`write` makes the one conninfo string that
stands for such a dict, whatever characters it holds.

psycopg is imported when a string is read, not before: it is not needed on other stores.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import parse_qsl, quote

from utils.config.values import Where, nearest, require_encodable, shown, text, whole_number

Parameters = dict[str, str]

# A dead peer is noticed after 30 + 3 x 10 s and a dead host after 5 s, instead of after two hours and two minutes.
_WHEN_ABSENT: Final[Parameters] = {
    "keepalives": "1",
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "connect_timeout": "5",
}
_MAX_SECONDS: Final = 24 * 3600
_DEFAULT_PORT: Final = "5432"
_SCHEME: Final = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://")
_PAIRS: Final = re.compile(r"\s*[a-z_]+\s*=")
_LONE_PERCENT: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_PORTS: Final = re.compile(r"(\d{1,5})?(,(\d{1,5})?)*", re.ASCII)
_URL_ONLY: Final = frozenset({"ssl"})  # libpq reads ssl=true in a URL for the sake of JDBC's


@functools.cache
def keywords() -> frozenset[str]:
    """Every connection parameter the installed libpq knows."""
    from psycopg import pq

    return frozenset(option.keyword.decode() for option in pq.Conninfo.get_defaults())


def looks_like_dsn(value: str) -> bool:
    """Whether this is meant to be a PostgreSQL connection string: a URL of its schemes, or ``key=value`` pairs."""
    scheme = _SCHEME.match(value.strip())
    return _is_postgresql(scheme) if scheme else _PAIRS.match(value) is not None


def parse(value: object, where: Where) -> Parameters:
    """The libpq parameters a connection string gives; parameters it leaves out or leaves empty are absent.

    Raises:
        CredentialError: libpq would not accept it, or it is another database's.
    """
    dsn = text(value, where).strip()
    scheme = _SCHEME.match(dsn)
    if scheme is None:
        return checked(_libpq(dsn, where), where)
    if not _is_postgresql(scheme):
        raise where.error("credentials_pg_scheme", scheme=shown(scheme["scheme"]))
    url = "postgresql://" + _mended(dsn[scheme.end() :], where)
    _check_query(url, where)
    return checked(_libpq(url, where), where)


def _is_postgresql(scheme: re.Match[str]) -> bool:
    return scheme["scheme"].partition("+")[0].lower() in ("postgresql", "postgres")


def _mended(rest: str, where: Where) -> str:
    """The URL after its scheme, with a raw ``@``, ``?`` or ``%`` in user name or password percent-encoded.

    A host never holds ``@``, so the last one before the path ends the user part. One after that is most likely the real
    end of a password that holds a slash: libpq would send half of the password to a host named by the user.

    Raises:
        CredentialError: where the user part ends cannot be told.
    """
    head, _, path = rest.partition("/")
    before, _, query = head.partition("?")
    if "@" in path or ("@" in before and "@" in query):
        raise where.error("credentials_pg_unescaped")
    user_part, at, _ = head.rpartition("@")
    if not at:
        return rest
    user, colon, password = user_part.partition(":")
    return _encoded(user) + colon + _encoded(password) + rest[len(user_part) :]


def _encoded(part: str) -> str:
    return quote(_LONE_PERCENT.sub("%25", part), safe="%")  # what is encoded already stays


def _check_query(url: str, where: Where) -> None:
    for key, _ in parse_qsl(url.partition("?")[2], keep_blank_values=True):
        if key not in keywords() | _URL_ONLY:
            raise where.error("credentials_pg_parameter", parameter=shown(key), nearest=nearest(key, keywords()))


def _libpq(dsn: str, where: Where) -> Parameters:
    import psycopg
    from psycopg.conninfo import conninfo_to_dict

    try:
        parsed = conninfo_to_dict(dsn)
    except (psycopg.ProgrammingError, UnicodeError):
        raise where.error("credentials_pg_connection_string") from None  # libpq's own text repeats the password
    return {key: str(value) for key, value in parsed.items() if value not in (None, "")}


def checked(parameters: Parameters, where: Where) -> Parameters:
    """The parameters again, once nothing in them would break a connection in a way that is hard to see.

    Raises:
        CredentialError: a character that cannot be sent, or no number where libpq wants one.
    """
    for key, value in parameters.items():
        require_encodable(value, where)
        if key in _WHEN_ABSENT:
            whole_number(value, where.at(key), 0, _MAX_SECONDS)
    if not _PORTS.fullmatch(parameters.get("port", "")):
        raise where.error("credentials_pg_unescaped")  # a port that is no number: the end of an unencoded password
    return parameters


def with_defaults(parameters: Mapping[str, str]) -> Parameters:
    """The parameters with TCP keep-alives and a connection time-out where they say nothing about them."""
    return _WHEN_ABSENT | dict(parameters)


def write(parameters: Mapping[str, str]) -> str:
    """The conninfo string that stands for exactly these parameters."""
    from psycopg.conninfo import make_conninfo

    return make_conninfo(**parameters)


def split_query(dbname: str, where: Where) -> tuple[str, Parameters]:
    """The name and the connection options of ``name?sslmode=require``, which people copy out of a URL.

    A question mark may belong to a name: what follows it is a query if its first key is a connection parameter.

    Raises:
        CredentialError: a later key is none.
    """
    name, _, query = dbname.partition("?")
    options = dict(parse_qsl(query, keep_blank_values=True))
    if not options or next(iter(options)) not in keywords():
        return dbname, {}
    _check_query(dbname, where)
    return name, options


def parameters_of(conninfo: str) -> Parameters:
    """The parameters :func:`write` made ``conninfo`` of."""
    from psycopg.conninfo import conninfo_to_dict

    return {key: str(value) for key, value in conninfo_to_dict(conninfo).items() if value is not None}


def address(parameters: Mapping[str, str]) -> tuple[str, str, str]:
    """Host, port and database these parameters lead to, with libpq's defaults filled in; several hosts stay a list."""
    host = parameters.get("host") or parameters.get("hostaddr") or "localhost"
    if "service" in parameters and host == "localhost":
        host = f"service={parameters['service']}"  # its file says which host
    port = ",".join(each or _DEFAULT_PORT for each in parameters.get("port", "").split(","))
    return host.lower(), port, parameters.get("dbname") or parameters.get("user", "")


def tenant(user: str) -> str:
    """What of a user name tells databases apart: poolers shared by many customers use ``role.project``."""
    return user.partition(".")[2]
