"""Values at the edge: from Python to JSON and back by annotation, and the path to what cannot be carried."""

from __future__ import annotations

import json
import typing
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from typing import Any, Literal, NamedTuple, NewType, TypedDict
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indegree.sdk.convert import ConversionError, decode_argument, encode_output


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Level(IntEnum):
    LOW = 1


class Kind(StrEnum):
    A = "a"


@dataclass
class Row:
    price: Decimal
    at: datetime
    tags: list[str] = field(default_factory=list)


@dataclass
class Order:
    id: UUID
    rows: list[Row]
    colour: Colour = Colour.RED
    parent: Order | None = None
    total: int = field(default=0, init=False)


class Pair(NamedTuple):
    a: int
    b: str


class Shape(TypedDict):
    side: float
    label: typing.NotRequired[str]


UserId = NewType("UserId", int)
NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)
ORDER = Order(UUID(int=1), [Row(Decimal("1.10"), NOON, ["x"])], Colour.BLUE, Order(UUID(int=2), []))


def test_a_dataclass_crosses_the_edge_and_comes_back() -> None:
    data = encode_output(ORDER)

    assert json.loads(data)["rows"][0] == {"price": "1.10", "at": "2026-11-25T12:00:00+00:00", "tags": ["x"]}
    assert decode_argument(json.loads(data), Order) == ORDER


@pytest.mark.parametrize(
    ("value", "encoded", "annotation"),
    [
        (None, None, None),
        (2**53 + 1, 2**53 + 1, int),
        ("a\x00b", "a\x00b", str),
        (Colour.RED, "red", Colour),
        (Level.LOW, 1, Level),
        (Kind.A, "a", Kind),
        (NOON, "2026-11-25T12:00:00+00:00", datetime),
        (date(2026, 1, 2), "2026-01-02", date),
        (Decimal("0.30"), "0.30", Decimal),
        (UUID(int=7), str(UUID(int=7)), UUID),
        ((1, "x"), [1, "x"], tuple[int, str]),
        ((1, 2, 3), [1, 2, 3], tuple[int, ...]),
        (Pair(1, "x"), [1, "x"], Pair),
        ({"side": 1.0}, {"side": 1.0}, Shape),
        ({Kind.A: [NOON]}, {"a": ["2026-11-25T12:00:00+00:00"]}, dict[str, list[datetime]]),
        (UserId(3), 3, UserId),
        ("x", "x", Literal["x", "y"]),
        (1.5, 1.5, int | float),
        ([Colour.BLUE, None], ["blue", None], list[Colour | None]),
    ],
)
def test_values_and_their_way_back(value: Any, encoded: Any, annotation: Any) -> None:
    assert json.loads(encode_output(value)) == encoded
    back = decode_argument(encoded, annotation)
    assert back == value
    assert type(back) is type(value)


@pytest.mark.parametrize(
    ("value", "path", "says"),
    [
        ({"rows": [0, 0, 0, {"price": float("nan")}]}, "$.rows[3].price", "NaN is not JSON"),
        ({"a": {1, 2}}, "$.a", r"sorted\(...\)"),
        ({"a": {1: "x"}}, "$.a", r"the key 1 is an int; .* write str\(key\)"),
        ({True: 1}, "$", "the key True is a bool"),
        ([datetime(2026, 1, 1)], "$[0]", "naive"),
        ({"a b": b"x"}, '$["a b"]', "base64"),
        (["\ud800"], "$[0]", "lone surrogate"),
        ({"x\udc00": 1}, "$", "lone surrogate"),
        (object(), "$", "an object is not JSON"),
        (timedelta(1), "$", "a timedelta is not JSON"),
        (Decimal("NaN"), "$", "Decimal"),
        (Order, "$", "not the class"),
        (Row(Decimal(1), datetime(2026, 1, 1)), "$.at", "naive"),
    ],
)
def test_what_cannot_be_carried_fails_with_the_path_to_it(value: Any, path: str, says: str) -> None:
    # CASES rows M4, M8, M10
    with pytest.raises(ConversionError, match=says) as caught:
        encode_output(value)

    assert caught.value.path == path


def test_a_value_that_is_too_deep_or_contains_itself_fails_instead_of_recursing() -> None:
    # CASES rows M1 and M8
    deep: Any = 1
    for _ in range(2_000):
        deep = [deep]
    own: dict[str, Any] = {}
    own["own"] = [own]

    for value in (deep, own):
        with pytest.raises(ConversionError, match="nested deeper than 100"):
            encode_output(value)


@pytest.mark.parametrize(
    ("value", "annotation", "path", "says"),
    [
        ("3", int, "$", "'3' is not a whole number"),
        (True, int, "$", "not a whole number"),
        (3, str, "$", "not text"),
        (1, bool, "$", "not true or false"),
        (None, str, "$", "null is not text"),
        ([1, "x"], list[int], "$[1]", "not a whole number"),
        ({"a": {"b": 1}}, dict[str, dict[str, str]], "$.a.b", "not text"),
        ("2026-01-01T00:00:00", datetime, "$", "time zone"),
        ("soon", datetime, "$", "ISO 8601"),
        ("green", Colour, "$", "'red', 'blue'"),
        ("x", Decimal, "$", "decimal"),
        ("x", UUID, "$", "UUID"),
        ([1], tuple[int, str], "$", "a list of 2"),
        ({"price": "1", "at": "x"}, Row, "$.at", "ISO 8601"),
        ({"price": "1"}, Row, "$", "the field 'at' of Row is missing"),
        ({"id": str(UUID(int=1)), "rows": [{"price": "1", "att": 1}]}, Order, "$.rows[0].att", "did you mean 'at'"),
        ([], Shape, "$", "an object"),
        ({}, Shape, "$", "'side' of Shape is missing"),
        ({"x": 1}, int | str, "$", r"int \| str"),
        ([1], set[list[int]], "$[0]", "not a list"),
        ("z", Literal["x"], "$", "one of 'x'"),
        (1, timezone, "$", "cannot be made from JSON"),
    ],
)
def test_an_argument_that_does_not_fit_its_annotation_says_where(
    value: Any, annotation: Any, path: str, says: str
) -> None:
    with pytest.raises(ConversionError, match=says) as caught:
        decode_argument(value, annotation)

    assert caught.value.path == path


@pytest.mark.parametrize(
    ("value", "annotation", "expected"),
    [
        (3.0, int, 3),
        (3, float, 3.0),
        ("x", Any, "x"),
        ("x", "Unresolved", "x"),
        ([1, 2], set[int], {1, 2}),
        ([1], list, [1]),
        ({"a": 1}, dict, {"a": 1}),
        ([["a", 1]], typing.Sequence[typing.Sequence[Any]], [["a", 1]]),
        ("1", int | str, "1"),
        (1, int | str, 1),
        (None, int | None, None),
        (5, typing.Annotated[int, ["unhashable"]], 5),
        ("2026-11-25T12:00:00Z", datetime | None, NOON),
        ({"id": str(UUID(int=1)), "rows": [], "total": 3}, Order, Order(UUID(int=1), [])),
    ],
)
def test_what_annotations_ask_for(value: Any, annotation: Any, expected: Any) -> None:
    found = decode_argument(value, annotation)

    assert found == expected
    assert type(found) is type(expected)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(max_size=3) | st.decimals(),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.text(max_size=3) | st.integers(), inner, max_size=3)
            | st.frozensets(st.integers(), max_size=2)
        ),
        max_leaves=8,
    )
)
def test_an_output_is_json_or_a_conversion_error(value: Any) -> None:
    try:
        data = encode_output(value)
    except ConversionError:
        return
    json.loads(data)
