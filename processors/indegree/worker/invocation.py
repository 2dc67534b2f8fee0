"""Calls a function for an attempt and makes a `Result` of whatever happens. Never raises.

The same code runs in a thread, in the coroutine loop, and (through `child`) in a process of its own.
"""

from __future__ import annotations

import contextvars
import json
from typing import Any

from indegree.events import json_values
from indegree.v1.task_pb2 import Result
from indegree.worker import outcome, spans
from indegree.worker.attempt import NOTHING_FETCHED, Attempt
from indegree.worker.bounds import Bounds
from indegree.worker.conversion import ArgumentError, encode
from indegree.worker.current import CURRENT

_NO_ARGUMENTS: dict[str, Any] = {}


def arguments(attempt: Attempt) -> dict[str, Any]:
    """The record's arguments, those by reference included. Raises ArgumentError. To be called once: what was fetched is
    not kept as text while the code runs."""
    data, fetched = attempt.task.args, attempt.fetched
    found = _NO_ARGUMENTS if len(data) <= 2 else _parsed(data, "the arguments in the task record are")
    if not isinstance(found, dict):
        raise ArgumentError(f"the arguments in the task record are a {type(found).__name__}, not a JSON object")
    if not fetched:
        return found
    attempt.fetched = NOTHING_FETCHED
    return {
        **found,
        **{name: _parsed(text, f"argument {name!r}, held by reference, is") for name, text in fetched.items()},
    }


def _parsed(data: bytes, what: str) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ArgumentError(f"{what} not JSON: {error}") from None


def _output(attempt: Attempt, value: Any, bounds: Bounds) -> bytes:
    """The JSON text of what the function returned, with the task's secrets masked. Raises OutputError."""
    data = encode(value, bounds.payload_bytes)
    if data and attempt.mask:
        data = json_values.write(attempt.mask.within(json_values.loads(data, max_depth=None)))
    return data


def perform(attempt: Attempt, worker: str, bounds: Bounds) -> Result:
    """Runs a plain function in this thread, in a context of its own."""
    return contextvars.Context().run(_perform, attempt, worker, bounds)


def _perform(attempt: Attempt, worker: str, bounds: Bounds) -> Result:
    CURRENT.set(attempt)
    attempt.begin()
    spans.begin(attempt)
    try:
        assert attempt.plan is not None
        positional, named = attempt.plan.bind(arguments(attempt), attempt)
        value = attempt.plan.function(*positional, **named)
        result = outcome.succeeded(attempt, worker, _output(attempt, value, bounds))
    except BaseException as error:  # noqa: BLE001 - user code raises anything, SystemExit included; it becomes data
        result = outcome.raised(attempt, worker, error, bounds)
    spans.end(attempt, result)
    return result


async def perform_async(attempt: Attempt, worker: str, bounds: Bounds) -> Result:
    """Runs a coroutine function. The caller gives the task a context of its own."""
    CURRENT.set(attempt)
    attempt.begin()
    spans.begin(attempt)
    try:
        assert attempt.plan is not None
        positional, named = attempt.plan.bind(arguments(attempt), attempt)
        value = await attempt.plan.function(*positional, **named)
        result = outcome.succeeded(attempt, worker, _output(attempt, value, bounds))
    except BaseException as error:  # noqa: BLE001 - as above; a cancellation of ours is known by the verdict
        result = outcome.raised(attempt, worker, error, bounds)
    spans.end(attempt, result)
    return result
