"""Expressions under random trees, texts and values: nothing but the two declared errors, and print is parse's inverse.

Hypothesis prints the seed and the smallest example of a failure.
"""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indegree.events.expressions import (
    EvaluationError,
    ExpressionError,
    Scope,
    TaskTable,
    compile_command,
    compile_expression,
    compile_template,
)
from indegree.events.expressions_evaluate import evaluate, same
from indegree.events.expressions_syntax import (
    KEYWORDS,
    Access,
    And,
    Compare,
    Length,
    Literal,
    Node,
    Not,
    Or,
    Path,
    parse,
    unparse,
)

pytestmark = pytest.mark.filterwarnings("ignore:Generating overly large repr")  # of the strategy, not of an example

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
numbers = st.integers(-(10**20), 10**20) | st.floats(allow_nan=False, allow_infinity=False)
literals = st.builds(Literal, st.none() | st.booleans() | numbers | texts)
names = st.from_regex(r"[a-z_][a-z0-9_]{0,5}", fullmatch=True).filter(lambda name: name not in KEYWORDS)


def _trees(inner: st.SearchStrategy[Node]) -> st.SearchStrategy[Node]:
    several = st.lists(inner, min_size=2, max_size=3).map(tuple)
    steps = st.lists(inner | st.builds(Literal, names), max_size=2).map(tuple)
    operators = st.sampled_from(["==", "!=", "<", "<=", ">", ">=", "in", "not in"])
    return (
        st.builds(Path, names, steps)
        | st.builds(Length, inner)
        | st.builds(Not, inner)
        | st.builds(And, several.filter(lambda items: not any(isinstance(item, And) for item in items)))
        | st.builds(Or, several.filter(lambda items: not any(isinstance(item, Or) for item in items)))
        | st.builds(Compare, operators, inner, inner)
        | st.builds(
            Access,
            inner.filter(lambda node: not isinstance(node, Path | Access | Literal | Length)),
            st.lists(inner, min_size=1, max_size=2).map(tuple),
        )
    )


trees: st.SearchStrategy[Node] = st.recursive(literals | st.builds(Path, names, st.just(())), _trees, max_leaves=12)
values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)


@given(trees)
def test_what_is_printed_is_parsed_back(tree: Node) -> None:
    assert parse(unparse(tree)) == tree


@given(trees, values, values)
def test_evaluation_raises_nothing_but_its_own_error(tree: Node, first: Any, second: Any) -> None:
    class Anything(TaskTable):
        def output(self, task_id: str) -> Any:
            return first if len(task_id) % 2 else second

    scope = Scope(params={"a": first}, trigger=second, item=first, index=0, tasks=Anything())
    recorded: dict[str, Any] = {}
    with contextlib.suppress(EvaluationError):
        evaluate(tree, scope, recorded)


@given(st.text(max_size=60) | st.text("abc.[]()'\"0123 -+<>=!&|${}\\nottruein", max_size=40))
def test_random_text_raises_nothing_but_an_expression_error(text: str) -> None:
    for compile_text in (compile_expression, compile_command):
        with contextlib.suppress(ExpressionError):
            compile_text(text)
    with contextlib.suppress(ExpressionError):
        compile_template("${{" + text.encode("utf-8", "replace").decode())


@given(values, values)
def test_equality_is_that_of_json(a: Any, b: Any) -> None:
    def typed(value: Any) -> Any:
        if isinstance(value, bool):
            return ("bool", value)
        if isinstance(value, list):
            return [typed(member) for member in value]
        if isinstance(value, dict):
            return {key: typed(member) for key, member in value.items()}
        return value

    assert same(a, a)
    assert same(a, b) == (typed(a) == typed(b))
