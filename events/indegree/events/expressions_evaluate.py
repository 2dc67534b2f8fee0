"""The meaning of expressions: a tree and a scope give a JSON value, or an error that belongs to the task.

Why: the engine decides by these values, so their meaning has no corner that depends on Python: `1 == true` is false,
`null.x` is null, `null < 1` is an error.

How: a walk over the tree (its depth is bounded by the parser). Names are looked up in a `Scope`; what was read is
recorded on request, cut to a bound, because a decision is logged with its operands.

It must never raise anything but EvaluationError, whatever the values are, and must never change a value.
"""

from __future__ import annotations

import operator as operators
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from indegree.events.expressions_syntax import (
    Access,
    And,
    Compare,
    Length,
    Literal,
    Node,
    Not,
    Or,
    Path,
    unparse,
)

TASK_MEMBERS = ("output", "state", "errors")

MAX_OPERAND_CHARS = 256
"""A text in the recorded operands is cut after this many characters."""

MAX_OPERANDS = 32
"""Operands recorded of one evaluation; the others are counted in the member `...`."""

_MAX_COMPARED = 1_000_000
"""Members compared by one `==` or `in` over lists and objects. About 0.2 s, and it holds up a partition."""


class EvaluationError(ValueError):
    """An expression has no value for these operands. The message names the operands and the rule."""


class _Missing:
    def __repr__(self) -> str:
        return "MISSING"


MISSING: Any = _Missing()
"""What a Scope has for a name that does not exist in its place (`item` outside foreach)."""


class TaskValues(Protocol):
    """What a scope knows of tasks. May raise EvaluationError (say, for a value too large to be read here)."""

    def output(self, task_id: str) -> Any:
        """The output; None where the task has none (yet)."""

    def state(self, task_id: str) -> str | None:
        """The state's name (`SUCCESS`)."""

    def errors(self, task_id: str) -> Any:
        """Errors by index of a mapped task's failed instances, or the error of a failed task; None without."""


class TaskTable(dict[str, Any]):
    """TaskValues over a dict of outputs, for tests and small scopes. States are SUCCESS, errors null."""

    def output(self, task_id: str) -> Any:
        return self.get(task_id)

    def state(self, task_id: str) -> str | None:
        return "SUCCESS" if task_id in self else None

    def errors(self, task_id: str) -> Any:
        return None


@dataclass(slots=True)
class Scope:
    """The names that an expression can read. Those that do not exist in its place stay MISSING."""

    params: Mapping[str, Any] | Any = MISSING
    trigger: Any = MISSING
    run: Any = MISSING
    tasks: TaskValues = field(default_factory=TaskTable)
    item: Any = MISSING
    index: Any = MISSING
    value: Any = MISSING
    key: Any = MISSING
    headers: Any = MISSING


def truthy(value: Any) -> bool:
    """False are false, null, 0, empty text, list and object; all else is true."""
    return bool(value)


def evaluate(node: Node, scope: Scope, record: dict[str, Any] | None = None) -> Any:
    """The value of a tree. With `record`, each path that was read is put there under its text."""
    match node:
        case Literal(value=value):
            return value
        case Path(name=name, steps=steps):
            found = _read(name, steps, scope, record)
            if record is not None:
                _put(record, unparse(node), found)
            return found
        case Compare(operator=operator, left=left, right=right):
            return _compare(operator, left, right, scope, record)
        case Not(of=of):
            return not truthy(evaluate(of, scope, record))
        case And(items=items):
            for item in items:
                found = evaluate(item, scope, record)
                if not truthy(found):
                    return found
            return found
        case Or(items=items):
            for item in items:
                found = evaluate(item, scope, record)
                if truthy(found):
                    return found
            return found
        case Length(of=of):
            found = evaluate(of, scope, record)
            if isinstance(found, str | list | tuple | dict):
                return len(found)
            raise EvaluationError(f"{unparse(node)}: {_shown(found)} has no length; only text, lists and objects have")
        case Access(of=of, steps=steps):
            found = evaluate(of, scope, record)
            for step in steps:
                found = _member(found, evaluate(step, scope, record))
            return found


def _read(name: str, steps: tuple[Node, ...], scope: Scope, record: dict[str, Any] | None) -> Any:
    if name == "tasks":
        task_id = steps[0].value if steps and isinstance(steps[0], Literal) else None
        member = steps[1].value if len(steps) > 1 and isinstance(steps[1], Literal) else None
        if not isinstance(task_id, str) or member not in TASK_MEMBERS:
            read = unparse(Path(name, steps))
            raise EvaluationError(f"`{read}` must name a task and one of {', '.join(TASK_MEMBERS)}")
        if member == "output":
            found = scope.tasks.output(task_id)
        elif member == "state":
            found = scope.tasks.state(task_id)
        else:
            found = scope.tasks.errors(task_id)
        steps = steps[2:]
    elif name in _SCOPE_NAMES:
        found = getattr(scope, name)
        if found is MISSING:
            raise EvaluationError(f"`{name}` does not exist here")
    else:
        found = scope.tasks.output(name)
    for step in steps:
        found = _member(found, step.value if type(step) is Literal else evaluate(step, scope, record))
    return found


