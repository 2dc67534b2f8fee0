"""JSON as indegree means it: reading, checking, writing, and the canonical form that is hashed.

Why: a value passes through Python, Kafka and other people's workers, and must come back equal or be refused where it
was made. The standard library is too generous for that: it writes NaN (which is not JSON), turns the keys 1, True and
None into text, lets the last of two equal keys win and dies of nesting.

How: `check_value` walks a value without recursion and names the path to the first culprit (`$.rows[3].price`);
`dumps` checks, then writes UTF-8 with the C encoder; `loads` refuses what is not JSON; `canonical` is RFC 8785 (JSON
Canonicalization Scheme) with one deviation: integers keep all their digits, where the RFC has only IEEE doubles.

It must never change a value: integers above 2**53 keep their digits, text keeps its NULs.
"""

from __future__ import annotations

import json
import math
from json.encoder import encode_basestring as _quoted
from typing import Any, NoReturn, TypeAlias

JsonValue: TypeAlias = "bool | int | float | str | list[JsonValue] | dict[str, JsonValue] | None"

MAX_DEPTH = 100
"""Lists and objects inside each other. Protobuf readers stop at 100, and the C encoder's recursion ends near 1,000."""

_ANY_DEPTH = 1_000_000
_MAX_INT_DIGITS = 4_300
"""CPython's own limit on converting between int and text (sys.get_int_max_str_digits), so we stay below it."""


class JsonValueError(ValueError):
    """A value is not JSON. `path` says where inside the value (`$` is the value itself)."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"{path}: {problem}")
        self.path = path
        self.problem = problem


def member_path(path: str, key: str) -> str:
    """`path.key`, or `path["odd key"]` for a key that is not a plain name."""
    if key.isidentifier():
        return f"{path}.{key}" if path else key
    return f"{path}[{json.dumps(key[:80])}]"


def check_value(value: object, *, path: str = "$", max_depth: int = MAX_DEPTH) -> None:
    """Raise JsonValueError unless `value` is JSON: None, bool, int, finite float, text that UTF-8 can carry, lists and
    objects with text keys, at most `max_depth` inside each other."""
    stack: list[tuple[object, str, int]] = [(value, path, 1)]
    while stack:
        current, where, depth = stack.pop()
        if current is None or isinstance(current, bool):
            continue
        if isinstance(current, str):
            _check_text(current, where)
        elif isinstance(current, int):
            if current.bit_length() > 14_000:  # 4,214 digits
                raise JsonValueError(where, f"an integer of {current.bit_length()} bits is too long for JSON readers")
        elif isinstance(current, float):
            if not math.isfinite(current):
                name = "NaN" if current != current else "Infinity" if current > 0 else "-Infinity"
                raise JsonValueError(where, f"{name} is not JSON; use null or a text instead")
        elif isinstance(current, list | tuple | dict):
            if depth > max_depth:
                raise JsonValueError(where[:200], f"nested deeper than {max_depth} lists and objects")
            if isinstance(current, dict):
                for key, member in reversed(current.items()):
                    if not isinstance(key, str):
                        raise JsonValueError(
                            where, f"the key {key!r:.80} is {_kind(key)}; JSON objects have only text as keys"
                        )
                    _check_text(key, where, "a key")
                    stack.append((member, member_path(where, key), depth + 1))
            else:
                for place in range(len(current) - 1, -1, -1):
                    member = current[place]
                    if type(member) not in _PLAIN:
                        stack.append((member, f"{where}[{place}]", depth + 1))
        else:
            raise JsonValueError(where, f"{_kind(current)} is not JSON: {current!r:.80}")


_PLAIN = frozenset({bool, type(None)})


def _check_text(text: str, where: str, what: str = "this text") -> None:
    if text.isascii():
        return
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise JsonValueError(
            where, f"{what} holds the lone surrogate \\u{ord(text[error.start]):04x}, which UTF-8 cannot carry"
        ) from None


def _kind(value: object) -> str:
    name = type(value).__name__
    return f"{'an' if name[:1] in 'aeiouAEIOU' else 'a'} {name}"


def dumps(value: object, *, max_depth: int = MAX_DEPTH) -> bytes:
    """Compact JSON in UTF-8. Raises JsonValueError with the path to what is not JSON."""
    check_value(value, max_depth=max_depth)
    return write(value)


def write(value: object) -> bytes:
    """Compact JSON in UTF-8 of a value that was checked already (it came from `loads` or from the SDK's `to_json`)."""
    return _ENCODER.encode(value).encode()


_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, check_circular=False, separators=(",", ":"))


