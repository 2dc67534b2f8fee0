"""From JSON to what a function's annotations ask for.

Why: a task that declares `order: Order` or `since: datetime` should get that, in every worker and in `simulate`, and a
value that does not fit should fail with the path to the part that does not.

How: an annotation is compiled once to a small function and cached. Scalars are checked, containers element by element,
dataclasses by their fields, unions by the first member that fits. What the annotation does not speak about passes as it
is.

It must never call anything that a value names: only the annotation says which class is made.
"""

from __future__ import annotations

import collections.abc as abc
import dataclasses
import inspect
import sys
import types
import typing
from collections.abc import Callable
from datetime import date, datetime, time
from decimal import Decimal, InvalidOperation
from enum import Enum
from typing import Any
from uuid import UUID

from indegree.events.json_values import member_path
from indegree.events.spelling import did_you_mean
from indegree.sdk.errors import ConversionError

Decoder = Callable[[Any, str], Any]
"""Takes a JSON value and its path, gives the Python value or raises ConversionError."""

_CACHE: dict[Any, Decoder] = {}
_MAX_CACHED = 10_000
"""Annotations made anew on each call (inside functions) must not fill the memory."""


def decode_argument(value: Any, annotation: object) -> Any:
    """The argument for a parameter annotated with `annotation` (a resolved one, not a text).

    Raises ConversionError with the path (`$` is the argument itself). An empty annotation takes everything.
    """
    return _decoder(annotation)(value, "$")


def _decoder(annotation: Any) -> Decoder:
    try:
        found = _CACHE.get(annotation)
    except TypeError:  # not hashable
        return _compile(annotation)
    if found is None:
        found = _compile(annotation)
        if len(_CACHE) < _MAX_CACHED:
            _CACHE[annotation] = found
    return found


def _as_it_is(value: Any, path: str) -> Any:
    return value


def _wrong(value: Any, path: str, expected: str) -> ConversionError:
    if value is None:
        text = "null"
    else:
        text = f"{value!r:.60}" if isinstance(value, str | int | float) else f"a {type(value).__name__}"
    return ConversionError(path, f"{text} is not {expected}")


def _compile(annotation: Any) -> Decoder:
    if isinstance(annotation, typing.NewType):
        return _decoder(annotation.__supertype__)
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:  # first, since what is in it need not be hashable
        return _decoder(arguments[0])
    if annotation in _SIMPLE:
        return _SIMPLE[annotation]
    if origin is typing.Union or origin is types.UnionType:
        return _union(annotation, arguments)
    if origin is typing.Literal:
        return _literal(arguments)
    if origin is not None:
        return _container(origin, arguments)
    if not isinstance(annotation, type):
        return _as_it_is  # a TypeVar, a text that could not be resolved: nothing to go by
    return _of_class(annotation)


def _of_class(annotation: type) -> Decoder:
    if issubclass(annotation, Enum):
        return _enum(annotation)
    if dataclasses.is_dataclass(annotation):
        return _dataclass(annotation)
    if typing.is_typeddict(annotation):
        return _typed_dict(annotation)
    if issubclass(annotation, tuple) and hasattr(annotation, "_fields"):
        return _named_tuple(annotation)
    if annotation in _CONTAINERS:
        return _container(annotation, ())
    pydantic = sys.modules.get("pydantic")
    if pydantic is not None and issubclass(annotation, pydantic.BaseModel):
        return _pydantic(annotation)

    def instance(value: Any, path: str) -> Any:
        try:
            fits = isinstance(value, annotation)
        except TypeError:  # a Protocol that cannot be checked
            return value
        if not fits:
            raise ConversionError(
                path, f"a {annotation.__qualname__} cannot be made from JSON; use a dataclass, or build it in the task"
            )
        return value

    return instance


def _text(value: Any, path: str) -> Any:
    if not isinstance(value, str):
        raise _wrong(value, path, "text (str)")
    return value


def _integer(value: Any, path: str) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise _wrong(value, path, "a whole number (int)")
    return value


def _number(value: Any, path: str) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _wrong(value, path, "a number (float)")
    try:
        return float(value)
    except OverflowError:
        raise _wrong(value, path, "in the range of float") from None


def _boolean(value: Any, path: str) -> Any:
    if not isinstance(value, bool):
        raise _wrong(value, path, "true or false (bool)")
    return value


def _null(value: Any, path: str) -> Any:
    if value is not None:
        raise _wrong(value, path, "null (None)")
    return None


