"""What hypothesis draws: payloads and filters close enough to each other to match now and then, and hostile ids."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

# Values where engines differ: letter case beyond ASCII, dates that are none, numbers a float cannot tell apart, text
# that looks like another type, what SQL, LIKE, JSON paths and expressions give a meaning.
_TEXTS = [
    "", "a", "A", "abc", "ABC", "É", "é", "K", "k", "\u212a", "ß", "\u1e9e", "Σ", "σ", "ς", "\u0130", "i\u0307", "日本",
    "🙂",
    "2024-01-01", "2024-02-29", "2023-02-29", "2024-02-30", "2024-01-31", "2024-01-01T00:00:00", "2024-01-01T00:00:00Z",
    "2024-01-01T09:00:00+09:00", "2024-01-01T09:00:00+0900", "2024-01-01 00:00", "2024-01-01T00:00:00.5",
    "2024-01-01T00:00:00.1234567", "2024-01-01T00:00:00.1234569Z", "2024-01-01T24:00", "2024-01-01T00:00:60",
    "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "2024-01-01T00:00:00Z\n", "2024-01-01T00",
    "5", "5.0", "true", "null", "*", "\\", "%", "_", "'", '"', "{}", "--", "```", "a b", " a",
]  # fmt: skip
_NUMBERS = [5.0, 0.1, 1e22, 10**22, 1e23, 10**23, 2**53 + 1, float(2**53), -0.0, 1e-7, 2.5]

encodable = st.characters(exclude_categories=["Cs"], exclude_characters="\0")


@st.composite
def texts(draw: st.DrawFn) -> str:
    return draw(st.one_of(st.sampled_from(_TEXTS), st.text(encodable, max_size=4)))


@st.composite
def numbers(draw: st.DrawFn) -> float:
    return draw(st.one_of(st.integers(-3, 6), st.sampled_from(_NUMBERS)))


values = st.one_of(st.booleans(), numbers(), texts())
scalars = st.one_of(st.none(), values)

_METADATA_KEYS = ["k", "tags", "a.b", "q'\"", "%s", "$or", "AND ", "{}", ""]
metadata = st.dictionaries(
    st.sampled_from(_METADATA_KEYS),
    st.one_of(
        scalars,
        st.lists(st.one_of(scalars, st.lists(scalars, max_size=1)), max_size=3),
        st.dictionaries(st.sampled_from("ab"), scalars, max_size=1),
    ),
    max_size=4,
)
payloads = st.builds(
    lambda data, more, times: {"data": data, **more, **times},
    texts(),
    metadata,
    st.dictionaries(st.sampled_from(["created_at", "updated_at"]), texts(), max_size=2),
)

_fields = st.sampled_from(["memory", "user_id", "agent_id", "created_at", "updated_at", *_METADATA_KEYS])
_ordered = st.one_of(numbers(), texts())
_lists = st.lists(scalars, max_size=3)
_OPERANDS: dict[str, st.SearchStrategy[Any]] = {
    "eq": scalars, "ne": scalars, "in": _lists, "nin": _lists, "gt": _ordered, "gte": _ordered, "lt": _ordered,
    "lte": _ordered, "contains": values, "icontains": texts(),
}  # fmt: skip


@st.composite
def _conditions(draw: st.DrawFn) -> Any:
    """What stands beside a field: a value, a list, the star, or some operators."""
    operators = draw(st.lists(st.sampled_from(sorted(_OPERANDS)), max_size=2, unique=True))
    if operators:
        return {operator: draw(_OPERANDS[operator]) for operator in operators}
    return draw(st.one_of(scalars, _lists, st.just("*")))


@st.composite
def filters(draw: st.DrawFn, depth: int = 3) -> dict[str, Any]:
    if depth == 0 or draw(st.booleans()):
        return {field: draw(_conditions()) for field in draw(st.lists(_fields, min_size=1, max_size=2, unique=True))}
    logic = draw(st.lists(st.sampled_from(["AND", "OR", "NOT"]), min_size=1, max_size=2, unique=True))
    return {key: [draw(filters(depth - 1)) for _ in range(draw(st.integers(1, 2)))] for key in logic}


# Ids as a hostile caller may send them: anything at all, and what one engine or another gives a meaning.
ids = st.one_of(
    st.text(max_size=12),
    st.sampled_from([
        "*", "", " ", "%", "' OR '1'='1", '" or ""="', '" or "" == "', "alice\n", "alice\0", "\ud800", "a,b", "a|b",
        "{*}", "@user_id:{*}", "$ne", '{"$ne": ""}', "null", "\\", "alice\\", "x" * 512,
    ]),
)  # fmt: skip

# Filters as a hostile caller may send them: any JSON.
junk = st.dictionaries(
    st.one_of(st.sampled_from(["AND", "OR", "NOT", "memory", "user_id", "k"]), st.text(max_size=3)),
    st.recursive(
        st.one_of(scalars, st.floats(), st.text(max_size=3)),
        lambda parts: st.one_of(
            st.lists(parts, max_size=2),
            st.dictionaries(
                st.one_of(st.sampled_from(["eq", "in", "gt", "AND", "x"]), st.text(max_size=2)), parts, max_size=2
            ),
        ),
        max_leaves=4,
    ),
    max_size=2,
)
