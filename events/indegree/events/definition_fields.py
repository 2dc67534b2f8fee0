"""Reading single fields of a definition, each with an error that names the place, the value and the way out.

Why: people meet a workflow's errors while they write it; all of them should be told at once, and in one voice.

How: `Report` gathers problems and notes (things that were understood but are not the normal form), `Fields` reads the
members of one object. A field that is wrong gives its default, so that reading goes on and finds the next problem.
Null counts as "not given" unless a method says otherwise.

It must never raise for what people wrote; only `Report.problems` decides whether a definition is valid.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from indegree.events import json_values
from indegree.events.definition_model import EMPTY, MAX_ID_CHARS, Problem
from indegree.events.durations import DurationError, parse_duration
from indegree.events.expressions import (
    RESERVED,
    Expression,
    ExpressionError,
    References,
    Template,
    compile_command,
    compile_expression,
    compile_template,
)
from indegree.events.json_values import JsonValueError, member_path
from indegree.events.spelling import did_you_mean, listing

ID = re.compile(rf"[A-Za-z0-9][A-Za-z0-9_.-]{{0,{MAX_ID_CHARS - 1}}}", re.ASCII)
QUEUE = re.compile(r"[a-z0-9-]{1,100}", re.ASCII)
_MISSING: Any = object()


def shown(value: object) -> str:
    """A value for messages: JSON's words for scalars, cut at 80 characters."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, dict):
        return f"an object ({{{listing(map(str, value), 4)}}})" if value else "an empty object"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def id_problem(value: object, what: str, reserved: Collection[str] = RESERVED) -> str | None:
    """Why `value` cannot be the id of a `what`, or None."""
    if not isinstance(value, str):
        return f"{shown(value)} is not text, and the id of a {what} is; put it in quotes"
    if not ID.fullmatch(value):
        return (
            f"{shown(value)} cannot be the id of a {what}: letters, digits, '_', '-' and '.', at most {MAX_ID_CHARS}, "
            "beginning with a letter or digit (free text goes into `label`)"
        )
    if value in reserved:
        return f"{value!r} is a word of the expression language and cannot be the id of a {what}; choose another one"
    return None


class Report:
    """What was found while reading one definition, and caches that let equal parts be shared."""

    __slots__ = ("expressions", "notes", "problems", "shared", "templates")

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.notes: list[Problem] = []
        self.expressions: dict[str, Expression] = {}
        self.templates: dict[str, Template] = {}
        self.shared: dict[Any, Any] = {}

    def problem(self, path: str, message: str, *see: str) -> None:
        self.problems.append(Problem(path, message, see))

    def note(self, path: str, message: str) -> None:
        self.notes.append(Problem(path, message))

    def share(self, part: Any) -> Any:
        """An equal object that was read before, else `part`."""
        return self.shared.setdefault(part, part)

    def expression(self, text: object, path: str) -> Expression | None:
        """A compiled expression; true, false, numbers and null of a file stand for themselves."""
        if text is None or isinstance(text, bool | int | float):
            text = json_values.canonical(text).decode() if text is not None else "null"
        if not isinstance(text, str):
            self.problem(path, f'{shown(text)} is not an expression; write text such as "check.ok"')
            return None
        found = self.expressions.get(text)
        if found is None:
            try:
                found = self.expressions[text] = compile_expression(text)
            except ExpressionError as error:
                self.problem(path, str(error))
        return found

    def template(self, value: object, path: str) -> Template | None:
        if isinstance(value, str) and (found := self.templates.get(value)) is not None:
            return found
        try:
            template = compile_template(value)
            if isinstance(value, str) and not template.is_constant:
                self.templates[value] = template
            return template
        except ExpressionError as error:
            self.problem(path, str(error))
        except JsonValueError as error:
            self.problem(path + error.path.removeprefix("$"), error.problem)
        return None

    def command(self, value: object, path: str) -> Template | None:
        if isinstance(value, str):
            if not value.strip():
                self.problem(path, "the command is empty; leave it out for a join point")
                return None
        elif isinstance(value, list) and value:
            for place, word in enumerate(value):
                if isinstance(word, bool | int | float):
                    self.problem(f"{path}[{place}]", f"{shown(word)} is not text; put it in quotes")
                    return None
                if not isinstance(word, str):
                    self.problem(f"{path}[{place}]", f"{shown(word)} is not text; a command's words are")
                    return None
        else:
            self.problem(path, f"{shown(value)} is not a command; write text (for a shell) or a list of words")
            return None
        try:
            json_values.check_value(value)
            if "\0" in (value if isinstance(value, str) else "".join(value)):
                raise JsonValueError("$", "a command cannot hold the character NUL")
            return compile_command(value)
        except ExpressionError as error:
            self.problem(path, str(error))
        except JsonValueError as error:
            self.problem(path + error.path.removeprefix("$"), error.problem)
        return None


