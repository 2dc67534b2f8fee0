"""Run parameters: their declaration, and binding what a start gives to what a workflow declares.

Why: a start is refused at once, with the parameter, the value and the rule in the message, at the client as well as in
the engine, by one implementation.

How: types are those of JSON. A parameter is required, or has a default, or is null when it is not given.

It must never convert a JSON value to another type. Only `from_text` reads text, for command lines.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from indegree.events import json_values
from indegree.events.spelling import did_you_mean, listing

PARAMETER_TYPES = ("string", "integer", "number", "boolean", "array", "object", "any")

MAX_PARAM_BYTES = 256 * 1024
"""All parameters of one start as JSON. They travel in each trigger and stand in the run's first event."""


class ParameterError(ValueError):
    """The parameters of a start do not fit. `problems` has one message for each parameter at fault."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(problems))


@dataclass(frozen=True, slots=True)
class Parameter:
    """A declared run parameter. `default` counts only where `required` is false; null then also means "not given"."""

    name: str
    type: str = "any"
    required: bool = False
    default: Any = None
    description: str | None = None

    def problem_of(self, value: Any) -> str | None:
        """Why `value` does not fit, or None."""
        if value is None and not self.required and self.default is None:
            return None
        if _FITS[self.type](value):
            return None
        return f"parameter {self.name!r} is {_shown(value)}, which is {_kind(value)}; its type is {self.type}"

    def from_text(self, text: str) -> Any:
        """The value of a text given on a command line: as it is for `string`, JSON for others, and for `any` JSON
        where it is JSON, else text. Raises ParameterError."""
        if self.type == "string":
            return text
        try:
            value = json_values.loads(text)
        except json_values.JsonValueError:
            if self.type == "any":
                return text
            raise ParameterError(
                [f"parameter {self.name!r} is {_shown(text)}, and its type is {self.type}, written as JSON"]
            ) from None
        problem = self.problem_of(value)
        if problem:
            raise ParameterError([problem])
        return value


def _is_integer(value: Any) -> bool:
    if isinstance(value, bool):
        return False
    return isinstance(value, int) or (isinstance(value, float) and value.is_integer())


_FITS: dict[str, Callable[[Any], bool]] = {
    "string": lambda value: isinstance(value, str),
    "integer": _is_integer,
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "boolean": lambda value: isinstance(value, bool),
    "array": lambda value: isinstance(value, list),
    "object": lambda value: isinstance(value, dict),
    "any": lambda value: True,
}


def bind(declared: Mapping[str, Parameter], given: Mapping[str, Any]) -> dict[str, Any]:
    """A value for each declared parameter, in the order of declaration.

    Raises ParameterError: unknown parameter, required and not given, wrong type, not JSON, too large in sum.
    """
    problems: list[str] = []
    if not isinstance(given, Mapping):
        raise ParameterError([f"parameters are an object of names and values, not {_kind(given)}"])
    for name in given:
        if name not in declared:
            known = f"; there are {listing(declared)}" if declared else "; this workflow has no parameters"
            problems.append(f"unknown parameter {name!r}{did_you_mean(str(name), declared) or known}")
    bound: dict[str, Any] = {}
    for name, parameter in declared.items():
        if name not in given:
            if parameter.required:
                problems.append(f"parameter {name!r} ({parameter.type}) is required and was not given")
            bound[name] = parameter.default
            continue
        value = given[name]
        try:
            json_values.check_value(value, path=name)
        except json_values.JsonValueError as error:
            problems.append(f"parameter {error}")
            continue
        problem = parameter.problem_of(value)
        if problem:
            problems.append(problem)
        elif parameter.type == "integer" and isinstance(value, float):
            value = int(value)  # JSON has one number type: 3.0 is an integer
        bound[name] = value
    if not problems:
        size = len(json_values.dumps(bound))
        if size > MAX_PARAM_BYTES:
            problems.append(
                f"the parameters are {size} bytes of JSON in sum, the limit is {MAX_PARAM_BYTES} (limits.value_bytes); "
                "hand over a reference (a path, a URL) instead of the data"
            )
    if problems:
        raise ParameterError(problems)
    return bound


def _kind(value: Any) -> str:
    for name in ("boolean", "integer", "number", "string", "array", "object"):
        if _FITS[name](value):
            return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"
    return "null" if value is None else f"a {type(value).__name__}"


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
