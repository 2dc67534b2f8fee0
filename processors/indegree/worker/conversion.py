"""Arguments from JSON to what a function's annotations ask for, and outputs back.

The rules (dataclasses, enums, aware datetimes, Decimal, UUID, Pydantic models) are the SDK's, in
`indegree.sdk.convert`: the same ones hold in `simulate`. This module is the worker's way to them: what needs no
conversion (the common case by far) does not call them, and their errors become failures that are not retried, with the
path to the culprit.
"""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable
from typing import Any, TypeAlias

from indegree.events.json_values import JsonValueError
from indegree.worker.failures import NotRetried

_AS_IT_IS: frozenset[Any] = frozenset({Any, object, inspect.Parameter.empty})
_PLAIN_INT = 2**63
_SCALARS: frozenset[Any] = frozenset({str, int, bool, float, type(None)})


Decode: TypeAlias = Callable[[Any], Any]


class ArgumentError(NotRetried):
    """An argument does not fit the function."""


class OutputError(NotRetried):
    """An output is not JSON, or is too large."""


def decoder(function: str, name: str, annotation: Any, default: Any = inspect.Parameter.empty) -> Decode | None:
    """What turns a JSON value into the argument `name`; None where the value is passed as it is."""
    if _hashable(annotation) and annotation in _AS_IT_IS:
        return None
    exact = annotation if _hashable(annotation) and annotation in _SCALARS else None

    def decode(value: Any) -> Any:
        if type(value) is exact or (value is None and default is None):
            return value
        from indegree.sdk.convert import decode_argument

        try:
            return decode_argument(value, annotation)
        except JsonValueError as error:
            raise ArgumentError(f"argument {name!r} of {function}: {error}") from None

    return decode


def _hashable(value: Any) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return True


def hints(function: Callable[..., Any]) -> dict[str, Any]:
    """The resolved annotations of a function. Those that cannot be resolved (a name that exists for type checkers only)
    are left out, the others are kept."""
    try:
        return typing.get_type_hints(function, include_extras=True)
    except Exception:  # noqa: BLE001 - evaluating annotations runs user code
        raw = getattr(function, "__annotations__", {})
        return {name: value for name, value in raw.items() if not isinstance(value, str)}


def encode(value: Any, limit: int) -> bytes:
    """The JSON text of an output, empty for null. Raises OutputError."""
    if value is None:
        return b""
    kind = type(value)
    if kind is bool:
        return b"true" if value else b"false"
    if kind is types.CoroutineType or inspect.isasyncgen(value) or inspect.isgenerator(value):
        if kind is types.CoroutineType:
            value.close()
        raise OutputError(
            f"$: the function returned a {kind.__name__}, which is not a value; "
            "declare it `async def`, or return a list"
        )
    try:
        if kind is int and -_PLAIN_INT < value < _PLAIN_INT:
            data = str(value).encode()
        else:
            from indegree.sdk.convert import encode_output

            data = encode_output(value)
    except JsonValueError as error:
        raise OutputError(f"the output is not JSON: {error}") from None
    except RecursionError:
        raise OutputError("the output is not JSON: nested too deep, or it contains itself") from None
    if len(data) > limit:
        raise OutputError(too_large(len(data), limit))
    return data


def too_large(size: int, limit: int, about: str = "") -> str:
    """What is said of a result over the limit."""
    return (
        f"result too large: {about}{size} bytes > limit {limit} (setting limits.payload_bytes); "
        "return a reference to where the data lies, such as a path or a key"
    )
