"""Expressions: what each construct means, and which texts are not expressions."""

from __future__ import annotations

from typing import Any

import pytest

from indegree.events.expressions import (
    EvaluationError,
    ExpressionError,
    Scope,
    TaskTable,
    compile_expression,
    compile_template,
)

SCOPE = Scope(
    params={"region": "eu", "rows": 3, "tags": [], "odd-name": 1},
    trigger={"date": "2026-11-25", "value": {"n": 1.0}},
    run={"id": "r1"},
    tasks=TaskTable(
        {
            "check": {"ok": True, "files": ["a", "b"], "n": 0, "in": "kw"},
            "model.x": [{"y": 1}],
            "empty": {},
            "none": None,
        }
    ),
)


def value(text: str) -> Any:
    return compile_expression(text).evaluate(SCOPE)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("check.ok", True),
        ("tasks.check.output.ok", True),
        ("tasks.check.state", "SUCCESS"),
        ("tasks.absent.errors", None),
        ('tasks["model.x"].output[0].y', 1),
        ("tasks['model.x'].output", [{"y": 1}]),
        ("check.files[0]", "a"),
        ("check.files[-1]", "b"),
        ("check.files[2]", None),
        ("check['files'][params.rows]", None),
        ("check.in", "kw"),
        ('params["odd-name"]', 1),
        ("check.nothing.deeper[3].still", None),
        ("none.x", None),
        ("('text').length", None),
        ("run.id", "r1"),
        ("null", None),
        ("-1.5e3", -1500.0),
        ("9007199254740993", 9007199254740993),
        (r'"a\"b\n\u00e9\ud83d\ude00"', 'a"b\né😀'),
        (r"'it\'s'", "it's"),
        ("(check).files[1]", "b"),
        ("(none or check).files[1]", "b"),
        ("len(check.files)", 2),
        ("len('abc') == 3", True),
        ("len(check)", 4),
    ],
)
def test_access_and_literals(text: str, expected: Any) -> None:
    assert value(text) == expected
    assert type(value(text)) is type(expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("not check.ok", False),
        ("not not check.ok", True),
        ("not 0", True),
        ("not ''", True),
        ("not params.tags", True),
        ("not empty", True),
        ("not null", True),
        ("not '0'", False),
        ("true or false and false", True),
        ("(true or false) and false", False),
        ("not false or true", True),
        ("not (false or true)", False),
        ("not 1 == 2", True),
        ("none or 'default'", "default"),
        ("check.n or params.rows", 3),
        ("check.ok and params.rows", 3),
        ("none and none.x < 1", None),
        ("true or none.x < 1", True),
    ],
)
def test_logic_takes_false_null_zero_and_empty_as_false(text: str, expected: Any) -> None:
    assert value(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1 == 1.0", True),
        ("1 == true", False),
        ("0 == false", False),
        ("'1' == 1", False),
        ("null == false", False),
        ("null == check.nothing", True),
        ("check.files == check.files", True),
        ("check.files != params.tags", True),
        ("9007199254740993 == 9007199254740992.0", False),
        ("1 < 1.5", True),
        ("'a' < 'b'", True),
        ("'10' < '9'", True),
        ("params.rows >= 3", True),
        ("'a' in check.files", True),
        ("'a' not in check.files", False),
        ("1 in params.tags", False),
        ("true in check.files", False),
        ("'ok' in check", True),
        ("1 in check", False),
        ("'u' in params.region", True),
    ],
)
def test_comparisons(text: str, expected: bool) -> None:
    assert value(text) is expected


@pytest.mark.parametrize(
    "text",
    ["null < 1", "check.nothing > 0", "true < 2", "'1' < 2", "check.files < check.files", "1 in 2", "1 in null",
     "1 in 'abc'", "len(null)", "len(3)", "item", "value.x"],
)  # fmt: skip
def test_what_has_no_value_is_an_error_of_the_task(text: str) -> None:
    with pytest.raises(EvaluationError):
        value(text)


