"""Expressions and templates: what the rest of indegree uses of them (INTERFACES section 4).

Why: `when`, `foreach`, `filter`, `${{ }}` and their like are checked when a workflow is built and evaluated by the
engine, from one implementation.

How: `compile_expression` and `compile_template` parse once; the results are immutable and shared by all runs of a
version. The grammar is in expressions_syntax, the meaning in expressions_evaluate, `${{ }}` in expressions_template.

It must never use eval, and it must never see a value as source text.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from indegree.events import json_values
from indegree.events.expressions_evaluate import (
    MISSING,
    TASK_MEMBERS,
    EvaluationError,
    Scope,
    TaskTable,
    TaskValues,
    bounded,
    evaluate,
    same,
    truthy,
)
from indegree.events.expressions_syntax import (
    KEYWORDS,
    RESERVED,
    ROOTS,
    Access,
    And,
    Compare,
    ExpressionError,
    Length,
    Literal,
    Node,
    Not,
    Or,
    Path,
    parse,
    unparse,
)
from indegree.events.expressions_template import (
    Constant,
    Part,
    Whole,
    compile_command_part,
    compile_part,
    evaluate_part,
    nodes_of,
    normal_part,
    to_text,
)

__all__ = [
    "KEYWORDS",
    "MISSING",
    "RESERVED",
    "ROOTS",
    "EvaluationError",
    "Expression",
    "ExpressionError",
    "References",
    "Scope",
    "TaskTable",
    "TaskValues",
    "Template",
    "bounded",
    "compile_command",
    "compile_expression",
    "compile_template",
    "same",
    "to_text",
    "truthy",
]


@dataclass(frozen=True, slots=True)
class References:
    """The names that an expression reads.

    tasks:  ids of tasks whose output, state or errors are read (each is a parent)
    params: names of run parameters
    roots:  the reserved roots in use (`params`, `trigger`, `item`, ...)
    """

    tasks: frozenset[str] = frozenset()
    params: frozenset[str] = frozenset()
    roots: frozenset[str] = frozenset()

    @classmethod
    def of(cls, nodes: Iterable[Node], text: str = "") -> References:
        """What `nodes` read. Raises ExpressionError for `tasks` or `params` used in a way that cannot be checked."""
        tasks: set[str] = set()
        params: set[str] = set()
        roots: set[str] = set()
        for path in _paths(nodes):
            name, steps = path.name, path.steps
            if name == "tasks":
                roots.add(name)
                tasks.add(_task_of(path, text))
            elif name == "params":
                roots.add(name)
                if not steps:
                    continue
                first = steps[0]
                if isinstance(first, Literal) and isinstance(first.value, str):
                    params.add(first.value)
            elif name == "context":
                raise ExpressionError("`context` exists in Python code only; read run, trigger or tasks here", text, 0)
            elif name in ROOTS:
                roots.add(name)
            else:
                tasks.add(name)
        if not (tasks or params or roots):
            return _NOTHING
        return cls(frozenset(tasks), frozenset(params), frozenset(roots))

    def __or__(self, other: References) -> References:
        if other is _NOTHING:
            return self
        return References(self.tasks | other.tasks, self.params | other.params, self.roots | other.roots)


_NOTHING = References()


def _paths(nodes: Iterable[Node]) -> Iterator[Path]:
    stack = list(nodes)
    while stack:
        match stack.pop():
            case Path() as path:
                yield path
                stack.extend(path.steps)
            case Access(of=of, steps=steps):
                stack.append(of)
                stack.extend(steps)
            case Length(of=of) | Not(of=of):
                stack.append(of)
            case And(items=items) | Or(items=items):
                stack.extend(items)
            case Compare(left=left, right=right):
                stack += (left, right)
            case Literal():
                pass


def _task_of(path: Path, text: str) -> str:
    match path.steps:
        case (Literal(value=str(task_id)), Literal(value=member), *_) if member in TASK_MEMBERS:
            return task_id
        case (Literal(value=str(task_id)), Literal(value=str(member)), *_):
            raise ExpressionError(
                f"tasks[{task_id!r}] has {', '.join(TASK_MEMBERS)}, not {member!r}; its output's member is "
                f"tasks[{task_id!r}].output.{member}",
                text,
                max(0, text.find("tasks")),
            )
        case (Literal(value=str(task_id)),):
            raise ExpressionError(
                f"write what is read of the task: tasks[{task_id!r}].output, .state or .errors",
                text,
                max(0, text.find("tasks")),
            )
        case _:
            pass
    raise ExpressionError(
        'after `tasks` comes the id as it is, tasks.load.output or tasks["model.x"].output, since edges are known '
        "before a run",
        text,
        max(0, text.find("tasks")),
    )


@dataclass(frozen=True, slots=True)
class Expression:
    """A compiled expression. `source` is the text as written, `references` the names it reads."""

    source: str
    node: Node
    references: References

    def evaluate(self, scope: Scope) -> Any:
        """The value. Raises EvaluationError."""
        return evaluate(self.node, scope)

    def evaluate_recorded(self, scope: Scope) -> tuple[Any, dict[str, Any]]:
        """The value, and what was read for it, by its text (bounded in number and size). Raises EvaluationError."""
        record: dict[str, Any] = {}
        return evaluate(self.node, scope, record), record

    @property
    def whole_output_of(self) -> str | None:
        """The id of the task whose entire output this is, or None. Such a value can be handed on by reference."""
        return _whole_output(self.node)

    @property
    def normal(self) -> str:
        """The canonical text: equal for expressions that differ only in spacing and quotes."""
        return unparse(self.node)

    def __str__(self) -> str:
        return self.source


@dataclass(frozen=True, slots=True)
class Template:
    """A compiled value that may hold `${{ }}`. `source` is the JSON value as written.

    Of a command, `evaluate` gives the shell's text or the list of words.
    """

    source: Any
    part: Part
    references: References

    def evaluate(self, scope: Scope) -> Any:
        """The value. Raises EvaluationError."""
        return evaluate_part(self.part, scope, None)

    def evaluate_recorded(self, scope: Scope) -> tuple[Any, dict[str, Any]]:
        """The value, and what was read for it (bounded). Raises EvaluationError."""
        record: dict[str, Any] = {}
        return evaluate_part(self.part, scope, record), record

    @property
    def is_constant(self) -> bool:
        """True without any `${{ }}`: the value is `source`."""
        return isinstance(self.part, Constant)

    @property
    def whole_output_of(self) -> str | None:
        """The id of the task whose entire output this is (`${{ extract }}`), or None."""
        return _whole_output(self.part.node) if isinstance(self.part, Whole) else None

    @property
    def normal(self) -> Any:
        """The value as it stands in a normal form: expressions and numbers in canonical text."""
        return normal_part(self.part)


def _whole_output(node: Node) -> str | None:
    match node:
        case Path(name="tasks", steps=(Literal(value=str(task_id)), Literal(value="output"))):
            return task_id
        case Path(name=name, steps=()) if name not in ROOTS:
            return name
    return None


def compile_expression(text: str) -> Expression:
    """Compile an expression; a text that is wholly `${{ x }}` is taken as x. Raises ExpressionError with the place."""
    inner = text.strip()
    if inner.startswith("${{") and inner.endswith("}}"):
        part = compile_part(inner)
        if isinstance(part, Whole):
            return Expression(part.source, part.node, References.of((part.node,), part.source))
        raise ExpressionError("this is text with ${{ }} inside, and an expression is needed", text, 0)
    if not inner:
        raise ExpressionError("the expression is empty", text, 0)
    node = parse(text)
    return Expression(text.strip(), node, References.of((node,), text))


def compile_template(value: Any) -> Template:
    """Compile a JSON value that may hold `${{ }}` in its texts (not in its keys).

    Raises ExpressionError, or JsonValueError for what is not JSON.
    """
    json_values.check_value(value)
    value = json_values.normalised(value)  # so that a value is the same before and after its definition was stored
    part = compile_part(value)
    if isinstance(part, Constant):
        return Template(value, part, _NOTHING)
    return Template(value, part, References.of(nodes_of(part), _text(value)))


def compile_command(command: str | list[str]) -> Template:
    """Compile a command: text for the shell, a list of texts for an argv. Raises ExpressionError."""
    part = compile_command_part(command)
    if isinstance(part, Constant):
        return Template(command, part, _NOTHING)
    return Template(command, part, References.of(nodes_of(part), _text(command)))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
