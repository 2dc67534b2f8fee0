"""Bytes to records and back: the one encoder. A record that begins with `{` is JSON, else protobuf.

The JSON form has protobuf's names in snake_case; a field that holds a JSON value is that value itself; integers are
numbers; unknown fields are refused with "did you mean". What cannot be read raises Undecodable, whose message goes to
the dead-letter topic as the reason, so it names the place and the rule.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from difflib import get_close_matches
from functools import lru_cache
from json.encoder import encode_basestring as _quoted
from typing import Any, TypeVar

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, EncodeError, Message

from indegree.events.moments import MomentError, moment_ms
from indegree.events.trace import to_headers
from indegree.v1.progress_pb2 import Progress
from indegree.v1.task_pb2 import Result, Task
from indegree.v1.trigger_pb2 import Command, Trigger
from indegree.v1.value_pb2 import Reference, Value

M = TypeVar("M", bound=Message)

# bytes fields that hold JSON text, by message and field: in the JSON form they are the value itself.
_JSON_FIELDS = {("Start", "params"), ("Signal", "payload"), ("MarkSuccess", "output"), ("Task", "args")}
# Moments that people write: in the JSON form also as RFC 3339 text, under a name without `_ms`.
_MOMENTS = {("Start", "not_before"), ("Backfill", "start"), ("Backfill", "end")}
# What partitions tell each other: no part of the JSON form, which is for everybody else.
_INTERNAL = {("Start", "parent"), ("Command", "message")}
_COMMANDS = ", ".join(
    field.name
    for field in Command.DESCRIPTOR.oneofs_by_name["command"].fields
    if ("Command", field.name) not in _INTERNAL
)
_VALUE = Value.DESCRIPTOR.full_name
_REFERENCE_FIELDS = frozenset(Reference.DESCRIPTOR.fields_by_name)
_MAX_DEPTH = 100  # of JSON that we read; deeper text is refused before Python's own recursion limit is near


class Undecodable(ValueError):
    """A record that is neither our protobuf nor our JSON; the message is the reason on dead-letter."""


def loads(data: bytes | str) -> Any:
    """JSON text to a value: unique keys, no NaN or Infinity, bounded depth. Raises Undecodable."""
    try:
        return json.loads(data, object_pairs_hook=_unique, parse_constant=_no_constant)
    except Undecodable:
        raise
    except RecursionError:
        raise Undecodable("JSON is nested too deeply") from None
    except UnicodeDecodeError as error:
        raise Undecodable(f"JSON is not UTF-8: {error}") from None
    except ValueError as error:
        raise Undecodable(f"not JSON: {error}") from None


def dumps(value: Any) -> bytes:
    """A JSON value to compact UTF-8 text. Lone surrogates are escaped, so that it never fails on text."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        return json.dumps(value, separators=(",", ":"), allow_nan=False).encode("ascii")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    out = dict(pairs)
    if len(out) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise Undecodable(f"the key {key!r} stands twice in one JSON object")
            seen.add(key)
    return out


def _no_constant(name: str) -> Any:
    raise Undecodable(f"{name} is not JSON")


def is_json(data: bytes) -> bool:
    """True if a record is in the JSON form. White space in front is not allowed: 0x0A is also protobuf's field 1."""
    return data[:1] == b"{"


def decode(kind: type[M], data: bytes) -> M:
    """A record of this kind, from protobuf or JSON. Raises Undecodable."""
    if is_json(data):
        return from_json(kind, loads(data))
    try:
        return kind.FromString(data)
    except DecodeError:
        raise Undecodable(
            f"not a {kind.DESCRIPTOR.name} record: neither protobuf nor JSON (it begins with {data[:8].hex(' ')})"
        ) from None


def decode_trigger(data: bytes) -> Trigger:
    """A record of the triggers topic; it must hold a start. Raises Undecodable."""
    trigger = decode(Trigger, data)
    if not trigger.HasField("start"):
        raise Undecodable('a trigger must hold a start: {"start": {"workflow": "NAME", "params": {...}}}')
    return trigger


