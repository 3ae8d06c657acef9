"""The statements of a pgvector collection: what each operation asks, and with which parameters.

Pure functions of their arguments. Reads have named parameters (a filter repeats its own), changes have plain ``%s``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from psycopg import sql

from utils.stores.errors import rejected
from utils.stores.pgvector.filters import compile_condition, instant_sql
from utils.stores.pgvector.schema import Table, quoted
from utils.stores.pgvector.vector import Vector
from utils.stores.protocol import SCOPE_KEYS, Owner, Patch, Question, Row
from utils.stores.values import is_memory_id
from utils.stores.visibility import EXPIRATION_KEY, INTERNAL_KEY

if TYPE_CHECKING:
    from utils.stores.filters import Condition

_ROWS_PER_INSERT: Final = 500
_LIKE_SPECIAL: Final = re.compile(r"[%_\\]")
_JSON_NUL: Final = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")  # as json.dumps writes it; `jsonb` cannot hold one


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement ready to be sent.

    Attributes:
        text: with placeholders.
        params: what they stand for.
        settings: server settings that hold for this statement only.
    """

    text: sql.Composed | sql.SQL
    params: Mapping[str, Any] | Sequence[Any]
    settings: Mapping[str, str] = field(default_factory=dict)


# -- reading


def get(table: Table, memory_ids: Sequence[str]) -> Statement:
    """The memories with these ids: ``(id, payload)``."""
    text = sql.SQL("SELECT id::text, payload FROM {} WHERE id = ANY(%(ids)s::uuid[])").format(quoted(table.name))
    return Statement(text, {"ids": list(memory_ids)})


# The vectors are one list, so that one statement answers for all. OFFSET 0 keeps the planner from pulling the inner
# query up and walking the approximate index for an exact question.
_NEAREST_EXACTLY: Final = """
{asked} SELECT q.number, s.*{answer} FROM {beside}
unnest(ARRAY[{vectors}]) WITH ORDINALITY AS q (vector, number) LEFT JOIN LATERAL (
    {chosen}
) AS s ON TRUE ORDER BY q.number, s.distance, s.id"""
_NEAREST_COUNTED: Final = """
{asked} SELECT c.owned, q.number, s.*{answer} FROM {beside}
(SELECT count(*) AS owned FROM (SELECT FROM {table} WHERE {owned} LIMIT %(exact_rows)s + 1) AS bounded) AS c
CROSS JOIN unnest(ARRAY[{vectors}]) WITH ORDINALITY AS q (vector, number)
LEFT JOIN LATERAL (
    {chosen}
) AS s ON TRUE ORDER BY q.number, s.distance, s.id"""
# The second also chooses, from the next nearest, the rows that hold most words. No index would find them faster than it
# slows others down, see benchmarks/keyword_index.py.
_NEAREST: Final = """SELECT * FROM (
        SELECT id::text, payload, t.vector <=> q.vector AS distance FROM {table} AS t WHERE {where} OFFSET 0
    ) AS mine ORDER BY distance, id LIMIT %(top_k)s"""
_NEAREST_AND_BY_WORDS: Final = """
    WITH compared AS MATERIALIZED (
        SELECT * FROM (
            SELECT id::text, payload, t.vector <=> q.vector AS distance FROM {table} AS t WHERE {where} OFFSET 0
        ) AS mine ORDER BY distance, id LIMIT %(compared)s
    )
    (SELECT * FROM compared ORDER BY distance, id LIMIT %(top_k)s) UNION ALL (
        SELECT id, payload, distance FROM (
            SELECT *, lower(payload ->> 'data' COLLATE "C") AS folded
            FROM (SELECT * FROM compared ORDER BY distance, id OFFSET %(top_k)s) AS others OFFSET 0
        ) AS folded, LATERAL (SELECT {words} AS words) AS counted
        WHERE words > 0 ORDER BY words DESC, distance, id LIMIT %(by_words)s
    )"""
_COMPARED: Final = 1000  # of the nearest; the words of so many take a millisecond, see benchmarks/keyword_cost.py
_BY_WORDS: Final = 30
_MOST_WORDS: Final = 12
_NEAREST_BY_INDEX: Final = """
{asked} SELECT q.number, s.*{answer} FROM {beside}
unnest(ARRAY[{vectors}]) WITH ORDINALITY AS q (vector, number) LEFT JOIN LATERAL (
    SELECT id::text, payload, t.vector <=> q.vector AS distance
    FROM {table} AS t WHERE {where} ORDER BY t.vector{cast} <=> q.vector{cast} LIMIT %(top_k)s
) AS s ON TRUE ORDER BY q.number, s.distance, s.id"""