def _datetime(value: Any, path: str) -> Any:
    try:
        moment = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        raise _wrong(value, path, "a datetime in ISO 8601") from None
    if moment.utcoffset() is None:
        raise _wrong(value, path, "a datetime with a time zone (2026-11-25T10:00:00Z)")
    return moment


def _from_text(make: Callable[[str], Any], expected: str) -> Decoder:
    def decode(value: Any, path: str) -> Any:
        try:
            return make(_text(value, path))
        except (ValueError, ArithmeticError):
            raise _wrong(value, path, expected) from None

    return decode


def _decimal(value: Any, path: str) -> Any:
    if isinstance(value, str) or (isinstance(value, int | float) and not isinstance(value, bool)):
        try:
            number = Decimal(str(value))
        except InvalidOperation:
            raise _wrong(value, path, "a decimal number") from None
        if number.is_finite():
            return number
    raise _wrong(value, path, "a decimal number")


_SIMPLE: dict[Any, Decoder] = {
    Any: _as_it_is,
    object: _as_it_is,
    inspect.Parameter.empty: _as_it_is,
    None: _null,
    type(None): _null,
    str: _text,
    int: _integer,
    float: _number,
    bool: _boolean,
    datetime: _datetime,
    date: _from_text(date.fromisoformat, "a date in ISO 8601"),
    time: _from_text(time.fromisoformat, "a time in ISO 8601"),
    UUID: _from_text(UUID, "a UUID"),
    Decimal: _decimal,
}


def _union(annotation: Any, members: tuple[Any, ...]) -> Decoder:
    decoders = [(member, _decoder(member)) for member in members]

    def decode(value: Any, path: str) -> Any:
        for member, _ in decoders:  # an exact scalar first, so that int | str keeps 1 and "1" apart
            if member is type(value) and member in (str, int, float, bool, type(None)):
                return value
        deepest: ConversionError | None = None
        for _, decoder in decoders:
            try:
                return decoder(value, path)
            except ConversionError as error:
                if deepest is None or len(error.path) > len(deepest.path):
                    deepest = error
        if deepest is not None and deepest.path != path:
            raise deepest
        raise _wrong(value, path, f"one of {annotation}".replace("typing.", ""))

    return decode


def _literal(choices: tuple[Any, ...]) -> Decoder:
    def decode(value: Any, path: str) -> Any:
        for choice in choices:
            if isinstance(choice, Enum):
                if value == choice.value:
                    return choice
            elif type(choice) is type(value) and choice == value:
                return value
        raise _wrong(value, path, f"one of {', '.join(map(repr, choices))}")

    return decode


_LISTS = (list, abc.Sequence, abc.MutableSequence, abc.Iterable, abc.Collection)
_SETS = (set, frozenset, abc.Set, abc.MutableSet)
_OBJECTS = (dict, abc.Mapping, abc.MutableMapping)
_CONTAINERS = frozenset({*_LISTS, *_SETS, *_OBJECTS, tuple})


def _container(origin: Any, arguments: tuple[Any, ...]) -> Decoder:
    if origin in _LISTS:
        return _list_of(list, arguments)
    if origin in _SETS:
        return _list_of(frozenset if origin is frozenset else set, arguments)
    if origin is tuple:
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            return _list_of(tuple, arguments[:1])
        return _list_of(tuple, ()) if not arguments else _tuple_of(arguments)
    if origin in _OBJECTS:
        return _object_of(arguments)
    if isinstance(origin, type) and dataclasses.is_dataclass(origin):
        return _dataclass(origin)
    return _as_it_is


def _list_of(make: Callable[[list[Any]], Any], arguments: tuple[Any, ...]) -> Decoder:
    element = _decoder(arguments[0]) if arguments else _as_it_is

    def decode(value: Any, path: str) -> Any:
        if not isinstance(value, list):
            raise _wrong(value, path, "a list")
        if element is _as_it_is:
            members = value
        else:
            members = [element(member, f"{path}[{index}]") for index, member in enumerate(value)]
        if make is list:
            return members
        try:
            return make(members)
        except TypeError as error:  # a set of lists
            raise ConversionError(path, f"its elements cannot be in a set: {error}") from None

    return decode


def _tuple_of(arguments: tuple[Any, ...]) -> Decoder:
    decoders = [_decoder(argument) for argument in arguments]

    def decode(value: Any, path: str) -> Any:
        if not isinstance(value, list) or len(value) != len(decoders):
            raise _wrong(value, path, f"a list of {len(decoders)}")
        return tuple(
            decoder(member, f"{path}[{index}]")
            for index, (decoder, member) in enumerate(zip(decoders, value, strict=True))
        )

    return decode