class Fields:
    """The members of one object of a definition. Unknown members are problems as soon as it is made."""

    __slots__ = ("object", "path", "report")

    def __init__(self, report: Report, value: object, path: str, known: Collection[str], what: str) -> None:
        self.report = report
        self.path = path
        if not isinstance(value, dict):
            report.problem(path, f"{shown(value)} is not {what}; it needs fields: {listing(known)}")
            value = {}
        self.object: dict[str, Any] = value
        for key in value:
            if key not in known:
                hint = did_you_mean(str(key), known) or f"; there are {listing(known, 40)}"
                report.problem(self.at(str(key)), f"unknown field {str(key)[:80]!r} in {what}{hint}")

    def at(self, name: str) -> str:
        return member_path(self.path, name)

    def has(self, name: str) -> bool:
        return self.object.get(name) is not None

    def raw(self, name: str) -> Any:
        return self.object.get(name)

    def problem(self, name: str, message: str, *see: str) -> None:
        self.report.problem(self.at(name), message, *see)

    def text(self, name: str, *, limit: int = 1_000) -> str | None:
        value = self.object.get(name)
        if value is None:
            return None
        if not isinstance(value, str):
            self.problem(name, f"{shown(value)} is not text; put it in quotes")
            return None
        if not value or len(value) > limit:
            self.problem(name, "this text is empty" if not value else f"{len(value)} characters; the limit is {limit}")
            return None
        try:
            json_values.check_value(value)
        except JsonValueError as error:
            self.problem(name, error.problem)
            return None
        return value

    def choice(self, name: str, choices: Collection[str]) -> str | None:
        value = self.object.get(name)
        if value is None or (isinstance(value, str) and value in choices):
            return value
        hint = did_you_mean(value, choices) if isinstance(value, str) else ""
        self.problem(name, f"{shown(value)} is not one of {', '.join(choices)}{hint}")
        return None

    def boolean(self, name: str, default: bool) -> bool:
        value = self.object.get(name)
        if value is None or isinstance(value, bool):
            return default if value is None else value
        hint = "" if not isinstance(value, str) or value.lower() not in ("yes", "no", "on", "off") else " (YAML 1.2)"
        self.problem(name, f"{shown(value)} is not true or false{hint}")
        return default

    def integer(self, name: str, least: int, most: int) -> int | None:
        value = self.object.get(name)
        if value is None:
            return None
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            self.problem(name, f"{shown(value)} is not a whole number")
            return None
        if not least <= value <= most:
            self.problem(name, f"{shown(value)} is out of range; it is {least} to {most}")
            return None
        return value

    def number(self, name: str, least: float, most: float) -> float | None:
        value = self.object.get(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float):
            self.problem(name, f"{shown(value)} is not a number")
            return None
        if not least <= value <= most:
            self.problem(name, f"{shown(value)} is out of range; it is {least:g} to {most:g}")
            return None
        return float(value)

    def duration(self, name: str, default: int | None = None, *, least_ms: int = 1) -> int | None:
        """Milliseconds; an explicit null is None ("no limit"), a missing field is `default`."""
        value = self.object.get(name, _MISSING)
        if value is _MISSING:
            return default
        if value is None:
            return None
        try:
            ms = parse_duration(value)
        except DurationError as error:
            self.problem(name, str(error))
            return default
        if ms < least_ms:
            self.problem(name, f"{shown(value)} is too short; the least is {least_ms} ms")
            return default
        return ms

    def texts(self, name: str) -> tuple[str, ...]:
        """A list of texts; a single text is a list of one."""
        value = self.object.get(name)
        if value is None:
            return ()
        if isinstance(value, str):
            value = [value]
        if not isinstance(value, list):
            self.problem(name, f"{shown(value)} is not a list of texts")
            return ()
        for place, member in enumerate(value):
            if not isinstance(member, str) or not member:
                self.report.problem(f"{self.at(name)}[{place}]", f"{shown(member)} is not text; put it in quotes")
                return ()
        return tuple(value)

    def expression(self, name: str) -> Expression | None:
        value = self.object.get(name)
        return None if value is None else self.report.expression(value, self.at(name))

    def template(self, name: str) -> Template | None:
        value = self.object.get(name)
        return None if value is None else self.report.template(value, self.at(name))

    def templates(self, name: str) -> Mapping[str, Template]:
        """An object of names and values that may hold `${{ }}`."""
        value = self.object.get(name)
        if value is None or value == {}:
            return EMPTY
        if not isinstance(value, dict):
            self.problem(name, f"{shown(value)} is not an object of names and values")
            return EMPTY
        found = {}
        for key, member in value.items():
            if not isinstance(key, str) or not key or len(key) > 1_000:
                self.problem(name, f"{shown(key)} is not a name")
                continue
            template = self.report.template(member, member_path(self.at(name), key))
            if template is not None:
                found[key] = template
        return found

    def identifier(self, name: str, what: str, pattern: re.Pattern[str] = ID) -> str | None:
        value = self.object.get(name)
        if value is None:
            return None
        if isinstance(value, str) and pattern.fullmatch(value):
            return value
        rule = "a-z, 0-9 and '-'" if pattern is QUEUE else "letters, digits, '_', '-' and '.'"
        self.problem(name, f"{shown(value)} is not the name of a {what}: {rule}, at most 100 characters")
        return None


def check_roots(report: Report, path: str, references: References, allowed: frozenset[str], where: str) -> None:
    """A problem for each root that does not exist in this place."""
    for root in sorted(references.roots - allowed):
        report.problem(path, f"`{root}` does not exist {where}; there are {', '.join(sorted(allowed))}")