def decode_command(data: bytes) -> Command:
    """A record of the commands topic; it must hold exactly one command. Raises Undecodable."""
    command = decode(Command, data)
    if command.WhichOneof("command") is None:
        raise Undecodable(f'a command must hold one of {_COMMANDS}: {{"cancel": {{"run_id": "..."}}}}')
    return command


def decode_result(data: bytes) -> Result:
    """A record of the results topic. Raises Undecodable."""
    result = decode(Result, data)
    if not result.kind or not result.run_id or not result.attempt:
        raise Undecodable("a result must hold kind, run_id and attempt")
    return result


def decode_task(data: bytes) -> Task:
    """A record of a tasks topic. Raises Undecodable."""
    return decode(Task, data)


# -- generic JSON form ----------------------------------------------------------------------------------------------


def from_json(kind: type[M], value: Any) -> M:
    """A message from its JSON form (decoded). Raises Undecodable with the path to the culprit."""
    out = kind()
    try:
        _fill(out, value, kind.DESCRIPTOR.name, 0)
    except (ValueError, TypeError, EncodeError) as error:
        if isinstance(error, Undecodable):
            raise
        raise Undecodable(f"{kind.DESCRIPTOR.name}: {error}") from None
    return out


def _fill(message: Message, value: Any, path: str, depth: int) -> None:
    if not isinstance(value, Mapping):
        raise Undecodable(f"{path} must be a JSON object, not {_kind_of(value)}")
    if depth > _MAX_DEPTH:
        raise Undecodable(f"{path} is nested deeper than {_MAX_DEPTH}")
    owner = message.DESCRIPTOR.name
    names = message.DESCRIPTOR.fields_by_name
    seen_oneof: dict[str, str] = {}
    for name, item in value.items():
        field = names.get(name)
        if field is None and (owner, name) in _MOMENTS:
            _set_moment(message, name, item, value, path)
            continue
        if field is None or (owner, name) in _INTERNAL:
            known = _known(owner, names)
            near = get_close_matches(name, known, 1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; known: {', '.join(known)}"
            raise Undecodable(f"{path}: unknown field {name!r}{hint}")
        if item is None and not _is_value(field):
            continue
        if field.containing_oneof is not None and not field.containing_oneof.name.startswith("_"):
            other = seen_oneof.setdefault(field.containing_oneof.name, name)
            if other != name:
                raise Undecodable(f"{path}: {other!r} and {name!r} cannot stand together")
        _set(message, field, item, f"{path}.{name}", depth)


def _known(owner: str, names: Iterable[str]) -> list[str]:
    """Those fields of a message that the JSON form has."""
    return [name for name in names if (owner, name) not in _INTERNAL] + [n for kind, n in _MOMENTS if kind == owner]


def _set_moment(message: Message, name: str, item: Any, value: Mapping[str, Any], path: str) -> None:
    """A moment as text, in its field of milliseconds."""
    if item is None:
        return
    if f"{name}_ms" in value:
        raise Undecodable(f"{path}: {name!r} and '{name}_ms' cannot stand together")
    try:
        setattr(message, f"{name}_ms", moment_ms(item))
    except MomentError as error:
        raise Undecodable(f"{path}.{name}: {error}") from None


def _is_value(field: Any) -> bool:
    return bool(field.message_type is not None and field.message_type.full_name == _VALUE)


def _set(message: Message, field: Any, item: Any, path: str, depth: int) -> None:
    if _is_map(field):
        target = getattr(message, field.name)
        value_field = field.message_type.fields_by_name["value"]
        if not isinstance(item, Mapping):
            raise Undecodable(f"{path} must be a JSON object, not {_kind_of(item)}")
        for key, inner in item.items():
            if value_field.message_type is not None:
                _fill(target[key], inner, f"{path}.{key}", depth + 1)
            else:
                target[key] = _scalar(value_field, inner, f"{path}.{key}")
    elif field.is_repeated:
        if not isinstance(item, list):
            raise Undecodable(f"{path} must be a JSON array, not {_kind_of(item)}")
        target = getattr(message, field.name)
        for i, inner in enumerate(item):
            if field.message_type is not None:
                _fill(target.add(), inner, f"{path}[{i}]", depth + 1)
            else:
                target.append(_scalar(field, inner, f"{path}[{i}]"))
    elif _is_value(field):
        value = getattr(message, field.name)
        if _is_reference(item):
            _fill(value.reference, item["$reference"], f"{path}.$reference", depth + 1)
        else:
            value.json = dumps(item)
    elif field.message_type is not None:
        getattr(message, field.name).SetInParent()
        _fill(getattr(message, field.name), item, path, depth + 1)
    elif (message.DESCRIPTOR.name, field.name) in _JSON_FIELDS:
        setattr(message, field.name, dumps(item))
    else:
        value = _scalar(field, item, path)
        try:
            setattr(message, field.name, value)
        except ValueError:
            raise Undecodable(f"{path} = {value} is out of range") from None


def _is_reference(item: Any) -> bool:
    """Whether a JSON value is what `value_to_plain` makes of a reference. No more and no less: all else is a value."""
    if not isinstance(item, dict) or item.keys() != {"$reference"}:
        return False
    inner = item["$reference"]
    return isinstance(inner, dict) and {"size", "sha256", "parts"} <= inner.keys() <= _REFERENCE_FIELDS


def _is_map(field: Any) -> bool:
    return bool(field.message_type is not None and field.message_type.GetOptions().map_entry)


_TEXT, _BYTES, _BOOL, _ENUM = (
    FieldDescriptor.TYPE_STRING,
    FieldDescriptor.TYPE_BYTES,
    FieldDescriptor.TYPE_BOOL,
    FieldDescriptor.TYPE_ENUM,
)
_FLOATS = (FieldDescriptor.TYPE_DOUBLE, FieldDescriptor.TYPE_FLOAT)


def _scalar(field: Any, item: Any, path: str) -> Any:
    kind = field.type
    if kind == _TEXT:
        if isinstance(item, str):
            try:
                item.encode("utf-8")
            except UnicodeEncodeError:
                raise Undecodable(f"{path} holds a lone surrogate, which is not text") from None
            return item
        raise Undecodable(f"{path} must be text, not {_kind_of(item)}")
    if kind == _BYTES:
        try:
            return base64.b64decode(item, validate=True)
        except (TypeError, binascii.Error, ValueError):
            raise Undecodable(f"{path} must be base64 text") from None
    if kind == _BOOL:
        if isinstance(item, bool):
            return item
        raise Undecodable(f"{path} must be true or false, not {_kind_of(item)}")
    if kind == _ENUM:
        if isinstance(item, str) and item in field.enum_type.values_by_name:
            return field.enum_type.values_by_name[item].number
        raise Undecodable(f"{path} = {item!r} must be one of {', '.join(field.enum_type.values_by_name)}")
    if isinstance(item, bool) or not isinstance(item, (int, float)):
        raise Undecodable(f"{path} must be a number, not {_kind_of(item)}")
    if kind in _FLOATS:
        return float(item)
    if isinstance(item, float) and not item.is_integer():
        raise Undecodable(f"{path} = {item} must be a whole number")
    return int(item)


def _kind_of(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case str():
            return "text"
        case int() | float():
            return "a number"
        case list():
            return "an array"
        case _:
            return "an object"


def to_json(message: Message) -> dict[str, Any]:
    """The JSON form of any message of ours, as a dict. Fields that are not set are left out."""
    out: dict[str, Any] = {}
    owner = message.DESCRIPTOR.name
    for field, value in message.ListFields():
        out[field.name] = _plain(owner, field, value)
    return out


def _plain(owner: str, field: Any, value: Any) -> Any:
    if _is_map(field):
        inner = field.message_type.fields_by_name["value"]
        return {str(key): _one(owner, inner, value[key]) for key in value}
    if field.is_repeated:
        return [_one(owner, field, item) for item in value]
    return _one(owner, field, value)


def _one(owner: str, field: Any, value: Any) -> Any:
    if _is_value(field):
        return value_to_plain(value)
    if field.message_type is not None:
        return to_json(value)
    if field.type == _BYTES:
        if (owner, field.name) in _JSON_FIELDS:
            return json.loads(value) if value else None
        return base64.b64encode(value).decode()
    if field.type == _ENUM:
        known = field.enum_type.values_by_number.get(value)
        return known.name if known is not None else value
    return value


def value_to_plain(value: Value) -> Any:
    """The JSON value of a Value; a reference is shown as an object that says where it lies."""
    if value.HasField("reference"):
        return {"$reference": to_json(value.reference)}
    return json.loads(value.json) if value.json else None


# -- progress -------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=16)
def rfc3339(time_ms: int) -> str:
    """Milliseconds since the epoch as UTC text."""
    moment = datetime.fromtimestamp(time_ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{moment}.{time_ms % 1000:03d}Z"


def progress_json(progress: Progress) -> bytes:
    """The JSON form of a progress record: that of `to_json`, with `time` as RFC 3339 text in place of `time_ms`."""
    parts = []
    for field, value in progress.ListFields():
        name = field.name
        if name in _PROGRESS_TEXTS:
            parts.append(f'"{name}":{_quoted(value)}')
        elif name in ("output", "params"):
            parts.append(f'"{name}":{value_text(value)}')
        elif field.message_type is not None:
            parts.append(f'"{name}":{dumps(to_json(value)).decode()}')
        elif name != "time_ms":
            parts.append(f'"{name}":{value}')
    parts.append(f'"time":"{rfc3339(progress.time_ms)}"')
    return f"{{{','.join(parts)}}}".encode()


_PROGRESS_TEXTS = frozenset(field.name for field in Progress.DESCRIPTOR.fields if field.type == _TEXT)


def value_text(value: Value) -> str:
    """The text of a value in the JSON form, on one line."""
    if value.HasField("reference"):
        return dumps(value_to_plain(value)).decode()
    text = value.json.decode()
    return text if text and "\n" not in text else dumps(value_to_plain(value)).decode()


def decode_progress(data: bytes) -> Progress:
    """A progress record in either form. Raises Undecodable."""
    if data[:1] != b"{":
        return decode(Progress, data)
    value = loads(data)
    time = value.pop("time", None)
    progress = from_json(Progress, value)
    if isinstance(time, str):
        try:
            moment = datetime.fromisoformat(time)
        except ValueError:
            raise Undecodable(f"Progress.time = {time!r} must be RFC 3339 text") from None
        progress.time_ms = round(moment.timestamp() * 1000)
    return progress


def progress_headers(progress: Progress, cluster: str, json_form: bool) -> Sequence[tuple[str, bytes]]:
    """CloudEvents 1.0 headers in binary mode, and the run's trace context."""
    headers: list[tuple[str, bytes]] = [
        ("ce_specversion", b"1.0"),
        ("ce_id", progress.id.encode()),
        ("ce_type", f"indegree.{progress.type}".encode()),
        ("ce_source", f"/indegree/{cluster}".encode()),
        ("content-type", b"application/json" if json_form else b"application/protobuf"),
    ]
    if progress.run_id:
        headers.append(("ce_subject", progress.run_id.encode()))
    headers += to_headers(progress.traceparent)
    return headers


def dead_letter_headers(topic: str, partition: int, offset: int, reason: str) -> list[tuple[str, bytes]]:
    """What a dead letter carries beside its original key, bytes and headers."""
    return [
        ("indegree.topic", topic.encode()),
        ("indegree.partition", str(partition).encode()),
        ("indegree.offset", str(offset).encode()),
        ("indegree.reason", reason.encode("utf-8", "backslashreplace")),
    ]


def header(headers: Iterable[tuple[str, bytes]] | None, name: str) -> str:
    """The text of the first header of this name, empty where absent."""
    for key, value in headers or ():
        if key == name:
            return value.decode("utf-8", "replace") if value else ""
    return ""