_SCOPE_NAMES = frozenset({"params", "trigger", "run", "item", "index", "value", "key", "headers"})


def _member(of: Any, step: Any) -> Any:
    """A missing member is null, and so is a member of what has none."""
    if isinstance(of, Mapping):
        return of.get(step) if isinstance(step, str) else None
    if isinstance(of, list | tuple) and isinstance(step, int) and not isinstance(step, bool):
        return of[step] if -len(of) <= step < len(of) else None
    return None


def _compare(operator: str, left: Node, right: Node, scope: Scope, record: dict[str, Any] | None) -> bool:
    a = evaluate(left, scope, record)
    b = evaluate(right, scope, record)
    match operator:
        case "==":
            return same(a, b)
        case "!=":
            return not same(a, b)
        case "in":
            return _contains(b, a, left, right)
        case "not in":
            return not _contains(b, a, left, right)
        case _:
            return _ordered(operator, a, b, left, right)


def _ordered(operator: str, a: Any, b: Any, left: Node, right: Node) -> bool:
    if not (_is_number(a) and _is_number(b)) and not (isinstance(a, str) and isinstance(b, str)):
        raise EvaluationError(
            f"`{unparse(Compare(operator, left, right))}` compares {_shown(a)} with {_shown(b)}; "
            "only two numbers or two texts have an order"
        )
    return bool(_ORDER[operator](a, b))


_ORDER = {"<": operators.lt, "<=": operators.le, ">": operators.gt, ">=": operators.ge}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def same(a: Any, b: Any) -> bool:
    """Equality of JSON values: numbers by value (1 == 1.0), values of different types are never equal.

    Raises EvaluationError for comparisons beyond the bound.
    """
    pairs = [(a, b)]
    compared = 0
    while pairs:
        a, b = pairs.pop()
        if isinstance(a, str) or isinstance(b, str):
            if not (isinstance(a, str) and isinstance(b, str) and a == b):
                return False
        elif isinstance(a, bool) or isinstance(b, bool) or a is None or b is None:
            if a is not b:
                return False
        elif _is_number(a):
            if not (_is_number(b) and a == b):
                return False
        elif isinstance(a, list | tuple):
            if not isinstance(b, list | tuple) or len(a) != len(b):
                return False
            pairs.extend(zip(a, b, strict=True))
        elif isinstance(a, Mapping):
            if not isinstance(b, Mapping) or len(a) != len(b) or any(key not in b for key in a):
                return False
            pairs.extend((value, b[key]) for key, value in a.items())
        else:
            return False
        compared += 1
        if compared > _MAX_COMPARED:
            raise EvaluationError(f"`==` over more than {_MAX_COMPARED} members; compare them in a task")
    return True


def _contains(container: Any, element: Any, left: Node, right: Node) -> bool:
    if isinstance(container, str):
        if isinstance(element, str):
            return element in container
    elif isinstance(container, list | tuple):
        if isinstance(element, str):
            return element in container  # a text equals nothing but a text, so Python's own search is right (and fast)
        return any(same(member, element) for member in container)
    elif isinstance(container, Mapping):
        return isinstance(element, str) and element in container
    raise EvaluationError(
        f"`{unparse(Compare('in', left, right))}` asks for {_shown(element)} in {_shown(container)}; `in` needs a "
        "list, an object (for its keys), or a text in a text"
    )


def _shown(value: Any) -> str:
    """A value for messages, at most about 60 characters."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, str):
        return repr(value) if len(value) <= 50 else f"{value[:50]!r}... ({len(value)} characters)"
    if isinstance(value, int):
        return str(value) if value.bit_length() < 160 else "a long integer"
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, list | tuple):
        return f"a list of {len(value)}"
    if isinstance(value, Mapping):
        return f"an object of {len(value)}"
    return f"a {type(value).__name__}"


def _put(record: dict[str, Any], text: str, value: Any) -> None:
    if text in record:
        return
    if len(record) >= MAX_OPERANDS:
        record["..."] = record.get("...", 0) + 1
    else:
        record[text] = bounded(value)


def bounded(value: Any) -> Any:
    """A value as it is logged: scalars as they are, long text cut, small lists and objects of scalars kept, others told
    by their size."""
    if isinstance(value, str):
        if len(value) <= MAX_OPERAND_CHARS:
            return value
        return f"{value[:MAX_OPERAND_CHARS]}... ({len(value)} characters)"
    if isinstance(value, list | tuple | Mapping):
        members = list(value.values()) if isinstance(value, Mapping) else list(value[:9])
        if len(value) <= 8 and all(_is_short(member) for member in members):
            if isinstance(value, Mapping):
                return dict(value) if all(isinstance(k, str) and len(k) <= 64 for k in value) else _shown(value)
            return list(value)
        return _shown(value)
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() >= 160:
        return _shown(value)
    return value


def _is_short(value: Any) -> bool:
    if isinstance(value, str):
        return len(value) <= 64
    return value is None or isinstance(value, bool | float) or (isinstance(value, int) and value.bit_length() < 160)
