"""Tasks and their future outputs, as they are written down while a workflow is built.

Why: `orders["extract"] >> orders["load"]` is order, `orders["check"].reason` is a value that will exist later. Both are
only notes for the definition.

How: a `Reference` holds the text of an expression and stands for `${{ ... }}` wherever a value is given, also inside
f-strings. A `Node` is the reference to a task's whole output that can also say what comes after what.

It must never pretend to be a value: asking one for truth, order, length or iteration raises and says what to do.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from indegree.events.expressions import KEYWORDS, ROOTS

if TYPE_CHECKING:
    from indegree.sdk.workflow import Workflow

Right = TypeVar("Right", bound="Node | Sequence[Node]")


class Reference:
    """A part of a task's output, by path: `orders["check"]["reason"]`, `orders["check"].files[0]`."""

    __slots__ = ("_base",)

    def __init__(self, text: str) -> None:
        self._base = text

    def _text(self) -> str:
        """The expression."""
        return self._base

    def __getitem__(self, key: str | int) -> Reference:
        if isinstance(key, bool) or not isinstance(key, str | int):
            raise TypeError(f"{key!r} cannot be a member of an output; use a text or a whole number")
        if isinstance(key, str) and key.isascii() and key.isidentifier():
            return Reference(f"{self._base}.{key}")
        return Reference(f"{self._base}[{json.dumps(key)}]")

    def __getattr__(self, name: str) -> Reference:
        if name.startswith("_"):
            raise AttributeError(f"a reference has no attribute {name!r}; write [{name!r}] for a member of that name")
        return self[name]

    def __str__(self) -> str:
        return f"${{{{ {self._text()} }}}}"

    def __format__(self, spec: str) -> str:
        if spec:
            raise TypeError(f"{self._text()} has no value yet and cannot be formatted with {spec!r}; do it in a task")
        return str(self)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._text()!r})"

    def _no_value(self, doing: str, instead: str) -> NoReturn:
        raise TypeError(f"{self._text()} has no value while the workflow is built, so {doing}; {instead}")

    def __bool__(self) -> bool:  # noqa: PLE0304 - it raises
        self._no_value("it is neither true nor false", 'put the condition into when="check.ok"')

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Reference):
            return self._text() == other._text()
        return self._no_value("it cannot be compared", 'put the comparison into when="check.rows > 0", or into a task')

    def __hash__(self) -> int:
        return hash(self._text())

    def _unordered(self, other: object) -> bool:
        self._no_value("it has no order", 'put the comparison into when="check.rows > 0", or into a task')

    __lt__ = __le__ = __gt__ = __ge__ = _unordered

    def __iter__(self) -> NoReturn:
        self._no_value("it cannot be looped over", 'use foreach="extract" for one instance per element')

    def __len__(self) -> int:  # noqa: PLE0303 - it raises
        self._no_value("it has no length", 'write len(...) in an expression: when="len(extract) > 0"')

    def __contains__(self, member: object) -> bool:
        self._no_value("nothing can be looked up in it", "write `in` in an expression: when=\"'a' in extract\"")

    def __call__(self, *args: object, **kwargs: object) -> NoReturn:
        self._no_value("it cannot be called", "call the function itself, it is unchanged")


class Node(Reference):
    """A task of a workflow. As a value it is the task's whole output; `a >> b` means that b starts after a."""

    __slots__ = ("_id", "_workflow")

    def __init__(self, workflow: Workflow, task_id: str) -> None:
        plain_name = task_id.isascii() and task_id.isidentifier() and task_id not in ROOTS and task_id not in KEYWORDS
        super().__init__(task_id if plain_name else f"tasks[{json.dumps(task_id)}].output")
        self._workflow = workflow
        self._id = task_id

    def __rshift__(self, after: Right) -> Right:
        """`a >> b`, `a >> [b, c]`: b and c depend on a. Gives the right side, so that it can be chained."""
        for node in [after] if isinstance(after, Node) else after:
            self._order(node)._workflow._depend(node._id, self._id)
        return after

    def __rrshift__(self, before: Sequence[Node]) -> Node:
        """`[a, b] >> c`."""
        for node in before:
            self._order(node)._workflow._depend(self._id, node._id)
        return self

    def __lshift__(self, before: Right) -> Right:
        """`b << a` is `a >> b`."""
        for node in [before] if isinstance(before, Node) else before:
            self._order(node)._workflow._depend(self._id, node._id)
        return before

    def _order(self, other: object) -> Node:
        if not isinstance(other, Node):
            raise TypeError(f"{self!r} >> {other!r}: both sides are nodes; write orders['the id'] >> orders['another']")
        if other._workflow is not self._workflow:
            raise TypeError(f"{other!r} belongs to the workflow {other._workflow.id!r}, not to {self._workflow.id!r}")
        return other


def plain(value: Any) -> Any:
    """A value in which references are `${{ }}` texts, all else as it is."""
    if isinstance(value, Reference):
        return str(value)
    if isinstance(value, Mapping):
        return {key: plain(member) for key, member in value.items()}
    if isinstance(value, list | tuple) and not hasattr(value, "_fields"):
        return [plain(member) for member in value]
    return value