def test_an_error_names_the_operands() -> None:
    with pytest.raises(EvaluationError, match=r"`check.nothing < 1` compares null with 1"):
        value("check.nothing < 1")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "empty"),
        ("a &&b", "write `and`"),
        ("a || b", "write `or`"),
        ("!a", "write `not`"),
        ("a = 1", "write `==`"),
        ("a + 1", "do not compute"),
        ("load-eu", r'tasks\["the-id"\]'),
        ("1 < 2 < 3", "not chained"),
        ("f(1)", "`len` is the only function"),
        ("'abc", "not closed"),
        ("01", "not a JSON number"),
        ("1.", "not a JSON number"),
        (".5", "a value is a name"),
        ("1e999", "out of range"),
        ("a b", "need `and`"),
        ("(a", r"'\)' is missing"),
        ("a[1", r"'\]' is missing"),
        ("a.", "after a dot"),
        ("not", "value is"),
        ("a and", "value is"),
        ("in", "stands where a value"),
        ("[1, 2]", "value is"),
        (r"'\q'", "no escape"),
        (r"'\ud800'", "surrogate"),
        ("tasks", "the id as it is"),
        ("tasks[params.x].output", "the id as it is"),
        ("tasks.check.ok", r"tasks\['check'\].output.ok"),
        ("tasks.check", "output, .state or .errors"),
        ("context.attempt", "Python code only"),
        ("x" * 5_000, "at most 4096 characters"),
        ("(" * 40 + "a" + ")" * 40, "nested deeper than 32"),
        ("not " * 40 + "a", "nested deeper than 32"),
        ("a[" * 40 + "0" + "]" * 40, "nested deeper than 32"),
        ("pre ${{ a }}", "an expression is needed|not part of the language|need `and`"),
    ],
)
def test_what_is_not_an_expression_says_where_it_stops(text: str, says: str) -> None:
    with pytest.raises(ExpressionError, match=says) as caught:
        compile_expression(text)

    assert 0 <= caught.value.position <= len(text)


def test_long_chains_need_no_depth() -> None:
    assert compile_expression(" and ".join(["check.ok"] * 300)).evaluate(SCOPE) is True
    assert compile_expression("check" + ".x" * 1_000).evaluate(SCOPE) is None


def test_references_name_tasks_params_and_roots() -> None:
    found = compile_expression("check.ok and params.rows > tasks['model.x'].output[item.n] and trigger.x").references

    assert found.tasks == {"check", "model.x"}
    assert found.params == {"rows"}
    assert found.roots == {"params", "tasks", "item", "trigger"}


def test_operands_are_recorded_with_the_decision() -> None:
    decided, operands = compile_expression("check.ok and params.rows > 2 or check.nothing").evaluate_recorded(SCOPE)

    assert decided is True
    assert operands == {"check.ok": True, "params.rows": 3}


def test_recorded_operands_are_bounded() -> None:
    scope = Scope(tasks=TaskTable(big=["x"] * 100_000, long="y" * 100_000))
    text = "len(big) > 0 and len(long) > 0 and " + " and ".join(f"big[{i}] == 'x'" for i in range(100))

    _, operands = compile_expression(text).evaluate_recorded(scope)

    assert operands["big"] == "a list of 100000"
    assert len(operands["long"]) < 300
    assert len(operands) <= 33


def test_a_field_that_is_only_a_reference_keeps_its_type() -> None:
    template = compile_template({"a": "${{ check.files }}", "b": ["${{ params.rows }}", "${{check.ok}}"], "c": 1})

    assert template.evaluate(SCOPE) == {"a": ["a", "b"], "b": [3, True], "c": 1}
    assert template.references.tasks == {"check"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("s3://b/${{ trigger.date }}/", "s3://b/2026-11-25/"),
        ("${{ params.rows }}${{ check.ok }}", "3true"),
        ("[${{ check.nothing }}]", "[]"),
        (" ${{ check.files }}", ' ["a","b"]'),
        ("${{ '}}' }}!", "}}!"),
        ("$x ${x} $(x)", "$x ${x} $(x)"),
        ("${{ '${{ check }}' }}", "${{ check }}"),
    ],
)
def test_inside_longer_text_a_value_becomes_text(text: str, expected: str) -> None:
    assert compile_template(text).evaluate(SCOPE) == expected


def test_a_template_that_is_not_closed_says_so() -> None:
    with pytest.raises(ExpressionError, match="not closed with }}"):
        compile_template("x ${{ check.ok")


def test_a_whole_output_can_be_handed_on_by_reference() -> None:
    assert compile_template("${{ check }}").whole_output_of == "check"
    assert compile_template("${{ tasks['model.x'].output }}").whole_output_of == "model.x"
    assert compile_template("${{ check.ok }}").whole_output_of is None
    assert compile_template("${{ item }}").whole_output_of is None