def _object_of(arguments: tuple[Any, ...]) -> Decoder:
    key = _decoder(arguments[0]) if len(arguments) == 2 else _as_it_is
    member = _decoder(arguments[1]) if len(arguments) == 2 else _as_it_is

    def decode(value: Any, path: str) -> Any:
        if not isinstance(value, dict):
            raise _wrong(value, path, "an object")
        if member is _as_it_is and key in (_as_it_is, _text):
            return value
        return {key(name, path): member(inner, member_path(path, name)) for name, inner in value.items()}

    return decode


def _hints(kind: type) -> dict[str, Any]:
    try:
        return typing.get_type_hints(kind, include_extras=True)
    except Exception:  # noqa: BLE001 - evaluating annotations runs users' code; unresolved ones pass values as they are
        return {}


def _enum(kind: type[Enum]) -> Decoder:
    def decode(value: Any, path: str) -> Any:
        for member in kind:
            if member.value == value and isinstance(member.value, bool) == isinstance(value, bool):
                return member
        raise _wrong(value, path, f"a {kind.__name__} ({', '.join(repr(member.value) for member in list(kind)[:12])})")

    return decode


def _dataclass(kind: Any) -> Decoder:
    fields = {field.name: field for field in dataclasses.fields(kind) if field.init}
    decoders: dict[str, Decoder] = {}  # filled on first use, since a dataclass may contain itself

    def decode(value: Any, path: str) -> Any:
        if not isinstance(value, dict):
            raise _wrong(value, path, f"an object (a {kind.__name__})")
        if not decoders:
            hints = _hints(kind)
            decoders.update({name: _decoder(hints.get(name, Any)) for name in fields})
        made = {}
        for name, member in value.items():
            if name in fields:
                made[name] = decoders[name](member, member_path(path, name))
            elif name not in derived:
                raise ConversionError(
                    member_path(path, name), f"{kind.__name__} has no field {name!r}{did_you_mean(name, fields)}"
                )
        for name, field in fields.items():
            if name not in made and field.default is _NONE and field.default_factory is _NONE:
                raise ConversionError(path, f"the field {name!r} of {kind.__name__} is missing")
        try:
            return kind(**made)
        except (ValueError, TypeError) as error:  # __post_init__ has its own rules
            raise ConversionError(path, f"{kind.__name__}: {error}") from error

    derived = {field.name for field in dataclasses.fields(kind) if not field.init}
    return decode


_NONE = dataclasses.MISSING


def _typed_dict(kind: Any) -> Decoder:
    decoders: dict[str, Decoder] = {}
    required: dict[str, bool] = {}

    def decode(value: Any, path: str) -> Any:
        if not isinstance(value, dict):
            raise _wrong(value, path, f"an object (a {kind.__name__})")
        if not decoders:
            for name, hint in _hints(kind).items():
                # Not by __required_keys__ alone: it does not see NotRequired in annotations that are texts.
                needed = typing.get_origin(hint) is not typing.NotRequired and name in kind.__required_keys__
                required[name] = needed or typing.get_origin(hint) is typing.Required
                decoders[name] = _decoder(_unwrapped(hint))
        for name, needed in required.items():
            if needed and name not in value:
                raise ConversionError(path, f"the key {name!r} of {kind.__name__} is missing")
        return {name: decoders.get(name, _as_it_is)(member, member_path(path, name)) for name, member in value.items()}

    return decode


def _unwrapped(hint: Any) -> Any:
    if typing.get_origin(hint) in (typing.Required, typing.NotRequired):
        return typing.get_args(hint)[0]
    return hint


def _named_tuple(kind: Any) -> Decoder:
    hints = _hints(kind)
    decoders = [_decoder(hints.get(name, Any)) for name in kind._fields]

    def decode(value: Any, path: str) -> Any:
        if not isinstance(value, list) or len(value) != len(decoders):
            raise _wrong(value, path, f"a list of {len(decoders)} (a {kind.__name__})")
        return kind(*(d(m, f"{path}[{i}]") for i, (d, m) in enumerate(zip(decoders, value, strict=True))))

    return decode


def _pydantic(kind: Any) -> Decoder:
    def decode(value: Any, path: str) -> Any:
        try:
            return kind.model_validate(value)
        except ValueError as error:
            raise ConversionError(path, f"{kind.__name__}: {error}") from error

    return decode
