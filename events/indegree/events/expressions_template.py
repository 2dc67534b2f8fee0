"""Values that may hold `${{ }}`: `args`, `env`, `input`, `params` and commands.

Why: a task takes values of its parents without code. A field that is only `${{ x }}` keeps the type of x; inside longer
text the value becomes text; inside a shell command it is inserted quoted, as one word, so that no value is ever read as
shell source.

How: a template is compiled once per workflow version to constants, whole expressions, and texts with expressions in
them. For commands given as text a scanner follows the shell's quoting through the literal parts. Where quoting a value
would not protect (inside quotes, backticks, `$((`, a here-document) the template is refused when it is built, with the
way out: hand the value over in `env` and write "$NAME". What a command does with a word afterwards (`eval`, `[[ x -gt
1 ]]` in bash) is its own affair.

It must never evaluate text that came out of a value.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

from indegree.events import json_values
from indegree.events.expressions_evaluate import EvaluationError, Scope, evaluate
from indegree.events.expressions_syntax import ExpressionError, Node, parse_until_braces, unparse

MAX_RENDERED_CHARS = 16 * 1024 * 1024
"""Text made by one template: above any value limit, below what would stop an engine."""

_OPEN = "${{"
_ENV_WAY_OUT = 'put the value into the task\'s env (env: {NAME: "${{ ... }}"}) and write "$NAME" in the command'


@dataclass(frozen=True, slots=True)
class Constant:
    value: Any


@dataclass(frozen=True, slots=True)
class Whole:
    """Nothing but `${{ x }}`: keeps the type."""

    node: Node
    source: str


@dataclass(frozen=True, slots=True)
class Text:
    """Literal texts and expressions in turn."""

    parts: tuple[str | Whole, ...]
    shell: bool = False


@dataclass(frozen=True, slots=True)
class ListOf:
    items: tuple[Part, ...]
    argv: bool = False


@dataclass(frozen=True, slots=True)
class ObjectOf:
    items: tuple[tuple[str, Part], ...]


Part: TypeAlias = Constant | Whole | Text | ListOf | ObjectOf


def compile_part(value: Any) -> Part:
    """A JSON value (already checked, so its depth is bounded) as a template. Raises ExpressionError."""
    if isinstance(value, str):
        return _compile_text(value, shell=False)
    if isinstance(value, list | tuple):
        items = tuple(compile_part(member) for member in value)
        return Constant(value) if all(isinstance(item, Constant) for item in items) else ListOf(items)
    if isinstance(value, dict):
        pairs = tuple((key, compile_part(member)) for key, member in value.items())
        return Constant(value) if all(isinstance(part, Constant) for _, part in pairs) else ObjectOf(pairs)
    return Constant(value)


def compile_command_part(command: str | list[str]) -> Part:
    """A shell command (text) or an argv (list of texts). Raises ExpressionError, also where quoting cannot protect."""
    if isinstance(command, str):
        return _compile_text(command, shell=True)
    if not any(_OPEN in word for word in command):
        return Constant(command)
    return ListOf(tuple(_compile_text(word, shell=False) for word in command), argv=True)


def _compile_text(text: str, *, shell: bool) -> Part:
    if _OPEN not in text:
        return Constant(text)
    parts: list[str | Whole] = []
    places: list[int] = []
    position = 0
    while (start := text.find(_OPEN, position)) >= 0:
        if start > position:
            parts.append(text[position:start])
            places.append(position)
        places.append(start)
        node, source, position = parse_until_braces(text, start + len(_OPEN))
        parts.append(Whole(node, source))
    if position < len(text):
        parts.append(text[position:])
        places.append(position)
    if shell:
        _refuse_unsafe_places(text, parts, places)
    elif len(parts) == 1 and isinstance(parts[0], Whole):
        return parts[0]
    return Text(tuple(parts), shell)


_UNSAFE_COMMANDS = (
    (re.compile(r"(?<!<)<<(?!<)"), "a here-document (<<)"),
    (re.compile("`"), "backticks (use $( ) instead)"),
    (re.compile(r"\(\(|\$\["), "(( )) or $[ ] arithmetic"),
    (re.compile(r"\$'"), "$'...' quoting"),
)
_PLAIN_VARIABLE = re.compile(r"\$\{[A-Za-z0-9_]+\}")
_WORD_STARTS_AFTER = " \t\n;&|()<>"


def _refuse_unsafe_places(text: str, parts: list[str | Whole], places: list[int]) -> None:
    """Follow POSIX shell quoting (IEEE 1003.1, Shell Command Language, 2.2 and 2.3) over the literal parts.

    Only places where a quoted word is a word are let through. What is refused here would let a value become source:
    `"${{ x }}"` would end up as "'...'", inside which the shell still runs $(...).
    """
    literal = "x".join(part if isinstance(part, str) else "" for part in parts)
    for pattern, what in _UNSAFE_COMMANDS:
        if pattern.search(literal):
            raise ExpressionError(
                f"${{{{ }}}} cannot be quoted safely in a command with {what}; {_ENV_WAY_OUT}", text, text.find(_OPEN)
            )
    state = ""  # "", "'", '"', or "#" in a comment
    before = "\n"  # the last character: where a word begins, `#` begins a comment
    for part, start in zip(parts, places, strict=True):
        if isinstance(part, Whole):
            if state == "#":
                raise ExpressionError("${{ }} stands in a comment of the command; remove it there", text, start)
            if state:
                raise ExpressionError(
                    f"${{{{ }}}} stands inside {state} quotes, and the value is inserted quoted already: remove these "
                    f"quotes, or {_ENV_WAY_OUT}",
                    text,
                    start,
                )
            if before in "\\$":
                raise ExpressionError(f"${{{{ }}}} stands directly after {before}; {_ENV_WAY_OUT}", text, start)
            before = "x"
            continue
        place = 0
        while place < len(part):
            char = part[place]
            if state == "#":
                state = "" if char == "\n" else "#"
            elif state == "'":
                state = "" if char == "'" else "'"
            elif char == "\\":
                place += 1
                if place == len(part):
                    before = "\\"
                    break
                if part[place] == "\n":  # a joined line: as if neither character were there
                    place += 1
                    continue
                char = "x"
            elif state == '"':
                if part.startswith(("$(", "${"), place) and not _PLAIN_VARIABLE.match(part, place):
                    # Inside these, quotes nest: where the outer ones end can only be known by a whole shell parser.
                    raise ExpressionError(
                        f"${{{{ }}}} cannot be quoted safely in a command with $( ) or ${{ }} inside double quotes; "
                        f"{_ENV_WAY_OUT}",
                        text,
                        start + place,
                    )
                state = "" if char == '"' else '"'
            elif char in "'\"":
                state = char
            elif char == "#" and before in _WORD_STARTS_AFTER:
                state = "#"
            before = char
            place += 1


def evaluate_part(part: Part, scope: Scope, record: dict[str, Any] | None) -> Any:
    """The value of a template. Raises EvaluationError."""
    match part:
        case Constant(value=value):
            return value
        case Whole(node=node):
            return evaluate(node, scope, record)
        case Text(parts=parts, shell=shell):
            return _render(parts, shell, scope, record)
        case ListOf(items=items, argv=argv):
            values = [evaluate_part(item, scope, record) for item in items]
            return [_without_nul(to_text(value)) for value in values] if argv else values
        case ObjectOf(items=pairs):
            return {key: evaluate_part(member, scope, record) for key, member in pairs}


def _render(parts: tuple[str | Whole, ...], shell: bool, scope: Scope, record: dict[str, Any] | None) -> str:
    done: list[str] = []
    size = 0
    for part in parts:
        text = part if isinstance(part, str) else to_text(evaluate(part.node, scope, record))
        if shell and not isinstance(part, str):
            text = shlex.quote(_without_nul(text))
        size += len(text)
        if size > MAX_RENDERED_CHARS:
            raise EvaluationError(f"the text would have more than {MAX_RENDERED_CHARS} characters")
        done.append(text)
    return "".join(done)


def to_text(value: Any) -> str:
    """A value inside longer text: text as it is, null as nothing, everything else as JSON."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    try:
        return json_values.dumps(value).decode()
    except json_values.JsonValueError as error:
        raise EvaluationError(f"cannot be written as text: {error}") from None


def _without_nul(text: str) -> str:
    if "\0" in text:
        raise EvaluationError("a command's words cannot hold the character NUL; hand the value over in `input`")
    return text


def normal_part(part: Part) -> Any:
    """The JSON value that compiles to this template, in canonical spelling."""
    match part:
        case Constant(value=value):
            return json_values.normalised(value)
        case Whole(node=node):
            return f"${{{{ {unparse(node)} }}}}"
        case Text(parts=parts):
            return "".join(piece if isinstance(piece, str) else f"${{{{ {unparse(piece.node)} }}}}" for piece in parts)
        case ListOf(items=items):
            return [normal_part(item) for item in items]
        case ObjectOf(items=pairs):
            return {key: normal_part(member) for key, member in pairs}


def nodes_of(part: Part) -> Iterator[Node]:
    """Every expression inside a template, in order."""
    match part:
        case Whole(node=node):
            yield node
        case Text(parts=parts):
            for piece in parts:
                if isinstance(piece, Whole):
                    yield piece.node
        case ListOf(items=items):
            for item in items:
                yield from nodes_of(item)
        case ObjectOf(items=pairs):
            for _, member in pairs:
                yield from nodes_of(member)
        case Constant():
            return