# Candidates per step of an index scan: recall against time, see benchmarks/search_scale.py. Their order need
# not be strict: the statement around the scan sorts them.
_UNTIL_FULL: Final = {"hnsw.iterative_scan": "relaxed_order", "hnsw.ef_search": "400"}


@dataclass(frozen=True, slots=True)
class Nearest:
    """The question for the ``top_k`` nearest of an owner's matching memories, to each of some vectors."""

    table: Table
    vectors: Sequence[Vector]
    owner: Owner
    top_k: int
    condition: Condition | None
    words: Sequence[str] = ()
    beside: Question | None = None

    def exactly(self) -> Statement:
        """By a look at every row of the owner: ``(number of the vector from 1, id, payload, distance)``."""
        return self._statement(_NEAREST_EXACTLY, _USER, self._words())

    def counted(self, exact_rows: int) -> Statement:
        """The same behind the number of the user's memories, counted to just above ``exact_rows``; only up to there
        with an answer.
        """
        few = f"c.owned <= %(exact_rows)s AND {_USER}"
        return self._statement(_NEAREST_COUNTED, few, {"exact_rows": exact_rows, **self._words()})

    def _words(self) -> dict[str, str]:
        """Patterns for ``LIKE`` by the name of their parameter."""
        words = [_LIKE_SPECIAL.sub(r"\\\g<0>", word) for word in self.words[:_MOST_WORDS]]
        return {f"word_{number}": f"%{word}%" for number, word in enumerate(words)}

    def by_index(self, limit: int) -> Statement:
        """By the approximate index: perhaps not the very nearest, and perhaps not ``limit``."""
        half = self.table.ann is not None and self.table.ann.opclass.startswith("halfvec")
        cast = f"::halfvec({self.table.dims})" if half else ""
        made = self._statement(_NEAREST_BY_INDEX, _USER_BESIDE_INDEX, {"top_k": limit}, cast)
        return replace(made, settings=_UNTIL_FULL)

    def _statement(self, text: str, user: str, more: Mapping[str, Any] | None = None, cast: str = "") -> Statement:
        where, params = _where(self.owner, self.condition, user)
        vectors = {f"vector_{number}": vector for number, vector in enumerate(self.vectors)}
        beside, asked = (self.beside.text, self.beside.params) if self.beside else (None, {})
        words = sum(name.startswith("word_") for name in more or {})
        composed = _nearest_sql(text, self.table.name, where.as_string(), len(vectors), words, cast, beside)
        by_words = {"by_words": _BY_WORDS, "compared": _COMPARED} if words else {}
        return Statement(composed, {**params, **vectors, **asked, "top_k": self.top_k, **by_words, **(more or {})})


@lru_cache(maxsize=256)  # putting it together takes longer than sending it
def _nearest_sql(text: str, table: str, where: str, vectors: int, words: int, cast: str, beside: str | None) -> sql.SQL:
    having = " + ".join(f"(folded LIKE %(word_{number})s)::int" for number in range(words))
    choice = sql.SQL(_NEAREST_AND_BY_WORDS if words else _NEAREST)
    rows = {"table": quoted(table), "where": sql.SQL(where)}
    parts = {
        "vectors": sql.SQL(", ".join(f"%(vector_{number})s::vector" for number in range(vectors))),
        "chosen": choice.format(**rows, words=sql.SQL(having)),
        "cast": sql.SQL(cast),
        "owned": sql.SQL(_USER),
        **_asking(beside),
    }
    return sql.SQL(sql.SQL(text).format(**rows, **parts).as_string())


def _asking(beside: str | None) -> dict[str, sql.SQL]:
    """The parts of a statement that ask a further question; its answer ends every row."""
    if beside is None:
        return dict.fromkeys(("asked", "answer", "beside"), sql.SQL(""))
    return {
        "asked": sql.SQL(f"WITH asked AS MATERIALIZED ({beside})"),
        "answer": sql.SQL(", asked.*"),
        "beside": sql.SQL("asked CROSS JOIN"),
    }


