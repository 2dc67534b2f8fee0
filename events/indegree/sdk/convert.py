"""From Python values to JSON at the edge of a task: outputs, and arguments given while a workflow is built.

Why: tasks return dataclasses, dates and decimals; the log holds JSON. A value that cannot be carried must fail its task
at once, with the path to the culprit, rather than come back changed.

How: plain JSON passes through; dataclasses become objects, enums their values, aware datetimes ISO 8601 text, Decimal
and UUID text, Pydantic models what they say themselves. The way back, by annotation, is in convert_decode.

It must never guess: a naive datetime has no time zone, a set no order, NaN no JSON; each is refused with the way out.
"""

from __future__ import annotations

import dataclasses
import math
import sys
from collections.abc import Mapping
from datetime import date, datetime, time
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

from indegree.events import json_values
from indegree.events.json_values import MAX_DEPTH, JsonValue, member_path
from indegree.sdk.convert_decode import decode_argument
from indegree.sdk.errors import ConversionError

__all__ = ["ConversionError", "decode_argument", "encode_output", "to_json"]

_AS_IT_IS = frozenset({bool, type(None)})

Place = tuple[Any, ...]
"""Where a value stands: () for the whole, (parent place, key or index) below. Made into text only for an error."""


def encode_output(value: object, annotation: object = None) -> bytes:
    """The JSON text (UTF-8) of a task's output. Raises ConversionError with the path to what cannot be carried.

    The value alone decides; `annotation` (the function's return annotation) is only for the reader on the other side.
    """
    return json_values.write(to_json(value))


def to_json(value: object) -> JsonValue:
    """The JSON value of a Python value. Raises ConversionError."""
    converted: JsonValue = _convert(value, (), 1)
    return converted


def _convert(value: Any, place: Place, depth: int) -> Any:
    kind = type(value)
    if kind in _AS_IT_IS:
        return value
    if isinstance(value, Enum):
        return _convert(value.value, place, depth)
    if isinstance(value, str):
        if not value.isascii():
            _check(value, place)
        return value
    if isinstance(value, int):
        if value.bit_length() > 1_000:
            _check(value, place)
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            _check(value, place)
        return value
    if depth > MAX_DEPTH:
        raise ConversionError(
            path_text(place)[:200], f"nested deeper than {MAX_DEPTH} lists and objects (or the value contains itself)"
        )
    if isinstance(value, list | tuple):
        return [
            member if type(member) in _AS_IT_IS else _convert(member, (place, index), depth + 1)
            for index, member in enumerate(value)
        ]
    if isinstance(value, Mapping):
        return {_key(key, place): _convert(member, (place, key), depth + 1) for key, member in value.items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            field.name: _convert(getattr(value, field.name), (place, field.name), depth + 1)
            for field in dataclasses.fields(value)
        }
    return _convert_other(value, place, depth)


def _convert_other(value: Any, place: Place, depth: int) -> Any:
    if isinstance(value, datetime):
        if value.utcoffset() is None:
            raise ConversionError(
                path_text(place),
                f"the datetime {value.isoformat()} is naive (no time zone); use datetime.now(UTC) or tzinfo=",
            )
        return value.isoformat()
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, time):
        return value.isoformat()
    if isinstance(value, Decimal):
        if not value.is_finite():
            raise ConversionError(path_text(place), f"Decimal({str(value)!r}) is not a number that others can read")
        return str(value)
    if isinstance(value, UUID):
        return str(value)
    pydantic = sys.modules.get("pydantic")
    if pydantic is not None and isinstance(value, pydantic.BaseModel):
        return _convert(value.model_dump(mode="json"), place, depth)
    name = type(value).__name__
    hint = ""
    if isinstance(value, set | frozenset):
        hint = "; a set has no order, return sorted(...) instead"
    elif isinstance(value, bytes | bytearray | memoryview):
        hint = "; decode it to text, or return base64"
    elif hasattr(value, "tolist"):
        hint = "; return its .tolist()"
    elif isinstance(value, type):
        hint = "; return an object, not the class"
    article = "an" if name[:1].lower() in "aeiou" else "a"
    raise ConversionError(path_text(place), f"{article} {name} is not JSON{hint}")


def _key(key: object, place: Place) -> str:
    if isinstance(key, Enum):
        key = key.value
    if not isinstance(key, str):
        name = type(key).__name__
        raise ConversionError(
            path_text(place),
            f"the key {key!r:.80} is {'an' if name[:1].lower() in 'aeiou' else 'a'} {name}; "
            "JSON objects have only text as keys, so write str(key)",
        )
    if not key.isascii():
        _check(key, place)
    return key


def _check(value: object, place: Place) -> None:
    try:
        json_values.check_value(value, path=path_text(place))
    except json_values.JsonValueError as error:
        raise ConversionError(error.path, error.problem) from None


def path_text(place: Place) -> str:
    """`$.rows[3].price`."""
    steps = []
    while place:
        place, step = place
        steps.append(step)
    text = "$"
    for step in reversed(steps):
        if isinstance(step, Enum):
            step = step.value
        text = f"{text}[{step}]" if isinstance(step, int) else member_path(text, str(step))
        if len(text) > 1_000:
            return text[:1_000] + "..."
    return text
