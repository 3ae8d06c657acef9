"""The compiler to SQL against the reference: any payloads, any filter, the very same rows and never NULL."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from psycopg import sql
from psycopg.types.json import Json

from playground.postgres import Database
from tests.contract.stores import strategies
from utils.stores import filters
from utils.stores.pgvector.filters import compile_condition, instant_sql
from utils.stores.values import instant

type Session = psycopg.Connection[tuple[Any, ...]]


@pytest.fixture(scope="module")
def session(module_database: Database) -> Iterator[Session]:
    """A session whose settings would colour dates and order, were they asked."""
    with psycopg.connect(module_database.uri, autocommit=True) as conn:
        conn.execute("SET timezone = 'Asia/Tokyo'")
        conn.execute("SET datestyle = 'German, DMY'")
        conn.execute("CREATE TEMP TABLE memories (number int, payload jsonb)")
        yield conn


def compiled_finds_what_the_reference_finds(
    session: Session, rows: list[dict[str, Any]], asked: dict[str, Any]
) -> None:
    condition = filters.parse(asked)
    assert condition is not None
    session.execute("TRUNCATE memories")
    session.cursor().executemany("INSERT INTO memories VALUES (%s, %s)", [(n, Json(row)) for n, row in enumerate(rows)])
    text, params = compile_condition(condition)
    found = session.execute(sql.SQL("SELECT number, {} FROM memories").format(sql.SQL(text)), params).fetchall()
    assert dict(found) == {number: condition.matches(row) for number, row in enumerate(rows)}


_rows = st.lists(strategies.payloads, min_size=1, max_size=6)
_any_health = list(HealthCheck)


@seed(20260101)
@settings(max_examples=150, deadline=None, database=None, suppress_health_check=_any_health)
@given(_rows, strategies.filters())
def test_compiled_filters(session: Session, rows: list[dict[str, Any]], asked: dict[str, Any]) -> None:
    compiled_finds_what_the_reference_finds(session, rows, asked)


@pytest.mark.long
@settings(max_examples=20_000, deadline=None, database=None, suppress_health_check=_any_health)
@given(_rows, strategies.filters())
def test_compiled_filters_long(session: Session, rows: list[dict[str, Any]], asked: dict[str, Any]) -> None:
    compiled_finds_what_the_reference_finds(session, rows, asked)


_MICROSECOND = timedelta(microseconds=1)
_digits = st.text("0123456789", min_size=2, max_size=2)
_near_dates = st.builds(
    "{}{}-{}-{}{}{}".format,
    _digits,
    _digits,
    st.sampled_from(["01", "02", "04", "12", "13", "00"]),
    st.sampled_from(["01", "28", "29", "30", "31", "32", "00"]),
    st.sampled_from(["", "T00:00", " 23:59:59", "T24:00:00", "T12:30:15.5", "T12:30:15.123456789", "T00:60"]),
    st.sampled_from(["", "Z", "+00:00", "-14:59", "+15:00", "+09", "-0330", "z", "+9:00"]),
)


@seed(20260101)
@settings(max_examples=500, deadline=None, database=None, suppress_health_check=_any_health)
@given(_near_dates)
def test_instants(session: Session, text: str) -> None:
    statement = f"SELECT extract(epoch FROM {instant_sql('%(text)s::text')})"
    (found,) = session.execute(statement, {"text": text}).fetchone() or (None,)
    moment = instant(text)
    assert (None if found is None else found * 1_000_000) == (None if moment is None else moment // _MICROSECOND)