_PAGE: Final = """
{asked} mine AS (
    SELECT id, {created_at} AS created_at FROM {table} WHERE {where}
), page AS (
    SELECT id, created_at FROM mine ORDER BY created_at DESC NULLS LAST, id LIMIT %(limit)s OFFSET %(offset)s
)
SELECT c.total, s.id::text, s.payload{answer} FROM {beside} (SELECT count(*) AS total FROM mine) AS c LEFT JOIN (
    SELECT page.id, page.created_at, t.payload FROM page JOIN {table} AS t ON t.id = page.id
) AS s ON TRUE ORDER BY s.created_at DESC NULLS LAST, s.id"""
_CREATED_AT: Final = sql.SQL(instant_sql("(payload ->> 'created_at')"))


def page(
    table: Table, owner: Owner, limit: int, offset: int, condition: Condition | None, beside: Question | None = None
) -> Statement:
    """One page, newest first, each row behind the total: ``(total, id, payload)``; an empty page is one row of the
    total and nulls.
    """
    where, params = _where(owner, condition)
    question, asked = (beside.text, beside.params) if beside else (None, {})
    text = _page_sql(table.name, where.as_string(), question)
    return Statement(text, {**params, **asked, "limit": max(limit, 0), "offset": max(offset, 0)})


@lru_cache(maxsize=256)
def _page_sql(table: str, where: str, beside: str | None) -> sql.SQL:
    parts = _asking(beside)
    parts["asked"] = sql.SQL("WITH" if beside is None else f"{parts['asked'].as_string()},")
    text = sql.SQL(_PAGE).format(table=quoted(table), where=sql.SQL(where), created_at=_CREATED_AT, **parts)
    return sql.SQL(text.as_string())


_SCAN: Final = """
SELECT t.id::text, t.payload FROM {table} AS t WHERE {where}{after} ORDER BY t.id LIMIT %(limit)s"""
# The owner index holds a user's ids in order. Whoever plans by the average user takes a bitmap and a sort instead,
# which is a little less work for a hundred rows and sorts all of a million for every page.
_IN_ORDER_OF_INDEX: Final = {"enable_sort": "off"}


def scan(table: Table, owner: Owner, after_id: str | None, limit: int) -> Statement:
    """The owner's next rows in the order of their ids: ``(id, payload)``."""
    where, params = _where(owner, None, shown=_IS_MEMORY)
    after = sql.SQL("" if after_id is None else " AND t.id > %(after_id)s::uuid")
    text = sql.SQL(_SCAN).format(table=quoted(table.name), where=where, after=after)
    return Statement(text, {**params, "after_id": after_id, "limit": limit}, _IN_ORDER_OF_INDEX)


_INTERNAL_ROWS: Final = """
SELECT t.id::text, t.payload FROM {table} AS t
WHERE payload ->> 'internal_type' = ANY(%(kinds)s) AND NOT ({memory}){after} ORDER BY t.id LIMIT %(limit)s"""


def internal_rows(table: Table, kinds: Sequence[str], after_id: str | None, limit: int) -> Statement:
    """The next rows that are no memories and of one of ``kinds``, in the order of their ids: ``(id, payload)``."""
    after = sql.SQL("" if after_id is None else " AND t.id > %(after_id)s::uuid")
    text = sql.SQL(_INTERNAL_ROWS).format(table=quoted(table.name), memory=sql.SQL(_IS_MEMORY), after=after)
    return Statement(text, {"kinds": list(kinds), "after_id": after_id, "limit": limit})


_USER: Final = "payload ->> 'user_id' = %(user_id)s"
# The planner cannot take the B-tree on the user id for this form, whatever it believes about the number of rows.
_USER_BESIDE_INDEX: Final = "payload ->> 'user_id' IS NOT DISTINCT FROM %(user_id)s"
_AGENT: Final = "payload ->> 'agent_id' = %(agent_id)s"
# What ``visibility`` hides. One look for two rare keys, and only where one of them is there a look at its value.
_IS_MEMORY: Final = f"lower(payload ->> '{INTERNAL_KEY}') IS DISTINCT FROM 'true'"
_IS_SHOWN: Final = f"""(payload ?| ARRAY['{INTERNAL_KEY}', '{EXPIRATION_KEY}'] AND (
    lower(payload ->> '{INTERNAL_KEY}') = 'true' OR (
        payload ->> '{EXPIRATION_KEY}' ~ '^[0-9][0-9][0-9][0-9]-[01][0-9]-[0-3][0-9]$' AND
        payload ->> '{EXPIRATION_KEY}' < to_char(statement_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD') COLLATE "C"
    )
)) IS NOT TRUE"""


