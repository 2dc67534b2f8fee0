"""JSON values: what is refused with its path, what comes back equal, and the canonical form."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indegree.events.json_values import JsonValueError, canonical, dumps, loads, number_text

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=5) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner)
    ),
    max_leaves=20,
)


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


@given(values)
def test_what_is_written_is_read_back(value: Any) -> None:
    assert loads(dumps(value)) == value


def test_large_integers_keep_their_value_and_type() -> None:
    # CASES row M2
    value = loads(dumps({"a": 2**53 + 1, "b": 1, "c": 1.0}))

    assert value["a"] == 2**53 + 1
    assert (type(value["a"]), type(value["b"]), type(value["c"])) == (int, int, float)


def test_a_nul_comes_back_equal() -> None:
    # CASES row M4
    assert loads(dumps("a\x00b")) == "a\x00b"


@pytest.mark.parametrize("value", ["\ud800", {"\udfff": 1}, ["ok", "a\ud800b"]])
def test_a_lone_surrogate_is_refused_before_it_meets_utf8(value: Any) -> None:
    # CASES row M4
    with pytest.raises(JsonValueError, match="lone surrogate"):
        dumps(value)


@pytest.mark.parametrize("depth", [100, 101, 2_000, 100_000])
def test_nesting_is_bounded_when_writing_and_when_reading(depth: int) -> None:
    # CASES rows M1 and M8: neither a poison record nor a RecursionError
    if depth <= 100:
        assert loads(dumps(nested(depth))) == nested(depth)
        return
    with pytest.raises(JsonValueError, match="nested deeper than 100"):
        dumps(nested(depth))
    with pytest.raises(JsonValueError, match="nested deeper than 100"):
        loads("[" * depth + "]" * depth)


@pytest.mark.parametrize(
    ("value", "path", "says"),
    [
        ({"rows": [1, 2, 3, {"price": float("nan")}]}, "$.rows[3].price", "NaN is not JSON"),
        ([float("inf")], "$[0]", "Infinity is not JSON"),
        ({"a": {1: 2}}, "$.a", "the key 1 is an int"),
        ({"a": {True: 2}}, "$.a", "the key True is a bool"),
        ({None: 2}, "$", "the key None is a NoneType"),
        ({"a b": {1}}, '$["a b"]', "a set is not JSON"),
        ({"x": b"1"}, "$.x", "a bytes is not JSON"),
        ([10**5000], "$[0]", "too long"),
    ],
)
def test_what_is_not_json_is_named_with_its_path(value: Any, path: str, says: str) -> None:
    # CASES row M8
    with pytest.raises(JsonValueError, match=says) as caught:
        dumps(value)

    assert caught.value.path == path


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"a": 1, "b": {"c": 1, "c": 2}}', "'c' stands twice"),
        ("NaN", "NaN is not JSON"),
        ("[1e999]", "out of range"),
        ('{"a": }', r"line 1, column 7"),
        ("", "not JSON"),
        ("1 2", "not JSON"),
        ('"\\ud800"', "lone surrogate"),
        (b"\xff", "not UTF-8"),
        ("1" * 5_000, "too long"),
    ],
)
def test_reading_refuses_what_is_not_json(text: str | bytes, says: str) -> None:
    with pytest.raises(JsonValueError, match=says):
        loads(text)


@pytest.mark.parametrize(
    ("number", "text"),
    [(0.0, "0"), (-0.0, "0"), (1.0, "1"), (1e-6, "0.000001"), (1e-7, "1e-7"), (1e20, "100000000000000000000"),
     (1e21, "1e+21"), (5e-324, "5e-324"), (1.7976931348623157e308, "1.7976931348623157e+308"), (0.1, "0.1"),
     (-123.456, "-123.456"), (4.35, "4.35"), (2e-3, "0.002"), (9007199254740992.0, "9007199254740992")],
)  # fmt: skip
def test_canonical_numbers_are_those_of_ecmascript(number: float, text: str) -> None:
    assert number_text(number) == text


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_canonical_numbers_lose_nothing(number: float) -> None:
    assert float(number_text(number)) == number


def test_canonical_objects_are_sorted_by_utf16() -> None:
    # Of the RFC's own point: U+1F600 is above U+FB33 as a code point and below it in UTF-16.
    data = canonical({"\u20ac": 1, "\r": 2, "\ufb33": 3, "1": 4, "\U0001f600": 5, "\x80": 6, "\xf6": 7, "</script>": 8})

    assert list(json.loads(data)) == ["\r", "1", "</script>", "\x80", "\xf6", "\u20ac", "\U0001f600", "\ufb33"]


@given(values)
def test_the_canonical_form_is_a_fixed_point(value: Any) -> None:
    data = canonical(value)

    assert canonical(loads(data)) == data
