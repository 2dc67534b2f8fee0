"""Binding run parameters: types, defaults, and what is said of a start that does not fit."""

from __future__ import annotations

from typing import Any

import pytest

from indegree.events.definition import Definition, ParameterError

PARAMS = {
    "region": {"type": "string", "required": True},
    "rows": {"type": "integer", "default": 0},
    "share": {"type": "number"},
    "flags": {"type": "object", "default": {"a": 1}},
    "anything": {},
}
DEFINITION = Definition.from_normal({"id": "w", "params": PARAMS, "tasks": [{"id": "a"}]})


def test_defaults_fill_what_was_not_given() -> None:
    assert DEFINITION.bind_params({"region": "eu"}) == {
        "region": "eu", "rows": 0, "share": None, "flags": {"a": 1}, "anything": None,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({}, r"'region' \(string\) is required and was not given"),
        ({"region": None}, "'region' is None, which is null; its type is string"),
        ({"region": 3}, "'region' is 3, which is an integer; its type is string"),
        ({"region": "eu", "rows": "3"}, "'rows' is '3', which is a string; its type is integer"),
        ({"region": "eu", "rows": True}, "which is a boolean"),
        ({"region": "eu", "rows": 1.5}, "which is a number"),
        ({"region": "eu", "rows": None}, "'rows' is None"),
        ({"region": "eu", "row": 1}, "unknown parameter 'row'; did you mean 'rows'"),
        ({"region": "eu", "zzz": 1}, "there are region, rows"),
        ({"region": "eu", "anything": float("nan")}, "anything: NaN is not JSON"),
        ({"region": "eu", "anything": {1: 2}}, "the key 1 is an int"),
        ({"region": "e" * 300_000}, "the limit is 262144"),
        ([], "an object of names and values"),
    ],
)
def test_a_start_that_does_not_fit_is_told_why(given: Any, says: str) -> None:
    with pytest.raises(ParameterError, match=says):
        DEFINITION.bind_params(given)


def test_all_parameters_at_fault_are_told_at_once() -> None:
    with pytest.raises(ParameterError) as caught:
        DEFINITION.bind_params({"rows": "x", "zz": 1})

    assert len(caught.value.problems) == 3


def test_whole_numbers_are_integers_however_they_are_written() -> None:
    bound = DEFINITION.bind_params({"region": "eu", "rows": 3.0, "share": 2})

    assert (bound["rows"], type(bound["rows"]), bound["share"]) == (3, int, 2)


def test_texts_of_a_command_line_are_read_by_the_declared_type() -> None:
    given = {"region": "0755", "rows": "3", "share": "0.5", "flags": '{"b": 2}', "anything": "plain"}

    assert DEFINITION.params_from_text(given) == {
        "region": "0755", "rows": 3, "share": 0.5, "flags": {"b": 2}, "anything": "plain",
    }  # fmt: skip
    with pytest.raises(ParameterError, match="its type is integer"):
        DEFINITION.params_from_text({"rows": "many"})