def _where(
    owner: Owner, condition: Condition | None, user: str = _USER, shown: str = _IS_SHOWN
) -> tuple[sql.SQL, dict[str, Any]]:
    parts, params = [user, shown], {"user_id": owner.user_id}
    if owner.agent_id is not None:
        parts.append(_AGENT)
        params["agent_id"] = owner.agent_id
    if condition is not None:
        asked, filter_params = compile_condition(condition)
        parts.append(asked)
        params |= filter_params
    return sql.SQL(" AND ".join(parts)), params


# -- changing


_INSERT: Final = "INSERT INTO {table} (id, vector, payload) VALUES {rows} ON CONFLICT (id) DO NOTHING"
_UPDATE: Final = "UPDATE {table} SET vector = %s::vector, payload = %s::jsonb WHERE id = %s::uuid"
# What is there, less what is removed, under what is new; a time of creation that is there stays on top.
_PATCH: Final = """
UPDATE {table} SET vector = %s::vector, payload = (payload - %s::text[]) || %s::jsonb || CASE
    WHEN COALESCE(payload ->> 'created_at', '') = '' THEN '{{}}'
    ELSE jsonb_build_object('created_at', payload -> 'created_at')
END WHERE id = %s::uuid AND {owned}"""
_DELETE: Final = "DELETE FROM {table} WHERE id = ANY(%s::uuid[])"
_DELETE_OWNED: Final = "DELETE FROM {table} WHERE id = ANY(%s::uuid[]) AND {owned}"


def insert(table: Table, rows: Sequence[Row], vectors: Iterable[Vector | str]) -> list[Statement]:
    """New rows, up to 500 in one statement; an id that is there is passed over."""
    values = [(_id(row.id), vector, _json(row.payload)) for row, vector in zip(rows, vectors, strict=True)]
    statements = []
    for start in range(0, len(values), _ROWS_PER_INSERT):
        chunk = values[start : start + _ROWS_PER_INSERT]
        placeholders = sql.SQL(", ").join([sql.SQL("(%s::uuid, %s::vector, %s::jsonb)")] * len(chunk))
        statements.append(_change(table, _INSERT, [value for row in chunk for value in row], rows=placeholders))
    return statements


def update(table: Table, row: Row, vector: Vector) -> Statement:
    """Another vector and payload."""
    return _change(table, _UPDATE, [vector, _json(row.payload), _id(row.id)])


def patch(table: Table, owner: Owner, change: Patch, vector: str) -> Statement:
    """Another vector, and other values under some keys, of one of the owner's memories."""
    payload = {key: value for key, value in change.payload.items() if key not in SCOPE_KEYS}
    owned, params = _owned(owner)
    removed = [key for key in change.removed if key not in SCOPE_KEYS]
    return _change(table, _PATCH, [vector, removed, _json(payload), _id(change.memory_id), *params], owned=owned)


def delete(table: Table, memory_ids: Sequence[str], owner: Owner | None = None) -> Statement | None:
    """Delete by id, if given only an owner's; None when no id can be a row's."""
    known = [memory_id for memory_id in memory_ids if is_memory_id(memory_id)]
    if not known:
        return None
    if owner is None:
        return _change(table, _DELETE, [known])
    owned, params = _owned(owner)
    return _change(table, _DELETE_OWNED, [known, *params], owned=owned)


def _change(table: Table, text: str, params: list[Any], **parts: sql.Composable) -> Statement:
    return Statement(sql.SQL(text).format(table=quoted(table.name), **parts), params)


def _owned(owner: Owner) -> tuple[sql.SQL, list[str]]:
    if owner.agent_id is None:
        return sql.SQL("payload ->> 'user_id' = %s"), [owner.user_id]
    return sql.SQL("payload ->> 'user_id' = %s AND payload ->> 'agent_id' = %s"), [owner.user_id, owner.agent_id]


def _id(memory_id: str) -> str:
    if not is_memory_id(memory_id):
        raise rejected("store_bad_row", "id")
    return memory_id


def _json(payload: Mapping[str, Any]) -> str:
    """A payload as JSON that ``jsonb`` can hold: the server would refuse others, but in the middle of a transaction."""
    try:
        text = json.dumps(payload, allow_nan=False, ensure_ascii=False)
        text.encode()  # fails for half a surrogate pair
    except (TypeError, ValueError) as exc:
        raise rejected("store_bad_row", type(exc).__name__) from exc
    if _JSON_NUL.search(text):
        raise rejected("store_bad_row", "text")
    return text
