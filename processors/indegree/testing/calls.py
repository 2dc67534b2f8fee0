"""Calling a task's function for one attempt, as a worker does: arguments decoded, output encoded, errors as data.

Why: a test should find what a worker would find: an argument that does not fit its annotation, an output that is not
JSON.

How: the SDK's conversions, which workers use too. Functions of a workflow object are called as they are registered;
those of a definition from a file are imported by name.

It must never let an exception of the user's code out: it becomes the attempt's failure.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import logging
import traceback
import typing
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any

from indegree.events import json_values
from indegree.sdk.convert import decode_argument, encode_output
from indegree.sdk.errors import Permanent
from indegree.v1.task_pb2 import Result, Task
from indegree.v1.value_pb2 import Error, Value

_CAUSES = 10
_TEXT = 8_000
_LOG = logging.getLogger("indegree.task")


@dataclass(slots=True)
class SimulatedContext:
    """What a parameter named `context` gets in a simulation."""

    run_id: str
    task_id: str
    workflow: str
    version: str
    queue: str
    attempt: int
    generation: int
    states: Callable[[str], str]
    trigger: Mapping[str, Any] | None
    index: int | None = None
    cancelled: bool = False
    reported: list[tuple[float, str]] = field(default_factory=list)

    def state(self, task_id: str) -> str:
        """The state of a parent (a hook: of any task). Raises KeyError for others, of which a worker is not told."""
        return self.states(task_id)

    def progress(self, share: float, text: str = "") -> None:
        """Noted in `reported`."""
        self.reported.append((float(share), text))

    @property
    def logger(self) -> logging.Logger:
        """The logger `indegree.task`."""
        return _LOG


def imported(name: str) -> Callable[..., Any]:
    """The function `module:qualified.name`. Raises ImportError or AttributeError."""
    module, _, qualname = name.partition(":")
    found: Any = importlib.import_module(module)
    for part in qualname.split("."):
        found = getattr(found, part)
    if not callable(found):
        raise ImportError(f"{name} is not a function")
    return typing.cast(Callable[..., Any], found)


def call(function: Callable[..., Any], task: Task, context: SimulatedContext, now_ms: int) -> Result:
    """Runs one attempt and gives what its worker would report."""
    try:
        given = json_values.loads(task.args) if task.args else {}
        arguments = _decoded(function, given, context)
        value = function(**arguments)
        if inspect.iscoroutine(value):
            value = asyncio.run(typing.cast(Coroutine[Any, Any, Any], value))
        output = encode_output(value, _hints(function).get("return"))
    except json_values.JsonValueError as error:
        return failed(task, _error_of(error, permanent=True), now_ms)  # the same at each attempt
    except Exception as error:  # noqa: BLE001 - the user's code may raise anything
        return failed(task, error_of(error), now_ms)
    return succeeded(task, output, now_ms)


def _decoded(function: Callable[..., Any], given: dict[str, Any], context: SimulatedContext) -> dict[str, Any]:
    hints = _hints(function)
    parameters = inspect.signature(function).parameters
    arguments = {name: decode_argument(value, hints.get(name)) for name, value in given.items()}
    if "context" in parameters and "context" not in arguments:
        arguments["context"] = context
    return arguments


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    try:
        return typing.get_type_hints(function, include_extras=True)
    except Exception:  # noqa: BLE001 - an annotation may name what exists for type checkers only
        return {}


def succeeded(task: Task, output: bytes, now_ms: int) -> Result:
    """The result of an attempt that succeeded."""
    result = _result(task, Result.SUCCEEDED, now_ms)
    result.output.CopyFrom(Value(json=output))
    return result


def failed(task: Task, error: Error, now_ms: int, reason: str = "error") -> Result:
    """The result of an attempt that failed."""
    result = _result(task, Result.FAILED, now_ms)
    result.reason = reason
    result.error.CopyFrom(error)
    return result


def _result(task: Task, kind: Result.Kind, now_ms: int) -> Result:
    return Result(
        kind=kind,
        run_id=task.run_id,
        task=task.task,
        attempt=task.attempt,
        generation=task.generation,
        worker=task.worker,
        started_ms=now_ms,
        finished_ms=now_ms,
    )


def error_of(raised: BaseException) -> Error:
    """An exception as data, with its nearest causes."""
    error = _error_of(raised, permanent=isinstance(raised, Permanent))
    seen = {id(raised)}
    cause = raised.__cause__ or (None if raised.__suppress_context__ else raised.__context__)
    while cause is not None:
        if id(cause) in seen or len(error.causes) == _CAUSES:
            error.cut = True
            break
        seen.add(id(cause))
        error.causes.append(_error_of(cause, permanent=False))
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
    return error


def _error_of(raised: BaseException, *, permanent: bool) -> Error:
    kind = type(raised)
    try:
        message = str(raised)
    except Exception as error:  # noqa: BLE001 - __str__ is the user's code too
        message = f"({kind.__name__} has no text: {type(error).__name__})"
    frames = "".join(traceback.format_tb(raised.__traceback__, limit=-20))
    return Error(
        type=_qualified(kind),
        bases=[_qualified(base) for base in kind.__mro__[1:] if base is not object],
        message=_carriable(message)[:_TEXT],
        traceback=_carriable(frames)[-_TEXT:],
        permanent=permanent,
        cut=len(message) > _TEXT or len(frames) > _TEXT,
    )


def _qualified(kind: type) -> str:
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _carriable(text: str) -> str:
    """Text that protobuf can carry: lone surrogates are written as escapes."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