def loads(data: bytes | bytearray | memoryview | str, *, max_depth: int | None = MAX_DEPTH) -> Any:
    """The value of a JSON text (UTF-8). Raises JsonValueError: not JSON (with line and column), a key twice in one
    object, NaN or Infinity, nested too deep, a number out of range.

    `max_depth` None: the caller looks at the depth of each part itself; some 900 is the most all the same."""
    if isinstance(data, str):
        text = data
        _check_text(text, "$")
    else:
        try:
            text = bytes(data).decode("utf-8")
        except UnicodeDecodeError as error:
            raise JsonValueError("$", f"not UTF-8: {error.reason} at byte {error.start}") from None
    try:
        value = _DECODER.decode(text.removeprefix("\ufeff"))
    except json.JSONDecodeError as error:
        raise JsonValueError("$", f"not JSON: {error.msg} (line {error.lineno}, column {error.colno})") from None
    except RecursionError:
        raise JsonValueError("$", f"nested deeper than {max_depth} lists and objects") from None
    if "\\u" in text or (max_depth is not None and text.count("[") + text.count("{") > max_depth):
        # Only an escape can hold half of a surrogate pair, and few brackets cannot be deep: else there is no fault.
        check_value(value, max_depth=_ANY_DEPTH if max_depth is None else max_depth)
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise JsonValueError("$", f"the key {key!r:.80} stands twice in one object")
            seen.add(key)
    return found


def _no_constant(name: str) -> NoReturn:
    raise JsonValueError("$", f"{name} is not JSON")


def _integer(digits: str) -> int:
    if len(digits) > _MAX_INT_DIGITS - 100:
        raise JsonValueError("$", f"an integer of {len(digits)} digits is too long")
    return int(digits)


def _float(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise JsonValueError("$", f"the number {digits:.40} is out of range")
    return number


_DECODER = json.JSONDecoder(
    object_pairs_hook=_unique, parse_constant=_no_constant, parse_int=_integer, parse_float=_float
)


def canonical(value: object) -> bytes:
    """RFC 8785: members sorted by their UTF-16 code units, numbers as ECMAScript writes them, no white space.

    Integers keep all digits (the RFC's deviation named above). Raises JsonValueError for what is not JSON.
    """
    check_value(value)
    parts: list[str] = []
    _write(value, parts.append)
    return "".join(parts).encode()


def _write(value: Any, put: Any) -> None:
    """Recursion is bounded: check_value has refused what is deeper than MAX_DEPTH."""
    if isinstance(value, str):
        put(_quoted(value))
    elif value is None:
        put("null")
    elif value is True:
        put("true")
    elif value is False:
        put("false")
    elif isinstance(value, int):
        put(int.__repr__(value))
    elif isinstance(value, float):
        put(number_text(value))
    elif isinstance(value, dict):
        put("{")
        first = True
        for key in sorted(value) if "".join(value).isascii() else sorted(value, key=lambda k: k.encode("utf-16-be")):
            put(_quoted(key) + ":" if first else "," + _quoted(key) + ":")
            first = False
            _write(value[key], put)
        put("}")
    else:
        put("[")
        for place, member in enumerate(value):
            if place:
                put(",")
            _write(member, put)
        put("]")


def number_text(number: float) -> str:
    """A finite float as ECMAScript's Number::toString writes it (ECMA-262 section 6.1.6.1.20): `1e-7`, `0.00001`, `1`.

    Python's repr finds the same shortest digits; only where the exponent begins differs.
    """
    if number == 0:
        return "0"  # also for -0.0
    sign = "-" if number < 0 else ""
    mantissa, _, exponent = repr(abs(number)).partition("e")
    whole, _, fraction = mantissa.partition(".")
    if fraction == "0":
        fraction = ""
    digits = (whole + fraction).lstrip("0")
    point = len(whole) + int(exponent or 0)  # value = 0.DIGITS * 10**point, before leading zeros were cut
    point -= len(whole + fraction) - len(digits)
    digits = digits.rstrip("0")
    count = len(digits)
    if count <= point <= 21:
        return sign + digits + "0" * (point - count)
    if 0 < point <= 21:
        return sign + digits[:point] + "." + digits[point:]
    if -6 < point <= 0:
        return sign + "0." + "0" * -point + digits
    power = point - 1
    tail = f"e{'+' if power > 0 else '-'}{abs(power)}"
    return sign + digits[0] + ("." + digits[1:] if count > 1 else "") + tail


def normalised(value: Any) -> Any:
    """The value as it comes back from its canonical form: whole floats below 1e21 become integers. Shares what needs no
    change. The caller has checked the value."""
    if isinstance(value, float):
        text = number_text(value)
        return int(text) if text.lstrip("-").isdigit() else value
    if isinstance(value, list | tuple):
        return [normalised(member) for member in value]
    if isinstance(value, dict):
        return {key: normalised(member) for key, member in value.items()}
    return value
