"""What a workflow is told in Python besides its tasks: retries, defaults, triggers, parameters.

Why: the same words as in the file, as small objects that an editor completes and a type checker checks.

How: each object gives its part of the workflow file's object (`file_form`); validation happens once, in the definition.

It must never have a default of its own where the file has one: what is not given is left out.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from typing import Any, TypeAlias, TypedDict

from indegree.sdk.convert import to_json
from indegree.sdk.nodes import Node, Reference, plain

Duration: TypeAlias = str | int | float | timedelta
"""`"90s"`, `"1h30m"`, a number of seconds, or a timedelta."""


def duration_form(value: Duration) -> str | int | float:
    """A duration as it stands in a file."""
    return f"{value // timedelta(milliseconds=1)}ms" if isinstance(value, timedelta) else value


def error_name(error: str | type[BaseException]) -> str:
    """The name by which a retry policy knows an exception: builtins by their bare name, others as module.Name."""
    if isinstance(error, str):
        return error
    if error.__module__ == "builtins":
        return error.__qualname__
    return f"{error.__module__}.{error.__qualname__}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """How often and how fast a failed attempt is tried again. What is not given comes from the workflow's defaults.

    max_attempts counts all attempts, the first included. The delay after attempt n is delay * backoff**(n - 1), at most
    max_delay; jitter is the share of it (0..1) that may be taken off. errors and exit_codes narrow what is retried
    (without them everything but Permanent).
    """

    max_attempts: int | None = None
    delay: Duration | None = None
    backoff: float | None = None
    max_delay: Duration | None = None
    jitter: float | None = None
    errors: Sequence[str | type[BaseException]] | None = None
    exit_codes: Sequence[int] | None = None

    def file_form(self) -> dict[str, Any]:
        found = _given(self, durations=("delay", "max_delay"))
        if self.errors is not None:
            found["errors"] = [error_name(error) for error in self.errors]
        if self.exit_codes is not None:
            found["exit_codes"] = list(self.exit_codes)
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Defaults:
    """What tasks have where they say nothing themselves. timeout is that of one attempt."""

    timeout: Duration | None = None
    queue_timeout: Duration | None = None
    retry: Retry | None = None
    queue: str | None = None
    priority: int | None = None

    def file_form(self) -> dict[str, Any]:
        found = _given(self, durations=("timeout", "queue_timeout"))
        if self.retry is not None:
            found["retry"] = self.retry.file_form()
        return found


@dataclass(frozen=True, slots=True)
class Kafka:
    """Each record of `topic` that passes `filter` starts a run.

    filter, idempotency_key and the values of params are expressions over value, key, headers and trigger.
    begin: "latest" (the default: records from the trigger's activation on) or "earliest" (also what lies there).
    """

    topic: str
    filter: str | None = None
    idempotency_key: str | None = None
    params: Mapping[str, str] | None = None
    begin: str | None = None

    def file_form(self) -> dict[str, Any]:
        found = _given(self)
        if self.params is not None:
            found["params"] = dict(self.params)
        return {"kafka": found}


@dataclass(frozen=True, slots=True)
class AfterRun:
    """Each run of `workflow` that ends in `state`, or each of its tasks `task` that does, starts a run.

    filter, idempotency_key and the values of params are expressions; `value` is the progress record of that end.
    """

    workflow: str
    state: str | None = None
    task: str | None = None
    filter: str | None = None
    idempotency_key: str | None = None
    params: Mapping[str, str] | None = None

    def file_form(self) -> dict[str, Any]:
        found = _given(self)
        if self.params is not None:
            found["params"] = dict(self.params)
        return {"run": found}


@dataclass(frozen=True, slots=True)
class Cron:
    """A start at each time of a schedule of five fields. catch_up: none, last or all of the times missed."""

    schedule: str
    timezone: str = "UTC"
    catch_up: str = "none"

    def file_form(self) -> dict[str, Any]:
        return {"cron": _given(self)}


@dataclass(frozen=True, slots=True)
class Concurrency:
    """How many runs at a time, of the workflow or of one value of `key`. on_conflict: queue, skip or cancel_running."""

    limit: int = 1
    key: str | None = None
    on_conflict: str = "queue"

    def file_form(self) -> dict[str, Any]:
        return _given(self)


class TaskOptions(TypedDict, total=False):
    """The keyword arguments of `task`, `add`, `command` and their like: the task fields of the workflow file."""

    label: str
    depends_on: Any
    """Ids, nodes or registered functions: order without a value."""
    trigger_rule: str
    when: str | bool | Reference
    foreach: str | Reference | Node | Sequence[Any]
    foreach_with: str | Node
    concurrency: int
    queue: str
    priority: int
    timeout: Duration | None
    queue_timeout: Duration | None
    retry: Retry | Mapping[str, Any]
    allow_failure: bool | Mapping[str, Any]
    isolate: bool
    env: Mapping[str, Any]
    input: Any
    output: str
    secrets: Sequence[str]
    pool: str
    rate_limit: Mapping[str, Any]


EXPRESSION_OPTIONS = ("when", "foreach")
DURATION_OPTIONS = ("timeout", "queue_timeout")
VALUE_OPTIONS = ("env", "input", "params", "default")


def expression_form(value: Any) -> Any:
    """An expression as it stands in a file: a reference is its own text, not a template."""
    return value._text() if isinstance(value, Reference) else plain(value)


def options_form(options: Mapping[str, Any]) -> dict[str, Any]:
    """Task options as they stand in a file; `depends_on` and `foreach_with` are left to the workflow (it knows ids)."""
    found: dict[str, Any] = {}
    for name, value in options.items():
        if name in EXPRESSION_OPTIONS:
            found[name] = expression_form(value)
        elif name in DURATION_OPTIONS:
            found[name] = None if value is None else duration_form(value)
        elif isinstance(value, Retry):
            found[name] = value.file_form()
        elif name == "retry" and isinstance(value, Mapping):
            found[name] = Retry(**value).file_form()
        elif name in ("secrets",):
            found[name] = list(value)
        elif name == "rate_limit" and isinstance(value, Mapping):
            found[name] = {key: expression_form(m) if key == "key" else _duration(m) for key, m in value.items()}
        elif name in VALUE_OPTIONS:
            found[name] = to_json(plain(value))
        else:
            found[name] = plain(value)
    return found


def param_form(value: Any) -> dict[str, Any]:
    """A run parameter of `Workflow(params=...)`: a type is required, a value is the default."""
    if isinstance(value, type) or typing.get_origin(value) is not None:
        return _typed(value)
    found = to_json(value)
    declared: dict[str, Any] = {}
    for kind, name in _TYPES.items():
        if type(found) is kind:
            declared["type"] = name
    if found is not None:
        declared["default"] = found
    return declared


_TYPES: dict[Any, str] = {
    str: "string",
    bool: "boolean",
    int: "integer",
    float: "number",
    list: "array",
    dict: "object",
}


def type_name(kind: Any) -> Any:
    """The file's word for a Python type (`bool`: boolean); a text, or what is no type, as it is."""
    if isinstance(kind, type) or typing.get_origin(kind) is not None or kind is Any:
        return _typed(kind).get("type", "any")
    return kind


def _duration(value: Any) -> Any:
    return duration_form(value) if isinstance(value, timedelta) else value


def _typed(annotation: Any) -> dict[str, Any]:
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        return _typed(typing.get_args(annotation)[0])
    if origin is typing.Union or origin is types.UnionType:
        members = [member for member in typing.get_args(annotation) if member is not type(None)]
        optional = len(members) < len(typing.get_args(annotation))
        declared = _typed(members[0]) if len(members) == 1 else {"required": True}
        if optional:
            declared.pop("required", None)
        return declared
    kind = origin or annotation
    if kind is Any or kind is object:
        return {"required": True}
    name = _TYPES.get(kind)
    if name is None and isinstance(kind, type):
        if dataclasses.is_dataclass(kind) or typing.is_typeddict(kind) or issubclass(kind, Mapping):
            name = "object"
        elif issubclass(kind, Enum):
            kinds = {type(to_json(member)) for member in kind}
            name = _TYPES.get(kinds.pop()) if len(kinds) == 1 else None
        elif issubclass(kind, Sequence | set | frozenset) and not issubclass(kind, str):
            name = "array"
        elif kind.__module__ in ("datetime", "decimal", "uuid"):
            name = "string"
    return {"type": name, "required": True} if name is not None else {"required": True}


def _given(value: Any, durations: Sequence[str] = ()) -> dict[str, Any]:
    """The plain fields of an options object that are not None."""
    found = {}
    for field in dataclasses.fields(value):
        member = getattr(value, field.name)
        if member is not None and field.name not in ("errors", "exit_codes", "retry", "params"):
            found[field.name] = duration_form(member) if field.name in durations else member
    return found
